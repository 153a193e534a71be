"""flask demo: something to look at on /monitor and /review, an hour after installing."""

import datetime as dt
import json
import random
import urllib.error
import urllib.request

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear
from webapp.config import HOST, PORT, PROJECT_SET
from webapp.errors import BadData


@click.command(cls=Clear)
@click.option("--url", default=f"http://{HOST}:{PORT}", show_default=True, help="Where the server runs.")
@with_appcontext
def demo(url: str) -> None:
    """Send the project's test messages to the running server, call them normal, then send a wave of spam.

    They go into this server's log. The shipped model has learnt them since it was measured, so it does well on them.
    """
    from webapp.extras.monitor.references import declare_reference
    from webapp.extras.monitor.rollups import HOUR
    from webapp.model.data import read_labelled

    test = [example for example in read_labelled(PROJECT_SET).examples if example.part == "test"]
    random.Random(0).shuffle(test)  # noqa: S311  an order, no secret
    spam = [example.text for example in test if example.is_spam]
    started = dt.datetime.now(dt.UTC)
    _send(url, [example.text for example in test], "Ordinary messages")
    messages = declare_reference(current_app.extensions["engine"], started - HOUR, started + HOUR)
    _send(url, spam * 2, "A wave of spam")
    click.echo(
        f"Done. The first {messages:,} messages are declared normal, so {url}/monitor says that the traffic drifted.\n"
        f"To learn how accurate the model is on them: draw a sample on {url}/review and review some."
    )


def _send(url: str, texts: list[str], what: str) -> None:
    with click.progressbar(texts, label=what) as bar:
        for text in bar:
            body = json.dumps({"text": text}).encode()
            # S310: a URL of whoever types the command, with no more rights than theirs
            request = urllib.request.Request(f"{url}/api/v1/predict", body, {"Content-Type": "application/json"})  # noqa: S310
            try:
                with urllib.request.urlopen(request, timeout=30):  # noqa: S310
                    pass
            except urllib.error.HTTPError as error:
                with error:
                    raise BadData(f"{url} answered with status {error.code}: {error.read().decode()}") from error
            except OSError as error:
                raise BadData(f"{url} does not answer ({error}). Start the server first: make run") from error

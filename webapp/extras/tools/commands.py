"""flask demo; flask log copy, which copies the whole log into an empty database, say from SQLite to PostgreSQL."""

import datetime as dt
import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand
from webapp.config import ADDRESS, FLASK
from webapp.errors import BadData, InvalidInput, LogUnavailable, counted
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.monitor.rollups import recount
from webapp.log import tables
from webapp.log.database import open_database, snapshot, write_transaction
from webapp.model.data import read_labelled

# label,text,source: written for the demo, and no model is ever fitted on them. The kinds of spam and ham that are new
# from the part "drift" on are ones that the shipped model often gets wrong.
MESSAGES = Path(__file__).with_name("demo_messages.csv")
CHUNK_ROWS = 1_000  # in memory at once
# What belongs to one host or process and is deleted within days, and sums that are made again from the log.
NOT_COPIED = (
    *(tables.failed_sign_ins, tables.sign_ins, tables.stream_consumers),
    *(tables.hourly_predictions, tables.hourly_requests, tables.rolled_up, tables.schema_version),
)


@click.command(cls=FriendlyCommand)
@click.option("--url", default=f"http://{ADDRESS}", show_default=True, help="Where the server runs.")
@click.option("--later", is_flag=True, help="Send more of the new kinds: for the shadow test, once you have retrained.")
@with_appcontext
def demo(url: str, later: bool) -> None:
    """Send ordinary messages to the running server and call them normal, then send new kinds of spam and ham.

    They go into this server's log. No model has learnt any of them.
    """
    url = url.rstrip("/")
    if later:
        _send(url, "later", "More of the new kinds")
        return
    started = dt.datetime.now(dt.UTC)
    _send(url, "ordinary", "Ordinary messages")
    time.sleep(0.002)  # the declared range ends in the next millisecond, so that the last message is in it
    try:
        messages = declare_reference(current_app.extensions["engine"], started, dt.datetime.now(dt.UTC))
    except InvalidInput as error:
        raise BadData(f"{url} has another log: give it and this command the same HAMLET_INSTANCE_FOLDER.") from error
    click.echo(f"These {messages:,} messages are declared normal. Look at {url}/monitor now: all is calm.")
    click.pause("Then press any key, and new kinds of messages arrive ...")
    _send(url, "drift", "New kinds of messages")
    click.echo(
        f"Now {url}/monitor says that the traffic drifted, and how. Next:\n"
        f"1. Draw a sample on {url}/review and label 100 messages: the model is wrong more often than it was.\n"
        f"2. Retrain on {url}/models, and let the new version run in the shadow of the served one.\n"
        f"3. Send more of the new kinds, and label those on which the two differ: {FLASK} demo --later"
    )


def read_messages(part: str) -> list[tuple[str, str]]:
    """Return (label, text) of the messages of a part: ordinary, drift or later."""
    examples = read_labelled(MESSAGES).examples
    return [("spam" if example.is_spam else "ham", example.text) for example in examples if example.source == part]


def _send(url: str, part: str, what: str) -> None:
    with click.progressbar(read_messages(part), label=what) as bar:
        for _, text in bar:
            body = json.dumps({"text": text}).encode()
            try:  # S310: the user's own URL, with no more rights than theirs
                request = urllib.request.Request(f"{url}/api/v1/predict", body, {"Content-Type": "application/json"})  # noqa: S310
                urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
            except urllib.error.HTTPError as error:
                with error:
                    raise BadData(f"{url} answered with status {error.code}: {error.read(300).decode()}") from error
            except (OSError, ValueError) as error:  # no such server, no such address
                raise BadData(f"{url} does not answer ({error}). Start the server first: make run") from error


@click.command("copy", cls=FriendlyCommand)
@click.option("--to", "url", required=True, metavar="URL", help="An empty database, postgresql://... or sqlite:///...")
@with_appcontext
def copy_log(url: str) -> None:
    """Copy the log into another database, all of it or nothing.

    Stop the server first: what is predicted meanwhile stays behind. Then start it with HAMLET_DATABASE_URL=URL.
    """
    target = open_database(url, Path())
    try:
        counts = copy_rows(current_app.extensions["engine"], target)
    finally:
        target.dispose()
    for table, rows in counts.items():
        click.echo(f"{table}: {counted(rows, 'row')}")
    click.echo("Both databases hold the same.")


def copy_rows(source: sa.Engine, target: sa.Engine) -> dict[str, int]:
    """Make the target hold the source's rows as they are at one moment; return how many each table has.

    Raises BadData if the target is not empty, and LogUnavailable; then nothing is written.
    """
    try:
        tables.create_tables(target)
    except LogUnavailable as error:  # whose words are about this Hamlet's own log
        raise BadData(f"{target.url!r} cannot be used: {error.reason or error}") from error
    counts = {}
    with snapshot(source) as reading, write_transaction(target, no_timeout=True) as writing:
        for table in (each for each in tables.metadata.sorted_tables if each not in NOT_COPIED):
            if writing.execute(sa.select(table).limit(1)).first():
                raise BadData(f"The target's table {table.name} has rows already. Give an empty database.")
            counts[table.name] = 0
            with reading.execute(sa.select(table), execution_options={"yield_per": CHUNK_ROWS}) as rows:
                for chunk in rows.partitions():
                    writing.execute(sa.insert(table), [row._asdict() for row in chunk])
                    counts[table.name] += len(chunk)
    recount(target)
    return counts

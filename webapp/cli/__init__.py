"""The command line: one command per verb; each only reads, calls and prints."""

import sys

import click
from flask import Flask

from webapp.cli.log import log
from webapp.cli.models import models
from webapp.cli.train import evaluate, predict, train
from webapp.config import FLASK


def register(app: Flask) -> None:
    """Add the commands to `flask`; exit in debug mode, unless only this machine can see the pages."""
    context = click.get_current_context(silent=True)
    if app.debug and not (context and context.params.get("host") in (None, "127.0.0.1", "::1", "localhost")):
        sys.exit(
            "In debug mode visitors see source code and more: unset FLASK_DEBUG. To debug on your own machine, run: "
            f"{FLASK} run --debug"
        )
    app.extensions["purge_hooks"] = []  # extras add what else has to go with old predictions
    for command in (train, evaluate, predict, models, log):
        app.cli.add_command(command)

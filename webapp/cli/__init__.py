"""The command line: one command per verb; each only reads, calls and prints."""

import sys

import click
from flask import Flask

from webapp.cli.log import log
from webapp.cli.models import models
from webapp.cli.train import evaluate, predict, train


def register(app: Flask) -> None:
    """Add the commands to `flask`; exit if it is `flask run` that shows its insides to others than oneself."""
    command_line = click.get_current_context(silent=True)
    host = command_line.params.get("host") if command_line else None
    if app.debug and host not in (None, "127.0.0.1", "::1", "localhost"):
        sys.exit(f"Debug mode on {host}: others would see source code and more. Leave out --debug or --host.")
    app.extensions["purge_hooks"] = []  # extras add what else has to go with old predictions
    for command in (train, evaluate, predict, models, log):
        app.cli.add_command(command)

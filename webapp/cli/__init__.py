"""The command line: `flask --app wsgi COMMAND`. One command per verb; each only reads, calls and prints.

The server imports this package too, so what only training or exporting needs (pandas, the metrics) is imported inside
the commands.
"""

import sys

import click
from flask import Flask

from webapp.cli import switch  # noqa: F401  its commands join the group `models`
from webapp.cli.access import api_key, set_password
from webapp.cli.batch import batch
from webapp.cli.demo import demo
from webapp.cli.job import job
from webapp.cli.log import log
from webapp.cli.models import models
from webapp.cli.monitor import monitor
from webapp.cli.predict import predict
from webapp.cli.retrain import retrain
from webapp.cli.review import review
from webapp.cli.stream import stream, stream_file
from webapp.cli.train import download_data, evaluate, train


def register(app: Flask) -> None:
    """Add Hamlet's commands to `flask`; exit if it is `flask run` that shows its insides to others than oneself."""
    command_line = click.get_current_context(silent=True)
    host = command_line.params.get("host") if command_line else None
    if app.debug and host not in (None, "127.0.0.1", "::1", "localhost"):
        sys.exit(f"Debug mode on {host}: others would see source code and more. Leave out --debug or --host.")
    on_data = (train, retrain, evaluate, predict, batch, stream, stream_file, download_data, demo)
    on_the_app = (models, log, review, monitor, set_password, api_key, job)
    for command in on_data + on_the_app:
        app.cli.add_command(command)

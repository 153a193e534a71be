"""What all commands have in common: the app's parts, and one clear line when something cannot be used."""

import tempfile
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from webapp.errors import BadData, HamletError
from webapp.inference import Inference

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


class Clear(click.Command):
    """A command that ends with one clear line: exit code 2 when something cannot be used, 130 after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HamletError as error:
            click.echo(f"Error: {error}{f' ({error.reason})' if error.reason else ''}", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


class ClearGroup(AppGroup):
    command_class = Clear


def current_inference() -> Inference:
    inference: Inference = current_app.extensions["inference"]
    return inference


def check_folder(folder: Path) -> None:
    """Raise BadData now, not after the training, if the result could not be saved."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BadData(f"{folder} cannot be written to ({error.strerror})") from error

"""What all commands have in common: the app's parts, and one clear line when something cannot be used."""

import tempfile
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup
from sqlalchemy.exc import SQLAlchemyError

from webapp.errors import BadData, HamletError
from webapp.inference import Inference


class Clear(click.Command):
    """A command that ends with one clear line and exit code 2 when something cannot be used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HamletError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)
        except SQLAlchemyError as error:
            click.echo(f"Error: the log cannot be used ({error})", err=True)
            ctx.exit(2)


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

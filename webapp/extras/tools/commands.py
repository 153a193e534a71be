"""flask log copy, flask download-data."""

import shlex
from pathlib import Path

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear
from webapp.config import FLASK


@click.command("copy", cls=Clear)
@click.option("--to", "url", required=True, metavar="URL", help="The other database, postgresql://... or sqlite:///...")
@with_appcontext
def copy_log(url: str) -> None:
    """Copy the log into another database.

    The server may go on meanwhile. Whatever interrupts this, run it again: it goes on where it was, and takes what is
    new. So run it once, stop the server, run it again, and start the server with HAMLET_DATABASE_URL=URL.
    """
    from webapp.extras.tools.copy import copy_log
    from webapp.log.database import open_database

    target = open_database(url, Path())
    try:
        copied = copy_log(current_app.extensions["engine"], target)
    finally:
        target.dispose()
    for one in copied:
        click.echo(f"{one.table}: {one.rows:,} rows, {one.written:,} of them written now")
    click.echo("Both databases hold the same. What is predicted meanwhile comes along when you run this again.")


@click.command("download-data", cls=Clear)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@with_appcontext
def download_data(folder: Path) -> None:
    """Download UCI's SMS Spam Collection into FOLDER."""
    from webapp.extras.tools.download import download

    file = download(folder)
    click.echo(f"{file} is as expected (SHA-256). To train on it: {FLASK} train {shlex.quote(str(file))}")

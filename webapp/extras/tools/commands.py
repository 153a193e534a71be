"""flask log copy, flask download-data."""

import sys
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear


@click.command("copy", cls=Clear)
@click.option("--to", "url", required=True, metavar="URL", help="The other database, postgresql://... or sqlite:///...")
@with_appcontext
def copy_log(url: str) -> None:
    """Copy the log into another database, and compare the two.

    The server may go on meanwhile. Whatever interrupts this, run it again: it goes on where it was, and takes what is
    new. So run it once, stop the server, run it again, and start the server with HAMLET_DATABASE_URL=URL.
    """
    from webapp.extras.tools import copy
    from webapp.log.database import open_database

    def progress(table: str, rows: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{table}: {rows:,} of {total:,} \033[K", nl=False, err=True)

    source, target = current_app.extensions["engine"], open_database(url, Path())
    try:
        copied = copy.copy_log(source, target, progress)
    finally:
        target.dispose()
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    for one in copied:
        click.echo(f"{one.table}: {one.rows:,} rows, {one.written:,} of them written now, checksum {one.checksum}")
    click.echo("Both databases hold the same.")
    if new := copy.count_predictions(source) - next(one.rows for one in copied if one.table == "predictions"):
        click.echo(f"{new:,} predictions were made meanwhile: stop the server and run this again to take them along.")


@click.command("download-data", cls=Clear)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--base-url", default=None, hidden=True, help="Where the archives are; for tests.")
@with_appcontext
def download_data(folder: Path, base_url: str | None) -> None:
    """Download UCI's SMS and YouTube spam collections into FOLDER."""
    from webapp.extras.tools.download import ARCHIVES, BASE_URL, fetch

    for name, archive in ARCHIVES.items():
        with click.progressbar(length=1, label=f"Downloading {name}") as bar:

            def show(so_far: int, size: int | None, bar: Any = bar) -> None:
                bar.length = size or so_far + 1
                bar.update(so_far - bar.pos)

            files, digest = fetch(archive, folder, base_url or BASE_URL, show)
        known = "as expected" if archive.sha256 else "not known beforehand, so not compared"
        click.echo(f"SHA-256 {digest} ({known})\n" + "\n".join(f"  {file}" for file in files))
    click.echo(f"To train on the SMS: flask --app wsgi train {folder / 'SMSSpamCollection'}")

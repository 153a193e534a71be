"""flask log: export, purge, recount and copy."""

import datetime as dt
import re
import sys
from pathlib import Path

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.errors import BadData

log = ClearGroup("log", help="Export, purge, recount or copy the prediction log.")


@log.command("export")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Only predictions from this time (UTC) on."
)
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
def export_log(since: dt.datetime | None, file_format: str) -> None:
    """Write the logged predictions to standard output, oldest first.

    In CSV a text that a spreadsheet would run as a formula has a ' before it; jsonl holds each text as it was.
    """
    from webapp.log.export import export

    since = since and since.replace(tzinfo=dt.UTC)
    words = current_inference().registry.labels()._asdict()
    export(current_app.extensions["engine"], sys.stdout, file_format, since, words)


@log.command("purge")
@click.option("--older-than", required=True, metavar="DAYSd", help="An age such as 90d.")
def purge_log(older_than: str) -> None:
    """Delete old predictions and jobs for good: people's messages are personal data."""
    from webapp.jobs.folders import remove_old
    from webapp.log.export import purge

    age = re.fullmatch(r"(\d{1,5})d", older_than)
    if not age:
        raise BadData(f"--older-than {older_than}: write the age in days, such as 90d")
    engine, before = current_app.extensions["engine"], dt.datetime.now(dt.UTC) - dt.timedelta(days=int(age[1]))
    remove_old(engine, Path(current_app.instance_path), before)
    count = purge(engine, before)
    click.echo(f"{count:,} predictions deleted.")


@log.command("recount")
def recount_log() -> None:
    """Make the sums by the hour, which /monitor shows, anew from the log."""
    from webapp.log.rollups import count_predictions, recount

    engine = current_app.extensions["engine"]
    recount(engine)
    click.echo(f"{count_predictions(engine):,} predictions counted.")


@log.command("copy")
@click.option("--to", "url", required=True, metavar="URL", help="The other database, postgresql://... or sqlite:///...")
def copy_log(url: str) -> None:
    """Copy the log into another database, and compare the two.

    The server may go on meanwhile. Whatever interrupts this, run it again: it goes on where it was, and takes what is
    new. So run it once, stop the server, run it again, and start the server with HAMLET_DATABASE_URL=URL.
    """
    from webapp.log import copy
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

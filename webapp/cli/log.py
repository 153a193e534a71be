"""flask log: export and purge."""

import datetime as dt
import re
import sys

import click
from flask import current_app

from webapp.cli.command import FriendlyGroup, current_inference
from webapp.errors import BadData, counted
from webapp.log.export import export, purge

log = FriendlyGroup("log", help="Take predictions out of the log, or away.")


@log.command("export")
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    metavar="TIME",
    help="Only predictions from this time (UTC) on, such as 2026-01-31 or 2026-01-31T18:00:00.",
)
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
@click.option("--bom", is_flag=True, help="Begin the CSV with a byte-order mark, without which Excel garbles accents.")
def export_log(since: dt.datetime | None, file_format: str, bom: bool) -> None:
    """Write the logged predictions to standard output, oldest first.

    In CSV a text that a spreadsheet would run as a formula has a ' before it; jsonl holds each value as it is stored.
    """
    registry, since = current_inference().registry, since and since.replace(tzinfo=dt.UTC)
    cards, served = registry.cards(), registry.labels()

    def word(version: str, label: str) -> str:
        return (cards[version].labels if version in cards else served).word(label)

    export(current_app.extensions["engine"], sys.stdout, file_format, since, word, bom)


@log.command("purge")
@click.option("--older-than", required=True, metavar="DAYSd", help="An age such as 90d.")
def purge_log(older_than: str) -> None:
    """Delete old predictions for good, and all that belongs to them: people's messages are personal data."""
    age = re.fullmatch(r"(\d{1,5})d", older_than)
    if not age:
        raise BadData(f"--older-than {older_than}: write the age in days, such as 90d")
    engine, before = current_app.extensions["engine"], dt.datetime.now(dt.UTC) - dt.timedelta(days=int(age[1]))
    count = purge(engine, before, current_app.extensions["purge_hooks"])
    click.echo(f"{counted(count, 'prediction')} deleted.")

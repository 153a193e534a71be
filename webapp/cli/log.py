"""flask log: export and purge."""

import datetime as dt
import re
import sys

import click
from flask import current_app

from webapp.cli.command import ClearGroup
from webapp.errors import BadData

log = ClearGroup("log", help="Export, purge or recount the prediction log.")


@log.command("export")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Only predictions from this time (UTC) on."
)
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
def export_log(since: dt.datetime | None, file_format: str) -> None:
    """Write the logged predictions to standard output, oldest first."""
    from webapp.log.export import export

    export(current_app.extensions["engine"], sys.stdout, file_format, since and since.replace(tzinfo=dt.UTC))


@log.command("purge")
@click.option("--older-than", required=True, metavar="DAYSd", help="An age such as 90d.")
def purge_log(older_than: str) -> None:
    """Delete old predictions for good: people's messages are personal data."""
    from webapp.log.export import purge

    age = re.fullmatch(r"(\d{1,5})d", older_than)
    if not age:
        raise BadData(f"--older-than {older_than}: write the age in days, such as 90d")
    count = purge(current_app.extensions["engine"], dt.datetime.now(dt.UTC) - dt.timedelta(days=int(age[1])))
    click.echo(f"{count:,} predictions deleted.")


@log.command("recount")
def recount_log() -> None:
    """Make the sums by the hour, which /monitor shows, anew from the log."""
    from webapp.log.rollups import count_predictions, recount

    engine = current_app.extensions["engine"]
    recount(engine)
    click.echo(f"{count_predictions(engine):,} predictions counted.")

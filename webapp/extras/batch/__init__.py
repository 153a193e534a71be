"""Files of any size: the command, the upload page, and the one job that runs at a time."""

import datetime as dt
from pathlib import Path

import sqlalchemy as sa
from flask_openapi3 import OpenAPI

from webapp.extras.batch import folders, routes
from webapp.extras.batch.commands import batch
from webapp.extras.batch.job_command import job


def init_app(app: OpenAPI) -> None:
    """Add the batch pages and commands; purge the files of old jobs with the log."""

    def purge_jobs(connection: sa.Connection, before: dt.datetime) -> None:
        folders.purge(connection, Path(app.instance_path), before)

    for command in (batch, job):
        routes.blueprint.cli.add_command(command)
    app.register_blueprint(routes.blueprint, cli_group=None)
    app.extensions["private_menu"].append(("batch.page", "Batch"))
    app.extensions["purge_hooks"].append(purge_jobs)

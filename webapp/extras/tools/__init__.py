"""Conveniences: a demo, public data, and a copy of the log in another database."""

from flask_openapi3 import OpenAPI

from webapp.cli.log import log
from webapp.extras.tools.commands import copy_log, demo, download_data


def init_app(app: OpenAPI) -> None:
    """Add the commands."""
    log.add_command(copy_log)
    for command in (demo, download_data):
        app.cli.add_command(command)

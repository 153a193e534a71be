"""Conveniences: a demo, and a copy of the log in another database."""

from flask_openapi3 import OpenAPI

from webapp.cli.log import log
from webapp.extras.tools.commands import copy_log, demo


def init_app(app: OpenAPI) -> None:
    """Add the commands."""
    log.add_command(copy_log)
    app.cli.add_command(demo)

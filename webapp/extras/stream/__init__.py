"""Kafka topics: records are scored as they come, each once in the log."""

from flask_openapi3 import OpenAPI

from webapp.extras.stream.commands import stream, stream_file


def init_app(app: OpenAPI) -> None:
    """Add the commands."""
    for command in (stream, stream_file):
        app.cli.add_command(command)

"""Step 3, serve: the pages."""

from flask import Flask

from webapp.web import check


def register(app: Flask) -> None:
    """Add the pages to the app."""
    app.register_blueprint(check.blueprint)

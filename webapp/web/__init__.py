"""Step 3, serve: the pages."""

from flask import Flask

from webapp.web import check, login, review
from webapp.web.navigation import navigation


def register(app: Flask) -> None:
    """Add the pages to the app."""
    app.register_blueprint(check.blueprint)
    app.register_blueprint(login.blueprint)
    app.register_blueprint(review.blueprint)
    app.context_processor(navigation)

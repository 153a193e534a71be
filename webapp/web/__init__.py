"""Step 3, serve: the pages."""

from flask import Flask

from webapp.web import batch, check, login, models, monitor, review, words
from webapp.web.navigation import navigation


def register(app: Flask) -> None:
    """Add the pages to the app."""
    for page in (check, login, batch, review, monitor, models):
        app.register_blueprint(page.blueprint)
    app.context_processor(navigation)
    words.register(app)

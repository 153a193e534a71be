"""Step 3, serve: the pages."""

from flask import Flask

from webapp.web import batch, check, compare, login, models, monitor, retrain, review, words
from webapp.web.navigation import navigation


def register(app: Flask) -> None:
    """Add the pages to the app."""
    for page in (check, login, batch, review, monitor, models, compare, retrain):
        app.register_blueprint(page.blueprint)
    app.context_processor(navigation)
    words.register(app)

"""Step 3, serve: the pages."""

from typing import Any

from flask import Flask, current_app, redirect, url_for
from flask.typing import ResponseReturnValue

from webapp.config import FLASK
from webapp.web import check, words


def register(app: Flask) -> None:
    """Add the form and the answer page, and the menu, to the app."""
    app.extensions["menu"] = [*check.MENU, ("docs.page", "API")]  # for everybody
    app.extensions["private_menu"] = []  # and for those who have signed in: extras add to it
    app.register_blueprint(check.blueprint)
    app.add_url_rule("/favicon.ico", view_func=favicon)
    app.context_processor(_menu)
    app.jinja_env.globals |= {"flask": FLASK, **words.IN_TEMPLATES}


def _menu() -> dict[str, Any]:
    return {name: current_app.extensions[name] for name in ("menu", "private_menu")}


def favicon() -> ResponseReturnValue:
    """Lead browsers that ask for an icon by its old name to it."""
    return redirect(url_for("static", filename="favicon.svg"), 308)

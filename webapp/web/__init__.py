"""Step 3, serve: the pages."""

from flask import Flask, redirect, url_for

from webapp.config import FLASK
from webapp.errors import counted
from webapp.web import check, words


def register(app: Flask) -> None:
    """Add the form and the answer page, and what all templates may use, to the app."""
    menu = [*check.MENU, ("docs.page", "API")]  # for everybody
    private_menu: list[tuple[str, str]] = []  # and for those who have signed in: extras add to it
    app.extensions["private_menu"] = private_menu
    app.jinja_env.globals |= {"menu": menu, "private_menu": private_menu, "flask": FLASK, "counted": counted}
    # No filters: of a constant Jinja would compute them once, for all pages.
    for function in (words.word, words.looks, words.readable, words.how_long_ago):
        app.jinja_env.globals[function.__name__] = function
    app.register_blueprint(check.blueprint)
    # Some browsers ask for an icon by its old name.
    app.add_url_rule("/favicon.ico", "favicon", lambda: redirect(url_for("static", filename="favicon.svg"), 308))

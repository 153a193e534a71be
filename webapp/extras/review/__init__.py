"""What people say that messages really were: samples, queues, reviews."""

from flask_openapi3 import OpenAPI

from webapp.api import register_json
from webapp.extras.review import api, routes
from webapp.extras.review.commands import review


def init_app(app: OpenAPI) -> None:
    """Add the review page, its routes of the API, and its command."""
    routes.blueprint.cli.add_command(review)
    app.register_blueprint(routes.blueprint, cli_group=None)
    register_json(app, api.blueprint)
    app.extensions["private_menu"].append(("review.page", "Review"))

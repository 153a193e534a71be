"""Step 3, serve: the JSON API, its documentation, and the health checks."""

from typing import Any

from flask_openapi3 import APIBlueprint, Info, License, OpenAPI

from webapp.api import routes
from webapp.api.schemas import Problem
from webapp.config import VERSION

DOCUMENT: dict[str, Any] = {  # what the OpenAPI app needs to know to document the API
    "info": Info(
        title="Hamlet",
        version=VERSION,
        description=routes.DESCRIPTION,
        license=License(name="MIT", identifier="MIT"),
    ),
    "doc_ui": False,  # the page is ours: routes.py
    "validation_error_model": Problem,
    "validation_error_callback": routes.refuse,
}


def register(app: OpenAPI) -> None:
    """Add the API to the app."""
    register_json(app, routes.blueprint)
    app.register_api(routes.health)
    app.register_blueprint(routes.docs)


def register_json(app: OpenAPI, blueprint: APIBlueprint) -> None:
    """Add routes that take and give JSON; they take no cookies, so they need no CSRF token."""
    app.extensions["csrf"].exempt(blueprint)
    app.register_api(blueprint)

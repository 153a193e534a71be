"""Step 3, serve: the JSON door, its documentation, and the health checks."""

from typing import Any

from flask_openapi3 import Info, OpenAPI
from flask_wtf import CSRFProtect

from webapp.api import docs, health, keys, metrics, monitoring, predictions, reviews
from webapp.api.schemas import Problem


def document(version: str) -> dict[str, Any]:
    """Return what the OpenAPI app needs to know to document the API."""
    return {
        "info": Info(title="Hamlet", version=version, description=docs.DESCRIPTION),
        "security_schemes": keys.SCHEMES,
        "doc_ui": False,  # the page is ours: docs.py
        "validation_error_model": Problem,
        "validation_error_callback": predictions.refuse,
    }


def register(app: OpenAPI, csrf: CSRFProtect) -> None:
    """Add the API to the app. It takes no cookies, so it needs no CSRF token."""
    app.before_request(keys.check)
    for part in (predictions, reviews, monitoring):
        csrf.exempt(part.blueprint)
        app.register_api(part.blueprint)
    app.register_api(health.blueprint)
    app.register_api(metrics.blueprint)
    app.register_blueprint(docs.blueprint)

"""The API's documentation: /api/openapi.json, made from the code, and /api/docs, a page to try it, offline."""

from http import HTTPStatus
from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, jsonify, render_template, send_from_directory
from pydantic import BaseModel

DESCRIPTION = (
    "Is a message spam or ham? Every prediction is stored in the log before it is answered. "
    "Errors have one shape, `application/problem+json` (RFC 9457)."
)

blueprint = Blueprint("docs", __name__, url_prefix="/api")

SWAGGER_UI = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"


def responses(answer: type[BaseModel], *errors: int) -> dict[str | int | HTTPStatus, Any]:
    """Return the documentation of a route's answer and of the errors that it may give."""
    schema = {"$ref": "#/components/schemas/Problem"}
    documented: dict[str | int | HTTPStatus, Any] = {200: answer}
    for status in errors:
        content = {"application/problem+json": {"schema": schema}}
        documented[status] = {"description": HTTPStatus(status).phrase, "content": content}
    return documented


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return jsonify(current_app.api_doc)  # type: ignore[attr-defined]


@blueprint.get("/docs")
def page() -> str:
    """Show the document with Swagger UI."""
    return render_template("docs.html")


@blueprint.get("/docs/<path:name>")
def asset(name: str) -> Response:
    """Serve Swagger UI's files from its package."""
    return send_from_directory(SWAGGER_UI, name)

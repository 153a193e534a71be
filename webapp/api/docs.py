"""The API's documentation: /api/openapi.json, made from the code, and /api/docs, a page to try it, offline.

The page is our own because Swagger UI, Redoc and Scalar fail accessibility checks or load parts from elsewhere.
"""

from http import HTTPStatus
from typing import Any

from flask import Blueprint, Response, current_app, has_request_context, jsonify, render_template, request
from flask_openapi3 import OpenAPI
from pydantic import BaseModel

from webapp.errors import TITLES
from webapp.inference import Inference
from webapp.model.labels import Labels

DESCRIPTION = (
    "Every prediction is stored in the log before it is answered. "
    "Errors have one shape, application/problem+json (RFC 9457), also where there is nothing at an address (404) or it "
    "does not know the method (405)."
)

blueprint = Blueprint("docs", __name__, url_prefix="/api")


WITH_BODY = (400, 413, 415, 422, 429)  # what may be wrong with a request that brings JSON
WITH_ADDRESS = (422,)  # and with one whose address holds what somebody typed
ALWAYS = (414, 500, 503)


def responses(answer: type[BaseModel] | dict[str, Any], *errors: int) -> dict[str | int | HTTPStatus, Any]:
    """Return the documentation of a route's answer, of the errors that it may give, and of those that each may give."""
    documented: dict[str | int | HTTPStatus, Any] = {200: answer}
    for status in sorted({*errors, *ALWAYS}):
        documented[status] = _problem(status)
    documented[414] = {"description": "The server says so on a page of HTML, before the app sees the address."}
    return documented


def _problem(status: int) -> dict[str, Any]:
    problem = {"type": "about:blank", "title": TITLES[status], "status": status, "detail": "What to do."}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": problem | {"request_id": "7f3a"}}
    return {"description": TITLES[status], "content": {"application/problem+json": content}}


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return jsonify(current_app.api_doc)  # type: ignore[attr-defined]


@blueprint.get("/docs")
def page() -> str:
    """Show the document so that people can read it and try each route."""
    return render_template("docs.html", document=current_app.api_doc)  # type: ignore[attr-defined]


class DocumentedApp(OpenAPI):
    """The app, whose document, also as the command `flask openapi` prints it, is in the served model's words."""

    @property
    def api_doc(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document."""
        inference: Inference = self.extensions["inference"]
        labels = inference.registry.labels()
        about = f"Is a message {labels.ham} or {labels.spam}? These are the labels of the served model. {DESCRIPTION}"
        document: dict[str, Any] = _in_words(super().api_doc, labels)
        for methods in document["paths"].values():
            for operation in methods.values():
                if not self.config["PUBLIC"] and operation["tags"] == ["predictions"]:
                    operation["security"] = [{"api_key": []}]
                    operation["responses"]["401"] = _problem(401)
                operation.setdefault("security", [])  # it says that it is open
                if "application/json" in operation["responses"]["422"]["content"]:  # flask-openapi3 adds it everywhere
                    del operation["responses"]["422"]
        below = request.root_path if has_request_context() else ""
        servers = [{"url": below or "/", "description": "This Hamlet"}]
        return document | {"info": document["info"] | {"description": about}, "servers": servers}


def _in_words(part: Any, labels: Labels) -> Any:
    """Return a part of the document with the labels in examples and enumerations as the served model calls them."""
    if isinstance(part, dict):
        # What is required are names of fields, which stay.
        return {name: value if name == "required" else _in_words(value, labels) for name, value in part.items()}
    if isinstance(part, list):
        return [_in_words(value, labels) for value in part]
    return labels.word(part) if isinstance(part, str) else part

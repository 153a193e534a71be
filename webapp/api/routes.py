"""The API's routes: to predict, to read a prediction; for load balancers, /healthz and /readyz; and the documentation.

It is /api/openapi.json, made from the code, and /api/docs, a page to try it, offline. The page is our own because
Swagger UI, Redoc and Scalar fail accessibility checks or load parts from elsewhere.
"""

import json
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn, TypeVar, cast

from flask import Blueprint, Response, current_app, has_request_context, jsonify, render_template, request
from flask_openapi3 import APIBlueprint, OpenAPI, Tag
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from webapp.api.schemas import (
    WITH_BODY,
    BatchRequest,
    Health,
    Prediction,
    PredictionList,
    PredictionPath,
    PredictRequest,
    StoredPrediction,
    problem,
    responses,
)
from webapp.config import MAX_BODY
from webapp.errors import InvalidInput
from webapp.inference import Inference, to_response
from webapp.log.tables import Row
from webapp.model.labels import Labels

DESCRIPTION = (
    "Every prediction is stored in the log before it is answered. "
    "Errors have one shape, application/problem+json (RFC 9457), also where there is nothing at an address (404) or it "
    "does not know the method (405)."
)

blueprint = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="predictions", description="Score messages, and read what was stored.")],
)
HEALTH = Tag(name="health", description="For load balancers and monitoring.")
health = APIBlueprint("health", __name__, abp_tags=[HEALTH])
docs = Blueprint("docs", __name__, url_prefix="/api")

View = TypeVar("View", bound=Callable[..., Response])


def reads(shape: type[BaseModel]) -> Callable[[View], View]:
    """Read and check the JSON body for a route's function; flask-openapi3 documents it."""

    def decorate(view: View) -> View:
        path_shape = view.__annotations__.get("path")

        @wraps(view)
        def reading(**path: str) -> Response:
            if (request.content_encoding or "identity").lower() != "identity":
                raise UnsupportedMediaType("Send the body as it is: no Content-Encoding, such as gzip, is understood.")
            if not request.is_json:
                raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
            sent = request.get_data(cache=False)
            if len(sent) == MAX_BODY:  # where a body in chunks would be cut off
                request.stream.read(1)  # raises 413 if there is more
            try:
                content = json.loads(sent, parse_int=float)  # of 5,000 digits there is no int
            except ValueError as error:  # which names the place, and quotes at most a byte
                raise BadRequest(f"The body is not JSON in UTF-8: {error}.") from error
            except RecursionError as error:
                raise BadRequest("The JSON is nested too deeply.") from error
            if not isinstance(content, dict):
                raise InvalidInput("The body must be a JSON object, in braces.")
            try:
                body = shape.model_validate(content)
            except ValidationError as error:
                refuse(error)
            return view(body=body, **({"path": path_shape(**path)} if path_shape else {}))

        reading.__delay_validate_request__ = True  # type: ignore[attr-defined]  # so its own reading is left out
        return cast(View, reading)

    return decorate


def refuse(error: ValidationError) -> NoReturn:
    """Raise InvalidInput with pydantic's findings, without its URLs and without numbers that differ each time."""
    errors = []
    for item in error.errors(include_url=False, include_input=False):
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).lstrip(".")
        words = item["msg"].replace("unable to parse raw data as a unicode string", "without half of a surrogate pair")
        message = words.removeprefix("Value error, ").partition(", not ")[0]
        errors.append({"field": field[:100], "message": message})
    shown = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:3])
    raise InvalidInput(f"{shown}{'; and more' if len(errors) > 3 else ''}.", errors[:100])


@blueprint.post(
    "/predict",
    summary="Say what a message is, and why",
    responses=responses(Prediction, *WITH_BODY),
)
@reads(PredictRequest)
def predict(body: PredictRequest) -> Response:
    """Score one message. The answer leaves only after it is stored in the log."""
    inference: Inference = current_app.extensions["inference"]
    model = inference.registry.current()
    row = inference.predict([body.text], "api", model=model, request_id=request.headers["X-Request-ID"])[0]
    return Response(to_json(to_response(row, model.labels)), mimetype="application/json")


@blueprint.post(
    "/predict/batch",
    summary="Score up to 1,000 messages",
    responses=responses(PredictionList, *WITH_BODY),
)
@reads(BatchRequest)
def predict_batch(body: BatchRequest) -> Response:
    """Score many messages, in order. All of them are stored, in one transaction, or none."""
    inference: Inference = current_app.extensions["inference"]
    model, request_id = inference.registry.current(), request.headers["X-Request-ID"]
    rows = inference.predict(body.texts, "api", field="texts[{}]", model=model, request_id=request_id)
    answer = {"predictions": [to_response(row, model.labels) for row in rows]}
    return Response(to_json(answer), mimetype="application/json")  # several times as fast as jsonify


@blueprint.get(
    "/predictions/<prediction_id>",
    summary="Read a stored prediction",
    responses=responses(StoredPrediction, 404, 422),
)
def read(path: PredictionPath) -> Response:
    """Return a prediction as it was stored; its id is all that is asked for."""
    inference: Inference = current_app.extensions["inference"]
    return jsonify(as_stored(inference.log.get_prediction(path.prediction_id), StoredPrediction))


def as_stored(row: Row, shape: type[StoredPrediction]) -> dict[str, Any]:
    """Return a prediction of the log as JSON shows it, its labels in the served model's words."""
    labels: Labels = current_app.extensions["inference"].registry.labels()
    stored = {name: row[name] for name in shape.model_fields}
    words = {name: labels.word(stored[name]) for name in ("label", "true_label") if name in stored}
    return stored | words | {"created_at": row["created_at"].isoformat()}


@health.get("/healthz", summary="Is the process up?", responses=responses(Health))
def healthz() -> Response:
    """Always ok while the process answers."""
    return jsonify(status="ok")


@health.get("/readyz", summary="Can it do its work?", responses=responses(Health))
def readyz() -> Response:
    """Ok when the current model is whole, loaded and served, and the log's database was just written to."""
    inference: Inference = current_app.extensions["inference"]
    inference.log.check()
    inference.registry.check()
    return jsonify(status="ok")


@docs.get("/openapi.json")
def openapi() -> Response:
    """Return the OpenAPI 3.1 document."""
    return jsonify(current_app.api_doc)  # type: ignore[attr-defined]


@docs.get("/docs")
def page() -> str:
    """Show the document so that people can read it and try each route."""
    return render_template("docs.html", document=current_app.api_doc)  # type: ignore[attr-defined]


class DocumentedApp(OpenAPI):
    """The app. Its document has the served model's labels, also when the command `flask openapi` prints it."""

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
                    operation["responses"]["401"] = problem(401)
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

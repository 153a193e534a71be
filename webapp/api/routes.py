"""POST /predict, POST /predict/batch, GET /predictions/{id}; and /healthz and /readyz, for load balancers."""

import json
from collections.abc import Callable
from functools import wraps
from typing import NoReturn, TypeVar, cast

from flask import Response, current_app, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ValidationError
from pydantic_core import to_json
from werkzeug.exceptions import BadRequest, UnsupportedMediaType

from webapp.api.docs import WITH_ADDRESS, WITH_BODY, responses
from webapp.api.schemas import (
    BatchRequest,
    Health,
    Prediction,
    PredictionList,
    PredictionPath,
    PredictRequest,
    StoredPrediction,
)
from webapp.config import MAX_BODY
from webapp.errors import InvalidInput
from webapp.inference import Inference, to_response

blueprint = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="predictions", description="Score messages, and read what was stored.")],
)
HEALTH = Tag(name="health", description="For load balancers and monitoring.")
health = APIBlueprint("health", __name__, abp_tags=[HEALTH])

View = TypeVar("View", bound=Callable[..., Response])


def reads(shape: type[BaseModel]) -> Callable[[View], View]:
    """Give a route's function its body, read and checked in one step; flask-openapi3 documents it."""

    def decorate(view: View) -> View:
        path_shape = view.__annotations__.get("path")

        @wraps(view)
        def reading(**path: str) -> Response:
            if (request.content_encoding or "identity").lower() != "identity":
                raise UnsupportedMediaType("Send the body as it is: no Content-Encoding, such as gzip, is understood.")
            if not request.is_json:
                raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
            content = request.get_data(cache=False)
            if len(content) == MAX_BODY:  # where a body in chunks would be cut off
                request.stream.read(1)  # raises 413 if there is more
            try:
                body = shape.model_validate_json(content)
            except ValidationError:
                body = _read_again(shape, content)
            return view(body=body, **({"path": path_shape(**path)} if path_shape else {}))

        reading.__delay_validate_request__ = True  # type: ignore[attr-defined]  # so its own reading is left out
        return cast(View, reading)

    return decorate


def _read_again(shape: type[BaseModel], content: bytes) -> BaseModel:
    """Read by Python's own reader, which takes more, such as half a surrogate pair: its refusal says what is wrong."""
    try:
        body = json.loads(content, parse_int=float)  # of 5,000 digits Python makes no int
    except ValueError as error:  # which names the place, and quotes at most a byte
        raise BadRequest(f"The body is not JSON in UTF-8: {error}.") from error
    except RecursionError as error:
        raise BadRequest("The JSON is nested too deeply.") from error
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object, in braces.")
    try:
        return shape.model_validate(body)
    except ValidationError as error:
        refuse(error)


def refuse(error: ValidationError) -> NoReturn:
    """Turn pydantic's findings into ours."""
    errors = [
        {"field": _path(item["loc"])[:100], "message": _message(item["msg"])}
        for item in error.errors(include_url=False, include_input=False)
    ]
    shown = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:3])
    raise InvalidInput(f"{shown}{'; and more' if len(errors) > 3 else ''}.", errors[:100])


def _message(words: str) -> str:
    """Return pydantic's words without what is its own, and without a count: of how many, are endless."""
    words = words.replace("unable to parse raw data as a unicode string", "without half of a surrogate pair")
    return words.removeprefix("Value error, ").partition(", not ")[0]


def _path(location: tuple[int | str, ...]) -> str:
    """Return ("texts", 3) as texts[3]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


@blueprint.post(
    "/predict",
    summary="Say what a message is, and why",
    responses=responses(Prediction, *WITH_BODY),
)
@reads(PredictRequest)
def predict(body: PredictRequest) -> Response:
    """Score one message. The answer leaves only after it is stored in the log."""
    inference: Inference = current_app.extensions["inference"]
    row = inference.predict([body.text], "api", request_id=request.headers["X-Request-ID"])[0]
    answer = to_response(row, inference.registry.labels(row["model_version"]))
    return Response(to_json(answer), mimetype="application/json")


@blueprint.post(
    "/predict/batch",
    summary="Score up to 1,000 messages",
    responses=responses(PredictionList, *WITH_BODY),
)
@reads(BatchRequest)
def predict_batch(body: BatchRequest) -> Response:
    """Score many messages, in order. All of them are stored, in one transaction, or none."""
    inference: Inference = current_app.extensions["inference"]
    rows = inference.predict(body.texts, "api", field="texts[{}]", request_id=request.headers["X-Request-ID"])
    labels = inference.registry.labels(rows[0]["model_version"])
    answer = {"predictions": [to_response(row, labels) for row in rows]}
    return Response(to_json(answer), mimetype="application/json")  # several times as fast as jsonify


@blueprint.get(
    "/predictions/<prediction_id>",
    summary="Read a stored prediction",
    responses=responses(StoredPrediction, 404, *WITH_ADDRESS),
)
def read(path: PredictionPath) -> Response:
    """Return a prediction as it was stored, to whoever holds its id."""
    inference: Inference = current_app.extensions["inference"]
    row = inference.log.get_prediction(path.prediction_id)
    stored = {name: row[name] for name in StoredPrediction.model_fields}
    label = inference.registry.labels().word(row["label"])
    return jsonify(stored | {"label": label, "created_at": row["created_at"].isoformat()})


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

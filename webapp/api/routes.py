"""POST /predict, POST /predict/batch, GET /predictions/{id}."""

from typing import NoReturn

from flask import Response, current_app, g, jsonify, request
from flask_openapi3 import APIBlueprint, Tag
from pydantic import ValidationError
from werkzeug.exceptions import BadRequest, HTTPException, UnsupportedMediaType

from webapp.api.docs import WITH_ADDRESS, WITH_BODY, responses
from webapp.api.schemas import (
    BatchRequest,
    Prediction,
    PredictionList,
    PredictionPath,
    PredictRequest,
    StoredPrediction,
)
from webapp.errors import InvalidInput
from webapp.inference import Inference, to_response
from webapp.log.queries import get_prediction

blueprint = APIBlueprint(
    "api",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="predictions", description="Score messages, and read what was stored.")],
)


@blueprint.before_request
def read_json() -> None:
    """Refuse a body that is no JSON object, before its fields are looked at."""
    if request.method not in ("POST", "PUT"):
        return
    if request.content_encoding:
        raise UnsupportedMediaType("Send the body as it is: no Content-Encoding, such as gzip, is understood.")
    if not request.is_json:
        raise UnsupportedMediaType("Send JSON, with the header Content-Type: application/json.")
    try:
        body = request.get_json()
    except HTTPException as error:
        if error.code == 413:
            raise
        raise BadRequest("The body is not valid JSON.") from error
    except RecursionError as error:
        raise BadRequest("The JSON is nested too deeply.") from error
    if not isinstance(body, dict):
        raise InvalidInput("The body must be a JSON object, in braces.")


def refuse(error: ValidationError) -> NoReturn:
    """Turn pydantic's findings into ours."""
    errors = [
        {"field": _path(item["loc"])[:100], "message": item["msg"].partition(", not ")[0]}  # of how many, are endless
        for item in error.errors(include_url=False, include_input=False)
    ]
    shown = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:3])
    raise InvalidInput(f"{shown}{'; and more' if len(errors) > 3 else ''}.", errors[:100])


def _path(location: tuple[int | str, ...]) -> str:
    """Return ("texts", 3) as texts[3]."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


@blueprint.post(
    "/predict",
    summary="Say what a message is, and why",
    responses=responses(Prediction, *WITH_BODY),
)
def predict(body: PredictRequest) -> Response:
    """Score one message. The answer leaves only after it is stored in the log."""
    inference = _inference()
    row = inference.predict([body.text], "api", request_id=g.request_id)[0]
    return jsonify(to_response(row, inference.registry.labels(row["model_version"])))


@blueprint.post(
    "/predict/batch",
    summary="Score up to 1,000 messages",
    responses=responses(PredictionList, *WITH_BODY),
)
def predict_batch(body: BatchRequest) -> Response:
    """Score many messages, in order. All of them are stored, in one transaction, or none."""
    inference = _inference()
    rows = inference.predict(body.texts, "api", field="texts[{}]", request_id=g.request_id)
    labels = inference.registry.labels(rows[0]["model_version"])
    return jsonify(predictions=[to_response(row, labels) for row in rows])


@blueprint.get(
    "/predictions/<prediction_id>",
    summary="Read a stored prediction",
    responses=responses(StoredPrediction, 404, *WITH_ADDRESS),
)
def read(path: PredictionPath) -> Response:
    """Return a prediction as it was stored, to whoever holds its id."""
    row = get_prediction(current_app.extensions["engine"], path.prediction_id)
    stored = {name: row[name] for name in StoredPrediction.model_fields}
    label = _inference().registry.labels().word(row["label"])
    return jsonify(stored | {"label": label, "created_at": row["created_at"].isoformat()})


def _inference() -> Inference:
    inference: Inference = current_app.extensions["inference"]
    return inference

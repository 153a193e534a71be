"""GET /predictions, PUT /predictions/{id}/review: for programs that list the log and know the truth."""

from collections.abc import Mapping
from typing import Any

from flask import Response, current_app, g, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag

from webapp.api.docs import WITH_ADDRESS, WITH_BODY, responses
from webapp.api.routes import read_json
from webapp.api.schemas import PredictionPath
from webapp.errors import InvalidInput
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.review.listing import Filters, list_predictions
from webapp.extras.review.reviews import give_review, reviews_of
from webapp.extras.review.schemas import (
    GivenReview,
    ListedPrediction,
    ListedPredictions,
    ListQuery,
    Review,
    ReviewRequest,
)
from webapp.inference import Inference
from webapp.model.labels import UNSURE, Labels

blueprint = APIBlueprint(
    "reviews",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="reviews", description="List the log, and say what messages really are; with an API key.")],
    abp_security=SECURITY,
)
blueprint.before_request(api_key_required)
blueprint.before_request(read_json)


@blueprint.get(
    "/predictions", summary="List stored predictions", responses=responses(ListedPredictions, 401, *WITH_ADDRESS)
)
def list_all(query: ListQuery) -> Response:
    """Return the predictions that pass all filters, newest first, with what reviewers said of them.

    Follow `next` until it is null. A page looks at 20,000 predictions at most, so that each is as fast as the first:
    with a filter that few pass, a page may hold fewer than `limit` predictions, or none, and still have a next one.
    """
    engine = current_app.extensions["engine"]
    filters = Filters(*(getattr(query, name) for name in Filters._fields))
    if query.label is not None:
        filters = filters._replace(label=_meant("label", query.label))
    page = list_predictions(engine, filters, query.before, query.limit)
    reviews = reviews_of(engine, [row["id"] for row in page.rows])
    parameters: dict[str, Any] = request.args.to_dict()  # known names only: ListQuery refuses any other
    following = url_for(".list_all", **parameters | {"before": page.before}) if page.before else None
    return jsonify(
        predictions=[
            _pick(row, ListedPrediction) | {"reviews": [_pick(review, Review) for review in reviews[row["id"]]]}
            for row in page.rows
        ],
        next=following,
    )


@blueprint.put(
    "/predictions/<prediction_id>/review",
    summary="Say what a message really is",
    responses=responses(GivenReview, 401, 404, *WITH_BODY),
)
def review(path: PredictionPath, body: ReviewRequest) -> Response:
    """Store the true label of a prediction. The newest review of each counts; the same said again changes nothing."""
    true_label = _meant("true_label", body.true_label, UNSURE)
    reviewer = f"key:{g.api_key_name}"
    row = give_review(current_app.extensions["engine"], path.prediction_id, reviewer, true_label, "api")
    return jsonify(_pick(row, GivenReview))


def _labels() -> Labels:
    inference: Inference = current_app.extensions["inference"]
    return inference.registry.labels()


def _meant(field: str, word: str, *others: str) -> str:
    """Return the label that is meant by a word of the served model, or by one of the others; raises InvalidInput."""
    labels = _labels()
    label = word if word in others else labels.label(word)
    if label is None:
        fault = f"must be one of {', '.join((*labels, *others))}, as the served model calls them"
        raise InvalidInput(f"{field}: {fault}.", [{"field": field, "message": fault}])
    return label


def _pick(row: Mapping[str, Any], shape: Any) -> dict[str, Any]:
    """Return what the documented shape has of a row, as JSON has it."""
    picked = {name: row[name] for name in shape.model_fields if name in row}
    for name in ("label", "true_label"):
        if picked.get(name):
            picked[name] = _labels().word(picked[name])
    return picked | {"created_at": row["created_at"].isoformat()}

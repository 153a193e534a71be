"""GET /predictions, PUT /predictions/{id}/review: for programs that list the log and know the truth."""

from typing import Any

from flask import Response, current_app, g, jsonify, request, url_for
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from webapp.api.routes import as_stored, reads
from webapp.api.schemas import (
    LABEL,
    STORED,
    WITH_BODY,
    PredictionPath,
    StoredPrediction,
    responses,
    with_example,
)
from webapp.errors import InvalidInput
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.review.queues import Filters, list_predictions
from webapp.extras.review.reviews import give_review
from webapp.model.labels import UNSURE
from webapp.web.words import labels

TRUE_LABEL = f"What the newest review says; null without one, or where that is unsure. {LABEL}"
LISTED = STORED | {"true_label": "ham"}

blueprint = APIBlueprint(
    "reviews",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="reviews", description="List the log, and say what messages really are; with an API key.")],
    abp_security=SECURITY,
)
blueprint.before_request(api_key_required)


class Review(BaseModel):
    model_config = with_example({"true_label": "ham"}, extra="forbid", strict=True)

    true_label: str = Field(
        description=f"What the message really is. {LABEL[:-1]}; or unsure.",
        json_schema_extra={"enum": ["ham", "spam", UNSURE]},
    )


class ListedPrediction(StoredPrediction):
    model_config = with_example(LISTED)

    true_label: str | None = Field(description=TRUE_LABEL)


class ListedPredictions(BaseModel):
    model_config = with_example({"predictions": [LISTED], "next": None})

    predictions: list[ListedPrediction] = Field(description="Newest first.")
    next: str | None = Field(description="The address of the next page; null at the end.")


@blueprint.get("/predictions", summary="List stored predictions", responses=responses(ListedPredictions, 401, 422))
def list_all(query: Filters) -> Response:
    """Return the predictions that pass all filters, newest first, with what reviewers said of them.

    Follow `next` until it is null.
    """
    if query.label is not None:
        query.label = _meant("label", query.label)
    rows, before = list_predictions(current_app.extensions["engine"], query)
    parameters: dict[str, Any] = request.args.to_dict()  # known names only: Filters refuses any other
    following = url_for(".list_all", **parameters | {"before": before}) if before else None
    return jsonify(predictions=[as_stored(row, ListedPrediction) for row in rows], next=following)


@blueprint.put(
    "/predictions/<prediction_id>/review",
    summary="Say what a message really is",
    responses=responses(Review, 401, 404, *WITH_BODY),
)
@reads(Review)
def review(path: PredictionPath, body: Review) -> Response:
    """Store the true label of a prediction. The newest review of each counts; the same said again changes nothing."""
    true_label = _meant("true_label", body.true_label, UNSURE)
    give_review(current_app.extensions["engine"], path.prediction_id, f"key:{g.api_key_name}", true_label, "api")
    return jsonify(true_label=body.true_label)


def _meant(field: str, given: str, *others: str) -> str:
    """Return the label for a word of the served model, or one of `others` as it is; raises InvalidInput."""
    label = given if given in others else labels().label(given)
    if label is None:
        fault = f"must be one of {', '.join((*labels(), *others))}, as the served model calls them"
        raise InvalidInput(f"{field}: {fault}.", [{"field": field, "message": fault}])
    return label

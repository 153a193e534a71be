"""The shapes of the JSON of reviews and of the list of predictions."""

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from webapp.api.schemas import LABEL, PREDICTION, STORED, GivenLabel, StoredPrediction, Word, with_example

TRUE_LABEL = f"{LABEL[:-1]}; or unsure."
GivenTrueLabel = Annotated[str, Field(json_schema_extra={"enum": ["ham", "spam", "unsure"]})]
REVIEW = {
    "created_at": "2026-11-23T08:30:00.123456+00:00",
    "reviewer": "key:helpdesk",
    "true_label": "ham",
    "queue": "api",
}
LISTED = STORED | {"true_label": "ham", "reviews": [REVIEW]}


def _read_time(value: Any) -> dt.datetime:
    try:
        moment = dt.datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).astimezone(dt.UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError("write the time as 2026-01-31 or 2026-01-31T12:00:00Z") from error


Time = Annotated[dt.datetime, BeforeValidator(_read_time)]


class ListQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")  # a filter with a slip in its name must not let everything through

    label: GivenLabel | None = Field(default=None, description=LABEL)
    source: Literal["form", "api", "batch", "stream", "cli"] | None = None
    model_version: Word | None = None
    since: Time | None = Field(default=None, description="From this time on (ISO 8601; UTC where no zone is given).")
    until: Time | None = Field(default=None, description="Before this time.")
    reviewed: bool | None = Field(default=None, description="Whether anybody has reviewed it.")
    text: Word | None = Field(default=None, description="Found anywhere in the message, in capitals or not (A to Z).")
    before: Word | None = Field(default=None, max_length=36, description="An id: only older predictions. See `next`.")
    limit: int = Field(default=50, ge=1, le=100)


class ReviewRequest(BaseModel):
    model_config = with_example({"true_label": "ham"}, extra="forbid", strict=True)

    true_label: GivenTrueLabel = Field(description=f"What the message really is. {TRUE_LABEL}")


class Review(BaseModel):
    model_config = with_example(REVIEW)

    created_at: dt.datetime
    reviewer: str = Field(description="Who said it: web:SESSION, key:NAME or import.")
    true_label: str = Field(description=TRUE_LABEL)
    queue: str = Field(description="Why it was looked at: random, uncertain, reported, challenger, all, api or import.")


class GivenReview(Review):
    model_config = with_example({"prediction_id": PREDICTION["id"], **REVIEW})

    prediction_id: str


class ListedPrediction(StoredPrediction):
    model_config = with_example(LISTED)

    true_label: str | None = Field(
        description=f"What the newest review says; null without one, or where that is unsure. {LABEL}"
    )
    reviews: list[Review] = Field(description="Oldest first.")


class ListedPredictions(BaseModel):
    model_config = with_example({"predictions": [LISTED], "next": None})

    predictions: list[ListedPrediction] = Field(description="Newest first.")
    next: str | None = Field(description="The address of the next page, also where this one is empty; null at the end.")

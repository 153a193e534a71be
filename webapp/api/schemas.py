"""The shapes of the API's JSON. Requests are checked against them, and the documentation is made from them."""

import datetime as dt
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from webapp.config import MAX_BATCH, MAX_TEXT_LENGTH

LABEL = "One of the served model's two labels: ham or spam, unless its model card has other words for them."
TRUE_LABEL = f"{LABEL[:-1]}; or unsure."
Label = Annotated[str, Field(description=LABEL)]
GivenLabel = Annotated[str, Field(json_schema_extra={"enum": ["ham", "spam"]})]  # docs.py: as the model calls them
GivenTrueLabel = Annotated[str, Field(json_schema_extra={"enum": ["ham", "spam", "unsure"]})]
# What inference.check_text asks for, for the documentation: no NUL, and something besides what str.isspace calls blank.
_BLANK = r"\u0009-\u000d\u001c-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
TEXT_PATTERN = rf"^[{_BLANK}]*[^\u0000{_BLANK}][^\u0000]*$"
Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TEXT_LENGTH,
        description="A message, not blank.",
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]
Word = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # to be looked for in the log, in which no NUL can be


def _with_example(example: dict[str, Any], **config: Any) -> ConfigDict:
    return cast(ConfigDict, {"openapi_extra": {"example": example}, **config})


PREDICTION = {
    "id": "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b",
    "label": "ham",
    "spam_probability": 0.0312,
    "threshold": 0.5,
    "model_version": "20261122-204512-1a2b3c4",
    "explanation": [{"term": "lunch", "contribution": -0.8123}, {"term": "[link]", "contribution": 0.4012}],
    "latency_ms": 0.21,
}
STORED = PREDICTION | {
    "created_at": "2026-11-22T20:45:12.345678+00:00",
    "source": "api",
    "text": "Are we still on for lunch tomorrow?",
    "sender_report": None,
}
REVIEW = {
    "created_at": "2026-11-23T08:30:00.123456+00:00",
    "reviewer": "key:helpdesk",
    "true_label": "ham",
    "queue": "api",
    "overruled": False,
}
LISTED = STORED | {"true_label": "ham", "reviews": [REVIEW]}


# A request's body: no field is ignored, and none is converted.
class PredictRequest(BaseModel):
    model_config = _with_example({"text": "Are we still on for lunch tomorrow?"}, extra="forbid", strict=True)

    text: Text


class BatchRequest(BaseModel):
    model_config = _with_example(
        {"texts": ["Are we still on for lunch?", "WIN a prize now!!! Text YES to 80085"]}, extra="forbid", strict=True
    )

    texts: list[Text] = Field(min_length=1, max_length=MAX_BATCH)


class TermContribution(BaseModel):
    term: str = Field(description="A word of the message, a [kind of word], or a (fact about the whole message).")
    contribution: float = Field(
        description="What it adds to the log-odds of spam; below 0 it speaks for ham, the first label."
    )


class Prediction(BaseModel):
    model_config = _with_example(PREDICTION)

    id: str = Field(description="Cannot be guessed; whoever holds it can read the prediction.")
    label: Label
    spam_probability: float = Field(ge=0, le=1, description="Of the second label, whatever it is called.")
    threshold: float = Field(ge=0, le=1, description="From this probability upwards it is the second label.")
    model_version: str
    explanation: list[TermContribution] | None = Field(
        description="The terms that weighed most, heaviest first; null where texts are not stored."
    )
    latency_ms: float = Field(description="Milliseconds to check and score the text.")


class StoredPrediction(Prediction):
    model_config = _with_example(STORED)

    created_at: dt.datetime
    source: Literal["form", "api", "batch", "stream", "cli"]
    text: str | None = Field(description="Null where texts are not stored.")
    sender_report: Literal["right", "wrong", "unsure"] | None = Field(description="What the sender said of it.")


class PredictionList(BaseModel):
    model_config = _with_example({"predictions": [PREDICTION]})

    predictions: list[Prediction] = Field(description="In the order of the texts.")


class MonitoringQuery(BaseModel):
    range: Literal["24h", "7d", "30d", "all"] = "7d"
    model_version: Word | None = Field(default=None, description="Only the predictions of this version.")


class Monitoring(BaseModel):
    model_config = _with_example({"verdict": {"state": "healthy", "sentence": "Healthy: ...", "findings": []}})

    verdict: dict[str, Any] = Field(description="state (healthy, attention or unknown), sentence, findings.")
    range: dict[str, str]
    model_version: str | None
    model_problem: str = Field(description="Why the model cannot be used; empty if it can.")
    accuracy: dict[str, Any] = Field(description="From random samples alone, each share with its 95 % interval.")
    drift: dict[str, Any] = Field(description="Each test with statistic, p-value, effect size and n.")
    latency: dict[str, Any] = Field(description="Milliseconds to check and score a message.")
    errors: dict[str, Any]
    traffic: dict[str, Any]
    stream: list[dict[str, Any]] = Field(description="The consumers of Kafka topics, as they are now; see the README.")


class PredictionPath(BaseModel):
    prediction_id: str = Field(json_schema_extra={"format": "uuid"})  # any other is merely not found


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
    model_config = _with_example({"true_label": "ham"}, extra="forbid", strict=True)

    true_label: GivenTrueLabel = Field(description=f"What the message really is. {TRUE_LABEL}")


class Review(BaseModel):
    model_config = _with_example(REVIEW)

    created_at: dt.datetime
    reviewer: str = Field(description="Who said it: web:SESSION, key:NAME or import.")
    true_label: str = Field(description=TRUE_LABEL)
    queue: str = Field(
        description="Why it was looked at: random, uncertain, reported, challenger, disagreements, all, api or import."
    )
    overruled: bool = Field(description="Somebody settled a disagreement the other way; it no longer counts.")


class GivenReview(Review):
    model_config = _with_example({"prediction_id": PREDICTION["id"], **REVIEW, "disagreement": False})

    prediction_id: str
    disagreement: bool = Field(description="Whether reviewers now contradict each other; see the page /review.")


class ListedPrediction(StoredPrediction):
    model_config = _with_example(LISTED)

    true_label: str | None = Field(
        description=f"What its reviewers agree on; null without a review, or where they disagree or are unsure. {LABEL}"
    )
    reviews: list[Review] = Field(description="Oldest first.")


class ListedPredictions(BaseModel):
    model_config = _with_example({"predictions": [LISTED], "next": None})

    predictions: list[ListedPrediction] = Field(description="Newest first.")
    next: str | None = Field(description="The address of the next page, also where this one is empty; null at the end.")


class Health(BaseModel):
    model_config = _with_example({"status": "ok"})

    status: Literal["ok"]


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do.")
    request_id: str = Field(description="Name it when you ask for help; it is in the server's log too.")
    errors: list[FieldError] | None = Field(default=None, description="Each field at fault; only with status 422.")

"""The shapes of the API's JSON. Requests are checked against them, and the documentation is made from them."""

import datetime as dt
from http import HTTPStatus
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field

from webapp.config import MAX_BATCH, MAX_TEXT_LENGTH
from webapp.errors import TITLES

LABEL = "One of the served model's two labels: ham or spam, unless its model card has other words for them."
GivenLabel = Annotated[str, Field(json_schema_extra={"enum": ["ham", "spam"]})]  # routes.py: as the model calls them
TEXT_PATTERN = r"^[^\u0000]*[^\u0000\s][^\u0000]*$"  # for the documentation: inference.check_text asks for it
Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TEXT_LENGTH,
        description="A message, not blank.",
        json_schema_extra={"pattern": TEXT_PATTERN},
    ),
]


def with_example(example: dict[str, Any], **config: Any) -> ConfigDict:
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


# A request's body: no field is ignored, and none is converted.
class PredictRequest(BaseModel):
    model_config = with_example({"text": "Are we still on for lunch tomorrow?"}, extra="forbid", strict=True)

    text: Text


class BatchRequest(BaseModel):
    model_config = with_example(
        {"texts": ["Are we still on for lunch?", "WIN a prize now!!! Text YES to 80085"]}, extra="forbid", strict=True
    )

    texts: list[Text] = Field(min_length=1, max_length=MAX_BATCH)


class TermContribution(BaseModel):
    term: str = Field(description="A word of the message, a [kind of word], or @ and a part of a link's host.")
    contribution: float = Field(
        description="What it adds to the log-odds of spam; below 0 it speaks for ham, the first label."
    )


class Prediction(BaseModel):
    model_config = with_example(PREDICTION)

    id: str = Field(description="Cannot be guessed. With it, anybody can read the prediction.")
    label: str = Field(description=LABEL)
    spam_probability: float = Field(ge=0, le=1, description="Of the second label, whatever it is called.")
    threshold: float = Field(ge=0, le=1, description="From this probability upwards it is the second label.")
    model_version: str
    explanation: list[TermContribution] | None = Field(
        description="The terms that weighed most, heaviest first; null where texts are not stored."
    )
    latency_ms: float = Field(description="Milliseconds to check and score the text.")


class StoredPrediction(Prediction):
    model_config = with_example(STORED)

    created_at: dt.datetime
    source: Literal["form", "api", "batch", "stream", "cli"]
    text: str | None = Field(description="Null where texts are not stored.")
    sender_report: Literal["right", "wrong", "unsure"] | None = Field(description="What the sender said of it.")


class PredictionList(BaseModel):
    model_config = with_example({"predictions": [PREDICTION]})

    predictions: list[Prediction] = Field(description="In the order of the texts.")


class PredictionPath(BaseModel):
    model_config = ConfigDict(str_to_lower=True)  # a UUID is the same in capitals (RFC 9562, section 4)

    prediction_id: str = Field(json_schema_extra={"format": "uuid"})  # any other is merely not found


class Health(BaseModel):
    model_config = with_example({"status": "ok"})

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


# --- What a route may answer, for the document ---

WITH_BODY = (400, 413, 415, 422, 429)  # what may be wrong with a request that brings JSON
ALWAYS = (414, 500, 503)


def responses(answer: type[BaseModel] | dict[str, Any], *errors: int) -> dict[str | int | HTTPStatus, Any]:
    """Return the documentation of a route's answer, of the errors that it may give, and of those that each may give."""
    documented: dict[str | int | HTTPStatus, Any] = {200: answer}
    for status in sorted({*errors, *ALWAYS}):
        documented[status] = problem(status)
    documented[414] = {"description": "The server says so on a page of HTML, before the app sees the address."}
    return documented


def problem(status: int) -> dict[str, Any]:
    """Return the documentation of an error."""
    example = {"type": "about:blank", "title": TITLES[status], "status": status, "detail": "What to do."}
    content = {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example | {"request_id": "7f3a"}}
    return {"description": TITLES[status], "content": {"application/problem+json": content}}

"""The shapes of the API's JSON. Requests are checked against them, and the documentation is made from them."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from webapp.config import MAX_BATCH, MAX_TEXT_LENGTH

Text = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_TEXT_LENGTH,
        description="A message, not blank.",
        examples=["Are we still on for lunch tomorrow?"],
    ),
]


class Request(BaseModel):
    """A request's body: no field is ignored, and none is converted."""

    model_config = ConfigDict(extra="forbid", strict=True)


class PredictRequest(Request):
    text: Text


class BatchRequest(Request):
    texts: list[Text] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        examples=[["Are we still on for lunch?", "WIN a prize now!!! Text YES to 80085"]],
    )


class TermContribution(BaseModel):
    term: str = Field(description="A word of the message, or in [brackets] something about it.", examples=["prize"])
    contribution: float = Field(
        description="What it adds to the log-odds of spam; below 0 it speaks for ham.", examples=[1.2345]
    )


class Prediction(BaseModel):
    id: str = Field(
        description="Cannot be guessed; whoever holds it can read the prediction.",
        examples=["019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b"],
    )
    label: Literal["spam", "ham"]
    spam_probability: float = Field(ge=0, le=1, examples=[0.0312])
    threshold: float = Field(ge=0, le=1, description="From this probability upwards the label is spam.", examples=[0.5])
    model_version: str = Field(examples=["20261122-204512-1a2b3c4"])
    explanation: list[TermContribution] | None = Field(
        description="The terms that weighed most, heaviest first; null where texts are not stored."
    )
    latency_ms: float = Field(description="Milliseconds to check and score the text.", examples=[0.21])


class StoredPrediction(Prediction):
    created_at: dt.datetime
    source: Literal["form", "api", "batch", "stream", "cli"]
    text: str | None = Field(description="Null where texts are not stored.")
    sender_report: Literal["right", "wrong", "unsure"] | None = Field(
        description="What the sender said of the verdict."
    )


class PredictionList(BaseModel):
    predictions: list[Prediction] = Field(description="In the order of the texts.")


class PredictionPath(BaseModel):
    prediction_id: str


class Health(BaseModel):
    status: Literal["ok"]


class FieldError(BaseModel):
    field: str = Field(examples=["texts[3]"])
    message: str = Field(examples=["is empty: send the message to check"])


class Problem(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: Literal["about:blank"]
    title: str
    status: int
    detail: str = Field(description="What is wrong and what to do.")
    request_id: str = Field(description="Name it when you ask for help; it is in the server's log too.")
    errors: list[FieldError] | None = Field(default=None, description="Each field at fault; only with status 422.")

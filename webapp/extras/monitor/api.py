"""GET /monitoring: the figures of the monitor page, for programs."""

from typing import Annotated, Literal

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from webapp.api.schemas import WITH_ADDRESS, Word, responses, with_example
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.monitor.report import report
from webapp.extras.monitor.rollups import span
from webapp.inference import Inference
from webapp.model.evaluation import Proportion

blueprint = APIBlueprint(
    "monitoring",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="monitoring", description="The figures of the monitor page; with an API key.")],
    abp_security=SECURITY,
)
blueprint.before_request(api_key_required)

Cells = dict[str, str | float | None]  # one row of a table
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
RIGHT = {"value": 0.98, "low": 0.95, "high": 0.99, "n": 212}
EXAMPLE = {
    "verdict": {"state": "healthy", "sentence": "Healthy: 98.0 % (95 % interval 95.0 to 99.0 %) ...", "findings": []},
    "range": {"name": "24h", "since": "2026-11-22T20:00:00+00:00", "until": "2026-11-23T20:00:00+00:00"},
    "model_version": None,
    "model_problem": "",
    "accuracy": dict.fromkeys(("accuracy", "recall", "false_positive_rate", "precision", "of_current"), RIGHT)
    | {"reviewed": 212, "unsure": 1, "if_unsure": None, "brier": 0.02, "reliability": [], "over_time": []}
    | {"confusion_matrix": {"spam_called_spam": 40}, "at_training": {"accuracy": RIGHT}}
    | {"worse_than_at_training": False},
    "drift": {"state": "no drift seen", "note": "Compared with ...", "messages": 400, "proposed": None}
    | {"tests": [], "changes": [], "changed_terms": []},
    "latency": {"unit": "ms", "n": 1000, "p50": 0.2, "p95": 0.4, "p99": 0.9, "by_source": {}, "over_time": []},
    "errors": {"requests": 1000, "refused": 3, "failed": 0, "share_failed": 0.0, "by_kind": [], "over_time": []},
    "traffic": {"predictions": 1000, "called_spam": 300, "called_ham": 700, "over_time": []},
    "stream": [],
}


class MonitoringQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    range: Literal["24h", "7d", "30d", "all"] = "7d"
    model_version: Word | None = Field(default=None, description="Only the predictions of this version.")


class Verdict(BaseModel):
    state: Literal["healthy", "attention", "unknown"]
    sentence: str
    findings: list[dict[str, str]] = Field(description="What needs attention: `about`, `what`, and what to `do`.")


class ReliabilityBin(BaseModel):
    lower: float
    upper: float
    mean_probability: float | None
    spam: Proportion


class Accuracy(BaseModel):
    reviewed: int
    unsure: int = Field(description="The reviewer could not say: they are in no figure.")
    if_unsure: Pair | None = Field(description="Accuracy if these were all wrong, and all right.")
    accuracy: Proportion
    recall: Proportion
    false_positive_rate: Proportion
    precision: Proportion
    confusion_matrix: dict[str, int]
    brier: float | None
    reliability: list[ReliabilityBin]
    over_time: list[Cells]
    of_current: Proportion = Field(description="Of the version whose card this is.")
    at_training: dict[str, dict[str, float | None]]
    worse_than_at_training: bool


class Drift(BaseModel):
    state: str
    note: str
    messages: int = Field(description="That were compared; copies count once.")
    proposed: int | None = Field(description="How many could be declared normal, where none are yet.")
    tests: list[Cells]
    changes: list[dict[str, str | list[Pair]]]
    changed_terms: list[Cells]


class Latency(BaseModel):
    unit: Literal["ms"]
    n: int
    p50: float | None
    p95: float | None
    p99: float | None
    by_source: dict[str, Cells]
    over_time: list[Cells]


class Errors(BaseModel):
    requests: int = Field(description="Of form and API, answered or not.")
    refused: int
    failed: int
    share_failed: float | None
    by_kind: list[Cells]
    over_time: list[Cells]


class Traffic(BaseModel):
    predictions: int
    called_spam: int
    called_ham: int
    over_time: list[Cells]


class Monitoring(BaseModel):
    model_config = with_example(EXAMPLE)

    verdict: Verdict
    range: dict[str, str]
    model_version: str | None
    model_problem: str = Field(description="Why the model cannot be used; empty if it can.")
    accuracy: Accuracy
    drift: Drift
    latency: Latency
    errors: Errors
    traffic: Traffic
    stream: list[dict[str, str | float | bool | None]]


@blueprint.get(
    "/monitoring",
    summary="How accurate, steady, fast and faultless is the model?",
    responses=responses(Monitoring, 401, *WITH_ADDRESS),
)
def monitoring(query: MonitoringQuery) -> Response:
    """Return the figures of a range of time, accuracy beside what it was at training, and what they add up to."""
    engine = current_app.extensions["engine"]
    inference: Inference = current_app.extensions["inference"]
    return jsonify(report(engine, inference.registry, span(engine, query.range, query.model_version)))

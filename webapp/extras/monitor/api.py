"""GET /monitoring: the figures of the monitor page, for programs."""

from typing import Any, Literal

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, ConfigDict, Field

from webapp.api.schemas import responses, with_example
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.monitor.report import report
from webapp.extras.monitor.rollups import span
from webapp.inference import Inference

blueprint = APIBlueprint(
    "monitoring",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="monitoring", description="The figures of the monitor page; with an API key.")],
    abp_security=SECURITY,
)
blueprint.before_request(api_key_required)

AT = "2026-11-22T20:00:00+00:00"
RIGHT = {"value": 0.98, "low": 0.95, "high": 0.99, "n": 212}
METRICS = dict.fromkeys(("accuracy", "recall", "false_positive_rate", "precision"), RIGHT)
MS = {"p50": 0.2, "p95": 0.4, "p99": 0.9}
TEST = {"n_reference": 1000, "n_current": 400, "p_corrected": 1e-5, "effect": 0.4, "effect_matters_from": 0.2}
EXAMPLE = {  # it names all that there is: a test compares it with an answer
    "verdict": {"state": "attention", "sentence": "Needs attention: 1.2 % of the requests failed ..."}
    | {"findings": [{"about": "errors", "what": "1.2 % of the requests failed ...", "do": "See the list of errors."}]},
    "range": {"name": "24h", "since": AT, "until": "2026-11-23T20:00:00+00:00"},
    "model_version": None,
    "model_problem": "",
    "accuracy": METRICS
    | {"reviewed": 212, "unsure": 7, "if_unsure": [0.95, 0.98], "sampled": 0.9, "of_current": RIGHT, "brier": 0.02}
    | {"confusion_matrix": {"spam_called_spam": 40, "spam_called_ham": 2, "ham_called_ham": 168, "ham_called_spam": 2}}
    | {"reliability": [{"lower": 0.9, "upper": 1.0, "mean_probability": 0.98, "spam": RIGHT}]}
    | {"over_time": [{"at": AT} | RIGHT], "worse_than_at_training": False}
    | {"at_training": METRICS | {"brier": {"value": 0.02, "low": None, "high": None}}},
    "drift": {"state": "drifted", "note": "Compared with ...", "messages": 400, "proposed": None}
    | {"tests": [{"name": "form", "explanation": "Are the messages of another kind ...", "state": "drifted"} | TEST]}
    | {"changes": [{"sentence": "Median length: 68 → 112 characters", "bins": [[0.7, 0.4], [0.3, 0.6]]}]}
    | {"changed_terms": [{"term": "coin", "share_then": 0.01, "share_now": 0.2, "z": 9.5, "example": "a coin"}]},
    "latency": {"unit": "ms", "n": 1000, "by_source": {"api": {"n": 1000} | MS}, "over_time": [{"at": AT} | MS]} | MS,
    "errors": {"requests": 1000, "refused": 3, "failed": 12, "share_failed": 0.012}
    | {"by_kind": [{"source": "api", "status": 500, "what": "Something went wrong", "count": 12}]}
    | {"over_time": [{"at": AT, "refused": 3, "failed": 12}]},
    "traffic": {"predictions": 1000, "called_spam": 300, "called_ham": 700}
    | {"over_time": [{"at": AT, "spam": 300, "ham": 700}]},
    "stream": [],
}


class MonitoringQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    range: Literal["24h", "7d", "30d", "all"] = "7d"
    model_version: str | None = Field(default=None, description="Only the predictions of this version.")


class Monitoring(BaseModel):
    """docs/monitoring.md says what each figure means."""

    model_config = with_example(EXAMPLE)

    verdict: dict[str, Any] = Field(
        description="`state` is healthy, attention or unknown; `findings` say what to `do`."
    )
    range: dict[str, str]
    model_version: str | None
    model_problem: str = Field(description="Why the model cannot be used; empty if it can.")
    accuracy: dict[str, Any] = Field(description="By reviewed random samples; `of_current` is of the version served.")
    drift: dict[str, Any] = Field(description="`messages` were compared; copies count once.")
    latency: dict[str, Any]
    errors: dict[str, Any] = Field(description="Of the requests of form and API, answered or not.")
    traffic: dict[str, Any]
    stream: list[dict[str, Any]] = Field(description="The consumers of Kafka topics.")


@blueprint.get(
    "/monitoring",
    summary="How accurate, steady, fast and faultless is the model?",
    responses=responses(Monitoring, 401, 422),
)
def monitoring(query: MonitoringQuery) -> Response:
    """Return the figures of a range of time, accuracy beside what it was at training, and what they add up to."""
    engine = current_app.extensions["engine"]
    inference: Inference = current_app.extensions["inference"]
    return jsonify(report(engine, inference.registry, span(engine, query.range, query.model_version)))

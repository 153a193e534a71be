"""GET /monitoring: the figures of the monitor page, for programs."""

from typing import Any, Literal

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag
from pydantic import BaseModel, Field

from webapp.api.docs import WITH_ADDRESS, responses
from webapp.api.schemas import Word, with_example
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.monitor.report import report
from webapp.extras.monitor.service import span
from webapp.inference import Inference

blueprint = APIBlueprint(
    "monitoring",
    __name__,
    url_prefix="/api/v1",
    abp_tags=[Tag(name="monitoring", description="The figures of the monitor page; with an API key.")],
    abp_security=SECURITY,
)
blueprint.before_request(api_key_required)


class MonitoringQuery(BaseModel):
    range: Literal["24h", "7d", "30d", "all"] = "7d"
    model_version: Word | None = Field(default=None, description="Only the predictions of this version.")


class Monitoring(BaseModel):
    model_config = with_example(
        {"verdict": {"state": "healthy", "sentence": "Healthy: ...", "findings": []}, "range": {}, "stream": []}
        | {"model_version": None, "model_problem": ""}
        | {part: {} for part in ("accuracy", "drift", "latency", "errors", "traffic")}  # shortened
    )

    verdict: dict[str, Any]
    range: dict[str, str]
    model_version: str | None
    model_problem: str = Field(description="Why the model cannot be used; empty if it can.")
    accuracy: dict[str, Any]
    drift: dict[str, Any]
    latency: dict[str, Any]
    errors: dict[str, Any]
    traffic: dict[str, Any]
    stream: list[dict[str, Any]]


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

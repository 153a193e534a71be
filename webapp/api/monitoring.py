"""GET /monitoring: the figures of the monitor page, for programs."""

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag

from webapp.api.docs import responses
from webapp.api.keys import needs_key
from webapp.api.schemas import Monitoring, MonitoringQuery
from webapp.inference import Inference
from webapp.monitoring.report import report
from webapp.monitoring.span import span

blueprint = APIBlueprint("monitoring", __name__, url_prefix="/api/v1", abp_tags=[Tag(name="monitoring")])


@blueprint.get(
    "/monitoring",
    summary="How accurate, steady, fast and faultless is the model?",
    responses=responses(Monitoring, 401, 414, 422, 500, 503),
    security=[{"api_key": []}],
)
@needs_key
def monitoring(query: MonitoringQuery) -> Response:
    """Return the figures of a range of time, each beside what it was in the range before and at training."""
    engine = current_app.extensions["engine"]
    inference: Inference = current_app.extensions["inference"]
    return jsonify(report(engine, inference.registry, span(engine, query.range, query.model_version)))

"""GET /metrics, for Prometheus: figures only, no texts, so it asks for no key."""

from flask import Response, current_app
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from webapp.api.docs import responses
from webapp.extras.prometheus.state import State
from webapp.inference import Inference

EXAMPLE = 'hamlet_predictions_total{label="spam",model_version="20261122-204512-1a2b3c4",source="api"} 7.0'
TEXT = {
    "description": "Prometheus's text format",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
}

blueprint = APIBlueprint(
    "metrics", __name__, abp_tags=[Tag(name="health", description="For load balancers and monitoring.")]
)


@blueprint.get("/metrics", summary="What has it done?", responses=responses(TEXT))
def metrics() -> Response:
    """Give Prometheus what all workers counted since the start, and how things stand."""
    inference: Inference = current_app.extensions["inference"]
    state = State(current_app.extensions["engine"], inference.registry)
    return Response(current_app.extensions["metrics"].text(state), content_type=CONTENT_TYPE_PLAIN_0_0_4)

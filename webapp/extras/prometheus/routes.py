"""GET /metrics, for Prometheus: figures only, no texts, so it asks for no key."""

import os

from flask import Response, current_app
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

from webapp.api.docs import responses
from webapp.errors import NotReady
from webapp.extras.prometheus.state import State
from webapp.extras.prometheus.worker_files import VARIABLE

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
    registry = CollectorRegistry()
    registry.register(State(current_app.extensions["engine"], current_app.extensions["inference"].registry))
    try:
        if VARIABLE in os.environ:
            MultiProcessCollector(registry)
        else:  # one process alone, as with flask run
            registry.register(REGISTRY)
        text = generate_latest(registry)
    except (OSError, ValueError) as error:
        raise NotReady(f"The counts of the workers cannot be read ({error}). Restart Hamlet.") from error
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)

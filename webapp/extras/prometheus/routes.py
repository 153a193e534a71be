"""GET /metrics, for Prometheus: figures only, no texts, so it asks for no key."""

import logging
import os
import platform
from collections.abc import Iterator
from importlib.metadata import version

import sqlalchemy as sa
from flask import Response, current_app
from flask_openapi3 import APIBlueprint, Tag
from prometheus_client import REGISTRY, CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from webapp.api.docs import responses
from webapp.config import VERSION
from webapp.errors import LogUnavailable, ModelUnusable, NotReady
from webapp.extras.monitor.rollups import count_predictions
from webapp.extras.prometheus.worker_files import VARIABLE
from webapp.log.tables import reviews

BUILD = {"version": VERSION, "python": platform.python_version(), "scikit_learn": version("scikit-learn")}
EXAMPLE = 'hamlet_predictions_total{label="spam",model_version="20261122-204512-1a2b3c4",source="api"} 7.0'
TEXT = {
    "description": "Prometheus's text format",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
}

blueprint = APIBlueprint(
    "metrics", __name__, abp_tags=[Tag(name="health", description="For load balancers and monitoring.")]
)
logger = logging.getLogger(__name__)


@blueprint.get("/metrics", summary="What has it done?", responses=responses(TEXT))
def metrics() -> Response:
    """Give Prometheus what all workers counted since the start, and how things stand."""
    registry = CollectorRegistry()
    registry.register(State())
    try:
        if VARIABLE in os.environ:
            MultiProcessCollector(registry)
        else:  # one process alone, as with flask run
            registry.register(REGISTRY)
        text = generate_latest(registry)
    except (OSError, ValueError) as error:
        raise NotReady(f"The counts of the workers cannot be read ({error}). Restart Hamlet.") from error
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


class State(Collector):
    """What is as it is at the moment of asking: the program, the model, the log; what cannot be had is left out."""

    def collect(self) -> Iterator[Metric]:
        """Yield one metric after the other."""
        yield InfoMetricFamily("hamlet_build", "The running program.", value=BUILD)
        try:
            model = current_app.extensions["inference"].registry.current()
            served = {"model_version": model.version, "threshold": str(model.threshold)}
            yield InfoMetricFamily("hamlet_model", "The served model.", value=served)
        except ModelUnusable:
            pass  # the registry has said why
        engine = current_app.extensions["engine"]
        try:
            yield GaugeMetricFamily("hamlet_log_rows", "Predictions in the log.", value=count_predictions(engine))
            newest = sa.select(reviews.c.created_at).order_by(reviews.c.id.desc()).limit(1)  # an id grows with time
            with engine.connect() as connection:
                last = connection.execute(newest).scalar()
            if last:
                about = "When somebody last reviewed."
                yield GaugeMetricFamily("hamlet_last_review_timestamp_seconds", about, value=last.timestamp())
        except (sa.exc.SQLAlchemyError, LogUnavailable) as error:
            logger.warning("/metrics without figures of the log: %s", error)

"""What a server counts while it works, and GET /metrics for Prometheus: figures only, so it asks for no key."""

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import wraps
from importlib.metadata import version
from typing import Any

import sqlalchemy as sa
from flask import Response, current_app, request
from flask_openapi3 import APIBlueprint
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from webapp.api.routes import HEALTH
from webapp.api.schemas import responses
from webapp.config import VERSION
from webapp.errors import LogUnavailable, ModelUnusable, NotReady
from webapp.extras.monitor import rollups
from webapp.log.tables import Row, reviews

BUILD = {"version": VERSION, "python": platform.python_version(), "scikit_learn": version("scikit-learn")}
EXAMPLE = 'hamlet_predictions_total{label="spam",model_version="20261122-204512-1a2b3c4",source="api"} 7.0'
TEXT = {
    "description": "Prometheus's text format",
    "content": {"text/plain": {"schema": {"type": "string"}, "example": EXAMPLE}},
}

blueprint = APIBlueprint("metrics", __name__, abp_tags=[HEALTH])
logger = logging.getLogger(__name__)

disable_created_metrics()  # each count's time of creation, twice as many lines
REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORING_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
REQUESTS = Counter("hamlet_requests_total", "Requests answered.", ["route", "method", "status"])
REQUEST_TIME = Histogram("hamlet_request_seconds", "Time to answer.", ["route"], buckets=REQUEST_SECONDS)
PREDICTIONS = Counter("hamlet_predictions_total", "Predictions logged.", ["label", "source", "model_version"])
SCORING_TIME = Histogram("hamlet_prediction_seconds", "Time to score.", ["source"], buckets=SCORING_SECONDS)
FAILURES = Counter("hamlet_failures_total", "Requests refused or gone wrong.", ["source", "status"])


def _harmless(count: Callable[..., None]) -> Callable[..., Any]:
    """Let a count that cannot be kept cost no request."""

    @wraps(count)
    def tried(*arguments: Any) -> Any:
        try:
            count(*arguments)
        except Exception as error:  # whatever it is, the request itself went well
            logger.error("This could not be counted for /metrics: %r", error)
        return arguments[0]  # an answer goes on its way

    return tried


@_harmless
def count_request(response: Response) -> None:
    """Count an answered request."""
    # By the route and its methods: counts are kept for good, and anybody can make up paths.
    route, method = (request.url_rule.rule, request.method) if request.url_rule else ("unknown", "any")
    REQUESTS.labels(route, method, response.status_code).inc()
    REQUEST_TIME.labels(route).observe(time.perf_counter() - request.environ["hamlet.started"])


@_harmless
def count_predictions(rows: Iterable[Row]) -> None:
    """Count predictions that are in the log."""
    for row in rows:
        PREDICTIONS.labels(row["label"], row["source"], row["model_version"]).inc()
        SCORING_TIME.labels(row["source"]).observe(row["latency_ms"] / 1000)


@_harmless
def count_failure(source: str, status: int) -> None:
    """Count a request that was refused or went wrong."""
    FAILURES.labels(source, status).inc()


@blueprint.get("/metrics", summary="What has it done?", responses=responses(TEXT))
def metrics() -> Response:
    """Return what all workers counted since the start, and the state of now."""
    registry = CollectorRegistry()
    registry.register(State())
    try:
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # see worker_files.py
            MultiProcessCollector(registry)
        else:  # one process alone, as with flask run
            registry.register(REGISTRY)
        text = generate_latest(registry)
    except (OSError, ValueError) as error:
        raise NotReady(f"The counts of the workers cannot be read ({error}). Restart Hamlet.") from error
    return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)


class State(Collector):
    """The state at the moment of asking: the program, the model, the log; what cannot be read is left out."""

    def collect(self) -> Iterator[Metric]:
        """Yield each metric."""
        yield InfoMetricFamily("hamlet_build", "The running program.", value=BUILD)
        with suppress(ModelUnusable):  # the registry has said why
            model = current_app.extensions["inference"].registry.current()
            served = {"model_version": model.version, "threshold": str(model.threshold)}
            yield InfoMetricFamily("hamlet_model", "The served model.", value=served)
        engine = current_app.extensions["engine"]
        newest = sa.select(reviews.c.created_at).order_by(reviews.c.id.desc()).limit(1)  # an id grows with time
        with suppress(LogUnavailable):  # what needs it fails, and is counted
            rows = rollups.count_predictions(engine)
            yield GaugeMetricFamily("hamlet_log_rows", "Predictions in the log.", value=rows)
            with engine.connect() as connection:
                last = connection.execute(newest).scalar()
            if last:
                yield GaugeMetricFamily("hamlet_last_review_timestamp_seconds", "Last review.", value=last.timestamp())

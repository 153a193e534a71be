"""What a server counts while it works: requests, predictions and failures, and how long they took.

A count is never worth a request: where it cannot be kept, the server says so once and goes on without.
"""

import logging
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any

from prometheus_client import Counter, Histogram, disable_created_metrics

from webapp.log.tables import Row

REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORING_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

disable_created_metrics()  # many lines more that nobody reads
REQUESTS = Counter("hamlet_requests_total", "Requests answered.", ["route", "method", "status"])
REQUEST_TIME = Histogram("hamlet_request_seconds", "Time to answer.", ["route"], buckets=REQUEST_SECONDS)
PREDICTIONS = Counter("hamlet_predictions_total", "Predictions logged.", ["label", "source", "model_version"])
SCORING_TIME = Histogram("hamlet_prediction_seconds", "Time to score.", ["source"], buckets=SCORING_SECONDS)
FAILURES = Counter("hamlet_failures_total", "Requests refused or gone wrong.", ["source", "status"])

logger = logging.getLogger(__name__)
_complained = False


def _harmless(count: Callable[..., None]) -> Callable[..., None]:
    @wraps(count)
    def tried(*arguments: Any) -> None:
        global _complained
        try:
            count(*arguments)
        except Exception as error:  # whatever it is, the request itself went well
            if not _complained:
                logger.error("Something could not be counted for /metrics (%r); the requests go on.", error)
            _complained = True

    return tried


@_harmless
def count_request(route: str, method: str, status: int, seconds: float) -> None:
    """Count an answered request."""
    REQUESTS.labels(route, method, status).inc()
    REQUEST_TIME.labels(route).observe(seconds)


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

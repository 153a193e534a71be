"""What a server counts while it works, for Prometheus: requests, predictions and failures, and how long they took.

Each app has its own counts. Under gunicorn those of all workers are added up (worker_files.py). A count is never
worth a request: where it cannot be kept, the server says so once and goes on without.
"""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from webapp.errors import NotReady
from webapp.extras.prometheus import worker_files
from webapp.log.tables import Row

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))  # a client may invent others
REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORING_SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)

logger = logging.getLogger(__name__)
Arguments = ParamSpec("Arguments")
Series = TypeVar("Series", Counter, Histogram)
Count = Callable[Concatenate["Metrics", Arguments], None]


def _harmless(count: Count[Arguments]) -> Count[Arguments]:
    @wraps(count)
    def tried(self: "Metrics", /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            count(self, *args, **kwargs)
        except Exception as error:  # whatever it is, the request itself went well
            self.complain(error)

    return tried


class Metrics:
    """Counts, and shows its counts in Prometheus's text format."""

    def __init__(self) -> None:
        folder = os.environ.get(worker_files.VARIABLE)
        self._shared = Path(folder) if folder else None
        self._complained = False
        self._lock = threading.Lock()
        # Looked up here, a series costs a tenth of what prometheus_client takes to find it.
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._predictions: dict[tuple[str, str, str], tuple[Counter, Histogram]] = {}

        disable_created_metrics()  # many lines more that nobody reads
        # It looks for the folder when it is imported; gunicorn.conf.py can name it only later.
        values.ValueClass = values.get_value_class()
        registry = self.registry = CollectorRegistry()
        self._requests_total = Counter(
            "hamlet_requests_total", "Requests answered.", ["route", "method", "status"], registry=registry
        )
        self._request_seconds = Histogram(
            "hamlet_request_seconds", "Time to answer.", ["route"], buckets=REQUEST_SECONDS, registry=registry
        )
        self._predictions_total = Counter(
            "hamlet_predictions_total", "Predictions logged.", ["label", "source", "model_version"], registry=registry
        )
        self._prediction_seconds = Histogram(
            "hamlet_prediction_seconds", "Time to score.", ["source"], buckets=SCORING_SECONDS, registry=registry
        )
        self._failures_total = Counter(
            "hamlet_failures_total", "Requests refused or gone wrong.", ["source", "status"], registry=registry
        )

    @_harmless
    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request. The route must be a pattern, not a path: each new one is kept for good."""
        key = (route, method if method in METHODS else "other", status)
        if key not in self._requests:
            self._requests[key] = (self._series(self._requests_total, *key), self._series(self._request_seconds, route))
        total, seconds_ = self._requests[key]
        total.inc()
        seconds_.observe(seconds)

    @_harmless
    def count_predictions(self, rows: Iterable[Row]) -> None:
        """Count predictions that are in the log."""
        for row in rows:
            source = row["source"]
            key = (row["label"], source, row["model_version"])
            if key not in self._predictions:
                self._predictions[key] = (
                    self._series(self._predictions_total, *key),
                    self._series(self._prediction_seconds, source),
                )
            total, seconds = self._predictions[key]
            total.inc()
            seconds.observe(row["latency_ms"] / 1000)

    @_harmless
    def count_failure(self, source: str, status: int) -> None:
        """Count a request that was refused or went wrong."""
        self._series(self._failures_total, source, status).inc()

    def text(self, *others: Collector) -> bytes:
        """Return what this server counted, all workers added up, and what others know; raises NotReady."""
        if self._shared is None:
            counted = generate_latest(self.registry)
        else:
            try:
                with worker_files.reading(self._shared):
                    counted = generate_latest(MultiProcessCollector(None, str(self._shared)))
            except OSError as error:
                raise NotReady(f"The counts of the workers cannot be read ({error}). Restart Hamlet.") from error
        return counted + b"".join(generate_latest(other) for other in others)

    def complain(self, error: Exception) -> None:
        """Log an error, the first time; with where it comes from, unless the disk is to blame."""
        if not self._complained:
            where = None if isinstance(error, OSError) else error
            logger.error("Something could not be counted for /metrics (%s); the requests go on.", error, exc_info=where)
        self._complained = True

    def _series(self, metric: Series, *labels: Any) -> Series:
        with self._lock:
            if self._shared:
                worker_files.reserve(self._shared)
            return metric.labels(*labels)

"""What a consumer tells of itself: counts for Prometheus, and a row for the monitor page."""

import datetime as dt
import os
import socket
import time
from collections import Counter as Tally
from contextlib import suppress

import sqlalchemy as sa
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from webapp.config import HOST
from webapp.errors import BadData, LogUnavailable
from webapp.extras.stream.consumers import ConsumerRow, forget_consumer, report_consumer

REPORT_EVERY_S = 5
BATCH_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Status:
    """Counts, and reports to the log every few seconds."""

    def __init__(self, engine: sa.Engine, topic: str, group: str):
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self._engine, self._topic, self._group = engine, topic, group
        self._registry = CollectorRegistry()
        self._registry.register(REGISTRY)  # what every process of Hamlet counts
        self._lag: dict[int, int] = {}
        self._total: Tally[str] = Tally()
        self._reported_at, self._reported = time.monotonic(), 0
        self._records = Counter(
            "hamlet_stream_records_total", "Records done, by what became of them.", ["outcome"], registry=self._registry
        )
        self._troubles = Counter(
            "hamlet_stream_troubles_total", "Times it had to wait.", ["reason"], registry=self._registry
        )
        self._seconds = Histogram(
            "hamlet_stream_batch_seconds",
            "Time from reading to acknowledged, per batch.",
            buckets=BATCH_SECONDS,
            registry=self._registry,
        )
        self._lags = Gauge(
            "hamlet_stream_lag", "Records not committed yet.", ["topic", "partition"], registry=self._registry
        )

    def serve(self, port: int) -> None:
        """Show /metrics on a port of its own; raises BadData if that is taken."""
        try:
            start_http_server(port, HOST, self._registry)
        except OSError as error:
            raise BadData(f"--metrics-port {port}: {HOST}:{port} cannot be used ({error.strerror})") from error

    def count_batch(self, outcomes: Tally[str], seconds: float) -> None:
        """Count the records of a batch that is acknowledged."""
        for outcome, count in outcomes.items():
            self._records.labels(outcome).inc(count)
        self._total.update(outcomes)
        self._seconds.observe(seconds)

    def count_trouble(self, kind: str) -> None:
        """Count that something has to be waited for."""
        self._troubles.labels(kind).inc()
        self._total["troubles"] += 1

    def set_lag(self, lag: dict[int, int]) -> None:
        """Note how many records are left on each partition that this consumer has now."""
        self._lag = lag
        self._lags.clear()
        for number, records in lag.items():
            self._lags.labels(self._topic, number).set(records)

    def report(self) -> None:
        """Write to the log how things stand, if it is time to; where it cannot be, the monitor page does without."""
        seconds = time.monotonic() - self._reported_at
        if seconds < REPORT_EVERY_S:
            return
        done = self._total["predicted"] + self._total["dead letter"]
        rate = (done - self._reported) / seconds
        self._reported_at, self._reported = time.monotonic(), done
        row = ConsumerRow(
            name=self.name,
            topic=self._topic,
            consumer_group=self._group,
            seen_at=dt.datetime.now(dt.UTC),
            lag=sum(self._lag.values()) if self._lag else None,
            records=done,
            dead_letters=self._total["dead letter"],
            troubles=self._total["troubles"],
            records_per_second=round(rate, 1),
        )
        with suppress(LogUnavailable):
            report_consumer(self._engine, row)

    def forget(self) -> None:
        """Take this consumer off the monitor page."""
        with suppress(LogUnavailable):
            forget_consumer(self._engine, self.name)

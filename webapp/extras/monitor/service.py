"""Latency, errors and traffic of a span of time, from the log's sums by the hour; and who reads streams just now."""

import datetime as dt
from collections import Counter, defaultdict
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.monitor.rollups import ANSWERED, HOUR, PREDICTIONS, REQUESTS, bucket_ms, count
from webapp.log.tables import failures, moment_of, predictions, stream_consumers

RANGES = {"24h": dt.timedelta(hours=24), "7d": dt.timedelta(days=7), "30d": dt.timedelta(days=30), "all": None}
QUANTILES = {"p50": (0.5, 1), "p95": (0.95, 20), "p99": (0.99, 100)}  # share; of fewer it would be the slowest alone
SILENT_AFTER = dt.timedelta(seconds=30)  # a consumer of a stream reports every 5 s
FORGOTTEN_AFTER = dt.timedelta(days=1)


class Span(NamedTuple):
    """Whole hours of UTC, since <= time < until, of one model version or of all."""

    name: str
    since: dt.datetime
    until: dt.datetime
    model_version: str | None = None

    @property
    def step(self) -> str:
        """What one point of a chart is: "hour", or "day" where hours would be too many."""
        return "hour" if self.until - self.since <= dt.timedelta(days=3) else "day"

    def step_of(self, moment: dt.datetime) -> dt.datetime:
        """Return the beginning of the hour or day that a time is in."""
        hour = moment.replace(minute=0, second=0, microsecond=0)
        return hour if self.step == "hour" else hour.replace(hour=0)

    def steps(self) -> list[dt.datetime]:
        """Return the beginnings of all hours or days of the span."""
        first, length = self.step_of(self.since), HOUR if self.step == "hour" else dt.timedelta(days=1)
        return [first + i * length for i in range(-((first - self.until) // length))]


def span(engine: sa.Engine, name: str, model_version: str | None = None, now: dt.datetime | None = None) -> Span:
    """Return the span with a name of RANGES that ends with the current hour; raises InvalidInput.

    It does not begin before the log: a chart of seven days of which six are empty would look broken.
    """
    if name not in RANGES:
        message = f"must be one of {', '.join(RANGES)}"
        raise InvalidInput(f"range {message}.", [{"field": "range", "message": message}])
    until = (now or dt.datetime.now(dt.UTC)).replace(minute=0, second=0, microsecond=0) + HOUR
    with engine.connect() as connection:
        firsts = [connection.execute(sa.select(sa.func.min(table.c.id))).scalar() for table in (predictions, failures)]
    first = min((one for one in firsts if one), default=None)
    begin = moment_of(first).replace(minute=0, second=0, microsecond=0) if first else until - HOUR
    length = RANGES[name]
    since = begin if length is None else max(begin, until - length)
    return Span(name, min(since, until - HOUR), until, model_version)


def traffic_and_latency(engine: sa.Engine, span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how many predictions there were and how many milliseconds checking and scoring took.

    Latencies are kept to two digits, so the figures are right to 5 %.
    """
    in_all: Counter[int] = Counter()
    by_source: dict[str, Counter[int]] = defaultdict(Counter)
    by_step: dict[dt.datetime, Counter[int]] = {step: Counter() for step in span.steps()}
    labels_by_step: dict[dt.datetime, Counter[str]] = {step: Counter() for step in span.steps()}
    by = (span.step, "label", "source", "latency_bucket")
    # Counted once for all figures: in a log of millions this is what takes time.
    for (step, label, source, bucket), number in count(
        engine, PREDICTIONS, by, span.since, span.until, span.model_version
    ).items():
        labels_by_step[step][label] += number
        for buckets in (in_all, by_source[source], by_step[step]):
            buckets[bucket] += number
    labels = sum(labels_by_step.values(), Counter())
    traffic = {
        "predictions": in_all.total(),
        "called_spam": labels["spam"],
        "called_ham": labels["ham"],
        "over_time": [
            {"at": step.isoformat(), "spam": of["spam"], "ham": of["ham"]} for step, of in labels_by_step.items()
        ],
    }
    latency = {
        "unit": "ms",
        "n": in_all.total(),
        **quantiles(in_all),
        "by_source": {source: {"n": of.total(), **quantiles(of)} for source, of in sorted(by_source.items())},
        "over_time": [{"at": step.isoformat(), **quantiles(of)} for step, of in by_step.items()],
    }
    return traffic, latency


def quantiles(buckets: Counter[int]) -> dict[str, float | None]:
    """Return p50, p95 and p99 in milliseconds: the smallest latency that so great a share does not exceed."""
    found: dict[str, float | None] = dict.fromkeys(QUANTILES)
    so_far = 0
    for bucket, number in sorted(buckets.items()):
        so_far += number
        for name, (share, fewest) in QUANTILES.items():
            if found[name] is None and so_far >= share * buckets.total() >= share * fewest:
                found[name] = bucket_ms(bucket)
    return found


def errors(engine: sa.Engine, span: Span) -> dict[str, Any]:
    """Return how many requests of form and API were refused (4xx) or failed (5xx), and each kind.

    Rows of files and streams are no requests. Failures belong to no model version. Those that the database itself
    caused are not in it: see the server's output.
    """
    kinds: Counter[tuple[str, int, str]] = Counter()
    steps: dict[dt.datetime, Counter[str]] = {step: Counter() for step in span.steps()}
    counts = count(engine, REQUESTS, (span.step, "source", "status", "what"), span.since, span.until)
    for (step, source, status, what), number in counts.items():
        if status != ANSWERED:
            kinds[source, status, what] += number
            steps[step]["failed" if status >= 500 else "refused"] += number
    requests, failed = counts.total(), sum(of["failed"] for of in steps.values())
    return {
        "requests": requests,
        "refused": kinds.total() - failed,
        "failed": failed,
        "share_failed": round(failed / requests, 4) if requests else None,
        "by_kind": [
            {"source": source, "status": status, "what": what, "count": number}
            for (source, status, what), number in kinds.most_common(20)
        ],
        "over_time": [
            {"at": step.isoformat(), "refused": of["refused"], "failed": of["failed"]} for step, of in steps.items()
        ],
    }


def consumers(engine: sa.Engine, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the consumers of streams that were seen within a day, by name, each with whether it has fallen silent."""
    seen_at = stream_consumers.c.seen_at
    query = sa.select(stream_consumers).where(seen_at >= now - FORGOTTEN_AFTER).order_by(stream_consumers.c.name)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [
        {**row, "seen_at": row["seen_at"].isoformat(), "silent": now - row["seen_at"] > SILENT_AFTER} for row in rows
    ]

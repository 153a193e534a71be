"""Latency, errors and traffic of a span of time, from the log's sums by the hour; and who reads streams just now."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from webapp.extras.monitor.rollups import ANSWERED, PREDICTIONS, REQUESTS, bucket_ms, count
from webapp.extras.monitor.span import Span
from webapp.log.tables import stream_consumers

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
FEWEST = {"p50": 1, "p95": 20, "p99": 100}  # predictions; with fewer it would be the slowest one alone
EDGES = [0.0, *(round(digit * 10.0**power, 2) for power in range(-2, 5) for digit in (1, 2, 5))]  # ms, of the histogram
SILENT_AFTER = dt.timedelta(seconds=30)  # a consumer of a stream reports every 5 s
FORGOTTEN_AFTER = dt.timedelta(days=1)

Predictions = Mapping[tuple[Any, ...], int]  # how many by step of the span, label, source and latency bucket


def predictions_of(engine: sa.Engine, span: Span) -> Predictions:
    """Count the predictions of a span, once for all figures: in a log of millions this is what takes time."""
    by = (span.step, "label", "source", "latency_bucket")
    return count(engine, PREDICTIONS, by, span.since, span.until, span.model_version)


def traffic(counts: Predictions, span: Span) -> dict[str, Any]:
    """Return how many predictions there were, by label and source, in all and for each step of the span."""
    steps: dict[dt.datetime, Counter[str]] = {step: Counter() for step in span.steps()}
    labels: Counter[str] = Counter()
    sources: Counter[str] = Counter()
    for (step, label, source, _), number in counts.items():
        labels[label] += number
        sources[source] += number
        steps[step].update({label: number, f"from {source}": number})
    total = labels.total()
    return {
        "predictions": total,
        "called_spam": labels["spam"],
        "called_ham": labels["ham"],
        "share_called_spam": round(labels["spam"] / total, 4) if total else None,
        "by_source": dict(sorted(sources.items())),
        "over_time": [
            {"at": step.isoformat(), "spam": of["spam"], "ham": of["ham"]}
            | {source: of[f"from {source}"] for source in sorted(sources)}
            for step, of in steps.items()
        ],
    }


def latency(counts: Predictions, span: Span) -> dict[str, Any]:
    """Return quantiles of the milliseconds that checking and scoring took: in all, by source, and for each step.

    Latencies are kept to two digits, so the figures are right to 5 %.
    """
    in_all: Counter[int] = Counter()
    by_source: dict[str, Counter[int]] = defaultdict(Counter)
    steps: dict[dt.datetime, Counter[int]] = {step: Counter() for step in span.steps()}
    for (step, _, source, bucket), number in counts.items():
        for buckets in (in_all, by_source[source], steps[step]):
            buckets[bucket] += number
    return {
        "unit": "ms",
        "n": in_all.total(),
        **quantiles(in_all),
        "by_source": {source: {"n": of.total(), **quantiles(of)} for source, of in sorted(by_source.items())},
        "histogram": histogram(in_all),
        "over_time": [{"at": step.isoformat(), **quantiles(of)} for step, of in steps.items()],
    }


def quantiles(buckets: Counter[int]) -> dict[str, float | None]:
    """Return p50, p95 and p99 in milliseconds: the smallest latency that so great a share does not exceed."""
    found: dict[str, float | None] = dict.fromkeys(QUANTILES)
    so_far = 0
    for bucket, number in sorted(buckets.items()):
        so_far += number
        for name, share in QUANTILES.items():
            if found[name] is None and so_far >= share * buckets.total() >= share * FEWEST[name]:
                found[name] = bucket_ms(bucket)
    return found


def histogram(buckets: Mapping[int, int]) -> list[dict[str, float]]:
    """Return how many latencies fell between 0.05, 0.1, 0.2, 0.5, 1, ... ms; empty ends are left out."""
    bars = [
        {"from": low, "to": high, "count": sum(n for b, n in buckets.items() if low <= bucket_ms(b) < high)}
        for low, high in zip(EDGES, EDGES[1:], strict=False)
    ]
    filled = [i for i, bar in enumerate(bars) if bar["count"]]
    return bars[filled[0] : filled[-1] + 1] if filled else []


def errors(engine: sa.Engine, span: Span) -> dict[str, Any]:
    """Return how many requests of form and API were refused (4xx) or failed (5xx), their share of all, and each kind.

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
    requests, failed = counts.total(), sum(number for (_, status, _), number in kinds.items() if status >= 500)
    refused = kinds.total() - failed
    return {
        "requests": requests,
        "refused": refused,
        "failed": failed,
        "share_refused": round(refused / requests, 4) if requests else None,
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

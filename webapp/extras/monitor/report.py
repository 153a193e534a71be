"""All figures of a span of time, each beside what it was before and at training, and what they add up to."""

import datetime as dt
from collections import Counter, defaultdict
from typing import Any

import sqlalchemy as sa

from webapp.errors import HamletError
from webapp.extras.monitor import service
from webapp.extras.monitor.change import drift_report
from webapp.extras.monitor.rollups import PREDICTIONS, count
from webapp.extras.monitor.span import Span, span
from webapp.extras.monitor.verdict import verdict
from webapp.extras.review.accuracy import Reviewed, Share, accuracy
from webapp.extras.review.samples import Sample, all_samples, counted_members, other_reviews
from webapp.extras.stream.consumers import consumers
from webapp.log.ids import first_id
from webapp.model.card import Card, read_card
from webapp.model.evaluation import Estimate, Metrics
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry


def report(engine: sa.Engine, registry: ModelRegistry, span: Span) -> dict[str, Any]:
    """Return what /monitor, /api/v1/monitoring and `flask monitor` show.

    Without a usable model the figures of the log are there all the same, and the verdict says what is wrong.
    """
    problem, card = "", None
    try:
        registry.current()
        card = read_card(registry.folder, span.model_version or registry.current_version())
    except HamletError as error:
        problem = str(error)
    now, before = service.predictions_of(engine, span), service.predictions_of(engine, span.before)
    figures = {
        "range": {"name": span.name, "since": span.since.isoformat(), "until": span.until.isoformat()},
        "model_version": span.model_version,
        "model_problem": problem,
        "accuracy": _accuracy(engine, span, card),
        "drift": drift_report(engine, registry, span),
        "latency": service.latency(now, span)
        | {"before": _only(service.latency(before, span.before), "n", *service.QUANTILES)},
        "errors": service.errors(engine, span)
        | {"before": _only(service.errors(engine, span.before), "requests", "refused", "failed", "share_failed")},
        "traffic": service.traffic(now, span)
        | {"before": _only(service.traffic(before, span.before), "predictions", "share_called_spam")},
        "stream": consumers(engine, dt.datetime.now(dt.UTC)),
    }
    return _in_words_of(registry.labels(), {"verdict": verdict(figures), **figures})


def _in_words_of(labels: Labels, figures: dict[str, Any]) -> dict[str, Any]:
    """Let the sentences say the served model's words for spam and ham; names of figures stay."""
    told, tests = figures["verdict"], figures["drift"]["tests"]
    told["sentence"] = labels.sentence(told["sentence"])
    for finding in told["findings"]:
        finding["what"] = labels.sentence(finding["what"])
    for test in tests:
        test["explanation"] = labels.sentence(test["explanation"])
    return figures


def live_accuracy(engine: sa.Engine, model_version: str) -> Share:
    """Return how often a version was right, of what it ever served: on the reviewed random samples alone."""
    return accuracy(_reviewed(engine, span(engine, "all", model_version)))["accuracy"]


def _only(figures: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: figures[name] for name in names}


def _accuracy(engine: sa.Engine, span: Span, card: Card | None) -> dict[str, Any]:
    before = accuracy(_reviewed(engine, span.before))
    at_training = card.held_out if card else Metrics()
    names = ("accuracy", "spam_caught", "ham_blocked", "precision")
    others: dict[str, list[bool]] = defaultdict(list)
    for row in other_reviews(engine, span.since, span.until, span.model_version):
        others[row.queue or "other"].append(row.label == row.true_label)
    return {
        **accuracy(_reviewed(engine, span)),
        "before": {name: before[name] for name in names},  # type: ignore[literal-required]
        "at_training": {
            "accuracy": _figure(at_training.accuracy),
            "spam_caught": _figure(at_training.recall),
            "ham_blocked": _figure(at_training.false_positive_rate),
            "precision": _figure(at_training.precision),
            "brier": _figure(at_training.brier),
            "expected_calibration_error": at_training.expected_calibration_error,
        },
        "other_queues": {
            queue: {"n": len(right), "value": round(sum(right) / len(right), 4), "biased": True}
            for queue, right in sorted(others.items())
        },
    }


def _figure(estimate: Estimate) -> dict[str, Any] | None:
    return None if estimate.value is None else estimate.model_dump()


def _reviewed(engine: sa.Engine, span: Span) -> list[Reviewed]:
    """Return the reviewed members of random samples, each with the number of predictions that it stands for.

    Where the periods of samples overlap, a message may have come into any of them. So its weight is 1 over the sum of
    the rates at which those samples took messages (the single-frame estimator: Bankier 1986, JASA 81; Kalton &
    Anderson 1986, JRSS A 149). With one sample all weights are equal.
    """
    rows = counted_members(engine, span.since, span.until, span.model_version)
    reviewed = Counter(row.sample_id for row in rows)
    rates = [
        (first_id(sample.since), first_id(sample.until), reviewed[sample.id] / _traffic(engine, span, sample))
        for sample in all_samples(engine)
        if reviewed[sample.id]
    ]
    return [
        Reviewed(
            is_spam=row.true_label == "spam",
            called_spam=row.label == "spam",
            spam_probability=row.spam_probability,
            weight=1 / sum(rate for first, end, rate in rates if first <= row.prediction_id < end),
            created_at=row.created_at,
        )
        for row in rows
    ]


def _traffic(engine: sa.Engine, span: Span, sample: Sample) -> int:
    """Return how many predictions of the span are from the time that a sample was drawn from, by whole hours."""
    since, until = max(sample.since, span.since), min(sample.until, span.until)
    first_hour = since.replace(minute=0, second=0, microsecond=0)
    return count(engine, PREDICTIONS, (), first_hour, until, span.model_version)[()]

"""All figures of a span of time, each beside what it was before and at training, and what they add up to."""

import datetime as dt
from typing import Any

import sqlalchemy as sa
from scipy.stats import fisher_exact

from webapp.errors import HamletError
from webapp.extras.monitor import service
from webapp.extras.monitor.change import drift_report
from webapp.extras.monitor.span import Span, span
from webapp.extras.monitor.verdict import verdict
from webapp.extras.review.accuracy import ReviewedPrediction, Share, accuracy
from webapp.extras.review.samples import other_reviews, reached_members
from webapp.model.card import Card, read_card
from webapp.model.evaluation import Estimate, Metrics, effective_n
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry

SURE = 0.025  # one-sided: how often a model that is as good as at training may be called worse
COMPARED = ("accuracy", "recall", "false_positive_rate", "precision")


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
        "stream": service.consumers(engine, dt.datetime.now(dt.UTC)),
    }
    return _in_words_of(registry.labels(), {"verdict": verdict(figures), **figures})


def _in_words_of(labels: Labels, figures: dict[str, Any]) -> dict[str, Any]:
    """Put the served model's word for what is looked for into the sentences; names of figures stay."""
    told, drift = figures["verdict"], figures["drift"]
    for rows, key in (
        ([told], "sentence"),
        (told["findings"], "what"),
        (drift["tests"], "explanation"),
        (drift["changes"], "sentence"),
    ):
        for row in rows:
            row[key] = row[key].replace("{positive}", labels.spam)
    return figures


def live_accuracy(engine: sa.Engine, model_version: str) -> Share:
    """Return how often a version was right, of what it ever served: on the reviewed random samples alone."""
    chosen = span(engine, "all", model_version)
    return accuracy(reached_members(engine, chosen.since, chosen.until, model_version))["accuracy"]


def _only(figures: Any, *names: str) -> dict[str, Any]:
    return {name: figures[name] for name in names}


def _accuracy(engine: sa.Engine, span: Span, card: Card | None) -> dict[str, Any]:
    members = reached_members(engine, span.since, span.until, span.model_version)
    of_current = [one for one in members if card and one.model_version == card.model_version]
    before = accuracy(reached_members(engine, span.before.since, span.before.until, span.model_version))
    at_training = card.held_out if card else Metrics()
    return {
        **accuracy(members),
        "of_current": accuracy(of_current)["accuracy"],
        "before": _only(before, *COMPARED),
        "at_training": {name: _figure(getattr(at_training, name)) for name in (*COMPARED, "brier")}
        | {"expected_calibration_error": at_training.expected_calibration_error},
        "worse_than_at_training": _is_worse_than_at_training(of_current, at_training),
        "other_queues": {
            queue: {"n": len(right), "value": round(sum(right) / len(right), 4), "biased": True}
            for queue, right in other_reviews(engine, span.since, span.until, span.model_version).items()
        },
    }


def _figure(estimate: Estimate) -> dict[str, Any] | None:
    return None if estimate.value is None else estimate.model_dump()


def _is_worse_than_at_training(members: list[ReviewedPrediction], at_training: Metrics) -> bool:
    then, known = at_training.accuracy, [one for one in members if one.true_label != "unsure"]
    if not known or then.value is None:
        return False
    weights = [one.weight for one in known]
    n = round(effective_n(weights))  # unequal weights count as fewer reviews
    right = sum(one.weight for one in known if one.is_right) / sum(weights)
    return is_worse(round(right * n), n, round(then.value * then.n), then.n)


def is_worse(right: int, n: int, right_then: int, n_then: int) -> bool:
    """Return whether `right` of n reviewed messages is less than it was of held-out ones at training.

    Both are uncertain, so it is Fisher's exact test of the two counts, one-sided at SURE: whatever the numbers, a model
    that is as good as then is called worse in at most 2.5 % of cases.
    """
    table = [[right, n - right], [right_then, n_then - right_then]]
    return bool(fisher_exact(table, alternative="less").pvalue < SURE)

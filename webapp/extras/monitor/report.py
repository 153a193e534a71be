"""All figures of a span of time, what they add up to in words, and the four cards of the page and the command."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa
from scipy.stats import fisher_exact

from webapp.errors import HamletError, counted
from webapp.extras.monitor.charts import figure
from webapp.extras.monitor.drift import DRIFTED, NOT_SEEN, drift_report
from webapp.extras.monitor.rollups import ANSWERED, Span, bucket_ms, count
from webapp.extras.review.accuracy import ReviewedPrediction, accuracy, share_right
from webapp.extras.review.samples import reached_members
from webapp.log.tables import hourly_predictions, hourly_requests, stream_consumers
from webapp.model.card import Card
from webapp.model.evaluation import Metrics, effective_n
from webapp.model.labels import UNSURE
from webapp.model.registry import ModelRegistry

SURE = 0.025  # one-sided: how often a model as good as at training may be called worse
COMPARED = ("accuracy", "recall", "false_positive_rate", "precision", "brier")  # with what they were at training
FEWEST_REVIEWS = 30  # below, the interval is too wide to say anything reassuring
SLOW_MS = 50.0  # p99; a person notices nothing below, and scoring takes well under one
FEWEST_TO_BE_SLOW = 500  # predictions: of fewer, p99 is the first ones after a start
FAILED_SHARE = 0.01
QUANTILES = {"p50": (0.5, 1), "p95": (0.95, 20), "p99": (0.99, 100)}  # share; of fewer it would be the slowest alone
SILENT_AFTER = dt.timedelta(seconds=30)  # a consumer of a stream reports every 5 s
FORGOTTEN_AFTER = dt.timedelta(days=1)

Report = Mapping[str, Any]


def report(engine: sa.Engine, registry: ModelRegistry, span: Span) -> dict[str, Any]:
    """Return what /monitor, /api/v1/monitoring and `flask monitor` show; without a model, what the log knows."""
    problem, model, card = "", None, None
    try:
        model = registry.current()
        card = registry.cards().get(span.model_version or model.version)
    except HamletError as error:
        problem = str(error)
    traffic, latency = traffic_and_latency(engine, span)
    figures = {
        "range": {"name": span.name, "since": span.since.isoformat(), "until": span.until.isoformat()},
        "model_version": span.model_version,
        "model_problem": problem,
        "accuracy": _accuracy(engine, registry, span, card),
        "drift": drift_report(engine, model, span),
        "latency": latency,
        "errors": errors(engine, span),
        "traffic": traffic,
        "stream": consumers(engine),
    }
    return {"verdict": verdict(figures), **figures}


def _accuracy(engine: sa.Engine, registry: ModelRegistry, span: Span, card: Card | None) -> dict[str, Any]:
    others = registry.with_other_labels(card.labels) if card else set()
    members = [
        member
        for member in reached_members(engine, span.since, span.until)
        if member.model_version not in others and span.model_version in (None, member.model_version)
    ]
    current = card.model_version if card else ""
    of_current = [member for member in members if member.model_version == current]
    at_training = card.held_out if card else Metrics()
    steps: defaultdict[dt.datetime, list[ReviewedPrediction]] = defaultdict(list)
    for member in members:
        steps[span.step_of(member.created_at)].append(member)
    messages = count(engine, hourly_predictions, ("model_version",), span) if members else Counter()
    now, then = share_right(of_current, messages[(current,)]), at_training.accuracy
    n = round(effective_n([member.weight for member in of_current if member.true_label != UNSURE]))
    return {
        **accuracy(members, sum(number for (version,), number in messages.items() if version not in others)),
        "over_time": [{"at": step.isoformat(), **share_right(steps[step]).model_dump()} for step in span.steps()],
        "of_current": now,
        "at_training": {name: getattr(at_training, name) for name in COMPARED},
        "worse_than_at_training": is_worse(round((now.value or 0) * n), n, round((then.value or 0) * then.n), then.n),
    }


def is_worse(right: int, n: int, right_then: int, n_then: int) -> bool:
    """Return whether `right` of n reviewed messages is less than `right_then` of n_then held-out ones at training.

    Both are uncertain, so it is Fisher's exact test of the two counts, one-sided at SURE.
    """
    table = [[right, n - right], [right_then, n_then - right_then]]
    return bool(fisher_exact(table, alternative="less").pvalue < SURE)


def traffic_and_latency(engine: sa.Engine, span: Span) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how many predictions there were, and their latencies in milliseconds, which are right to 5 %."""
    labels: Counter[Any] = Counter()  # of each label, and of each step and label
    buckets: defaultdict[Any, Counter[int]] = defaultdict(Counter)  # of all, of each source, of each step
    # Counted once for all figures: in a log of millions this is what takes time.
    counted = count(engine, hourly_predictions, ("step", "label", "source", "latency_bucket"), span)
    for (step, label, source, bucket), number in counted.items():
        labels[label] += number
        labels[step, label] += number
        for part in ("all", source, step):
            buckets[part][bucket] += number
    traffic = {
        "predictions": counted.total(),
        "called_spam": labels["spam"],
        "called_ham": labels["ham"],
        "over_time": _over_time(span, labels, ("spam", "ham")),
    }
    sources = sorted({source for _, _, source, _ in counted})
    latency = {
        "unit": "ms",
        "n": counted.total(),
        **quantiles(buckets["all"]),
        "by_source": {source: {"n": buckets[source].total(), **quantiles(buckets[source])} for source in sources},
        "over_time": [{"at": step.isoformat(), **quantiles(buckets[step])} for step in span.steps()],
    }
    return traffic, latency


def _over_time(span: Span, counted: Counter[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a point of each hour or day, with what was counted under (hour or day, name)."""
    return [{"at": step.isoformat(), **{name: counted[step, name] for name in names}} for step in span.steps()]


def quantiles(buckets: Counter[int]) -> dict[str, float | None]:
    """Return p50, p95 and p99 in milliseconds: half of the latencies are p50 or less."""
    values, weights = [bucket_ms(bucket) for bucket in buckets], list(buckets.values())

    def quantile(share: float) -> float:
        return float(np.quantile(values, share, weights=weights, method="inverted_cdf"))

    return {name: quantile(share) if sum(weights) >= n else None for name, (share, n) in QUANTILES.items()}


def errors(engine: sa.Engine, span: Span) -> dict[str, Any]:
    """Return how many requests of form and API were refused (4xx) or failed (5xx), and the most frequent kinds.

    They belong to no model version. Failures of the database itself are not in it: see the server's output.
    """
    kinds: Counter[tuple[str, int, str]] = Counter()
    outcomes: Counter[Any] = Counter()
    counts = count(engine, hourly_requests, ("step", "source", "status", "what"), span._replace(model_version=None))
    for (step, source, status, what), number in counts.items():
        if status != ANSWERED:
            outcome = "failed" if status >= 500 else "refused"
            kinds[source, status, what] += number
            outcomes[outcome] += number
            outcomes[step, outcome] += number
    requests = counts.total()
    return {
        "requests": requests,
        "refused": outcomes["refused"],
        "failed": outcomes["failed"],
        "share_failed": round(outcomes["failed"] / requests, 4) if requests else None,
        "by_kind": [
            {"source": source, "status": status, "what": what, "count": number}
            for (source, status, what), number in kinds.most_common(20)
        ],
        "over_time": _over_time(span, outcomes, ("refused", "failed")),
    }


def consumers(engine: sa.Engine) -> list[dict[str, Any]]:
    """Return the consumers of streams that were seen within a day, by name, each with whether it has fallen silent."""
    now, seen_at = dt.datetime.now(dt.UTC), stream_consumers.c.seen_at
    query = sa.select(stream_consumers).where(seen_at >= now - FORGOTTEN_AFTER).order_by(stream_consumers.c.name)
    with engine.connect() as connection:
        rows = connection.execute(query).mappings().all()
    return [
        {**row, "seen_at": row["seen_at"].isoformat(), "silent": now - row["seen_at"] > SILENT_AFTER} for row in rows
    ]


def verdict(report: Report) -> dict[str, Any]:
    """Return the state (healthy, attention or unknown), one sentence, and the findings, each with what to do."""
    found = [{"about": about, "what": what, "do": do} for about, what, do in _findings(report)]
    right, state = report["accuracy"]["of_current"], "unknown"  # not of other versions
    if found:
        state, sentence = "attention", "Needs attention: " + " ".join(finding["what"] for finding in found)
    elif not report["traffic"]["predictions"]:
        version = f" by {report['model_version']}" if report["model_version"] else ""
        sentence = f"Nothing to say yet: there was no prediction{version} in this range."
    elif right.n < FEWEST_REVIEWS:
        version = report["model_version"] or "the served version"
        sentence = f"Nothing alarming, but how accurate {version} is on this traffic is not known yet: "
        sentence += f"{right.n} of at least {FEWEST_REVIEWS} messages of a random sample are reviewed."
    else:
        state, sentence = "healthy", f"Healthy: {right} right on {right.n:,} reviewed messages, nothing alarming."
    return {"state": state, "sentence": sentence, "findings": found}


def _findings(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield what needs attention: of which figure, what it is, and what to do."""
    accuracy, drift, errors, latency = (report[name] for name in ("accuracy", "drift", "errors", "latency"))
    if report["model_problem"]:
        yield "model", "The model cannot be used.", report["model_problem"]
    if accuracy["worse_than_at_training"]:
        yield (
            "accuracy",
            f"The model is right less often than at training: {accuracy['of_current']} against "
            f"{figure(accuracy['at_training']['accuracy'].value, '%')}.",
            "Look on /review at what it gets wrong, and retrain with messages of that kind.",
        )
    if drift["state"] == DRIFTED:
        what = drift["changes"][0]["sentence"] if drift["changes"] else "Much differs a little"
        yield (
            "drift",
            f"The messages are not like those that were declared normal. {what}.",
            ("The monitor page shows which words became more frequent. " if drift["changed_terms"] else "")
            + "If the new kind of message is here to stay, review some of it: if the verdicts are right, declare this "
            "range normal, else retrain.",
        )
    if (errors["share_failed"] or 0) >= FAILED_SHARE:
        yield (
            "errors",
            f"{figure(errors['share_failed'], '%')} of the requests failed: {errors['failed']:,} of "
            f"{errors['requests']:,}.",
            "See the list of errors on /monitor, and the server's own output around these times.",
        )
    if latency["n"] >= FEWEST_TO_BE_SLOW and latency["p99"] >= SLOW_MS:
        yield (
            "latency",
            f"One prediction in a hundred takes {latency['p99']:,.0f} ms or more.",
            "Look for very long messages, or for other programs that use this machine's processors.",
        )


def cards(report: Report) -> dict[str, tuple[str, str]]:
    """Return the four cards: of each figure a big number, and what to know about it."""
    accuracy, drift, latency, errors = (report[name] for name in ("accuracy", "drift", "latency", "errors"))
    right, then = accuracy["accuracy"], accuracy["at_training"]["accuracy"]
    answer = {DRIFTED: "Drifted", NOT_SEEN: "None seen"}.get(drift["state"])
    reviews = "all reviews are unsure" if accuracy["unsure"] else "no random sample reviewed"
    if right.n:
        reviews = f"95 % interval {right.interval}, {counted(right.n, 'review')}"
    if then.n:
        reviews += f", {figure(then.value, '%')} at training"
    if accuracy["if_unsure"]:
        worst, best = (figure(bound, "%") for bound in accuracy["if_unsure"])
        reviews += f"; {worst} to {best} with the unsure ones"
    times = "half take that or less" if latency["n"] else "no predictions yet"
    for name in ("p95", "p99"):
        times += f", {name} {figure(latency[name], 'ms')}" if latency[name] is not None else ""
    compared = f"{drift['messages']:,} messages compared" if answer else drift["state"]
    return {
        "accuracy": (figure(right.value, "%") if right.n else "Not known", reviews),
        "drift": (answer or "Not known", compared),
        "latency": (figure(latency["p50"], "ms"), times),
        "errors": (
            f"{errors['failed']:,} failed",
            f"{errors['refused']:,} refused, of {counted(errors['requests'], 'request')}",
        ),
    }

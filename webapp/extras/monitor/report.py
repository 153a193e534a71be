"""All figures of a span of time, what they add up to in words, and the four cards of the page and the command."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from scipy.stats import fisher_exact

from webapp.errors import HamletError
from webapp.extras.monitor import service
from webapp.extras.monitor.change import drift_report
from webapp.extras.monitor.charts import figure
from webapp.extras.monitor.drift import DRIFTED, NOT_SEEN
from webapp.extras.monitor.rollups import PREDICTIONS, count
from webapp.extras.monitor.service import Span, span
from webapp.extras.review.accuracy import ReviewedPrediction, accuracy, share_right
from webapp.extras.review.samples import reached_members
from webapp.model.card import Card as ModelCard
from webapp.model.card import read_card
from webapp.model.evaluation import Metrics, Proportion, effective_n
from webapp.model.registry import ModelRegistry

SURE = 0.025  # one-sided: how often a model that is as good as at training may be called worse
COMPARED = ("accuracy", "recall", "false_positive_rate", "precision", "brier")  # with what they were at training
FEWEST_REVIEWS = 30  # below, the interval is too wide to say anything reassuring
SLOW_MS = 50.0  # p99; a person notices nothing below, and scoring takes well under one
FEWEST_TO_BE_SLOW = 500  # predictions: of fewer, p99 is the first ones after a start
FAILED_SHARE = 0.01

Report = Mapping[str, Any]


class Card(NamedTuple):
    """A big number, and what to know about it."""

    about: str
    help: str
    value: str
    detail: str


def report(engine: sa.Engine, registry: ModelRegistry, span: Span) -> dict[str, Any]:
    """Return what /monitor, /api/v1/monitoring and `flask monitor` show.

    Without a usable model the figures of the log are there all the same, and the verdict says what is wrong.
    """
    problem, model, card = "", None, None
    try:
        model = registry.current()
        card = read_card(registry.folder, span.model_version or registry.current_version())
    except HamletError as error:
        problem = str(error)
    traffic, latency = service.traffic_and_latency(engine, span)
    figures = {
        "range": {"name": span.name, "since": span.since.isoformat(), "until": span.until.isoformat()},
        "model_version": span.model_version,
        "model_problem": problem,
        "accuracy": _accuracy(engine, registry, span, card, traffic),
        "drift": drift_report(engine, model, span),
        "latency": latency,
        "errors": service.errors(engine, span),
        "traffic": traffic,
        "stream": service.consumers(engine, dt.datetime.now(dt.UTC)),
    }
    return {"verdict": verdict(figures), **figures}


def live_accuracy(engine: sa.Engine, model_version: str, messages: int) -> Proportion:
    """Return how often a version was right on all `messages` that it ever served, by the random samples of these."""
    chosen = span(engine, "all", model_version)
    return share_right(reached_members(engine, chosen.since, chosen.until, model_version), messages)


def _accuracy(
    engine: sa.Engine, registry: ModelRegistry, span: Span, card: ModelCard | None, traffic: Mapping[str, Any]
) -> dict[str, Any]:
    members = reached_members(engine, span.since, span.until, span.model_version)
    others = {version for version, other in registry.cards().items() if card and other.labels != card.labels}
    members = [one for one in members if one.model_version not in others]  # they answered another question
    current = card.model_version if card else ""
    of_current = [one for one in members if one.model_version == current]
    at_training = card.held_out if card else Metrics()
    steps: defaultdict[str, list[ReviewedPrediction]] = defaultdict(list)
    for member in members:
        steps[span.step_of(member.created_at).isoformat()].append(member)
    messages = {step["at"]: step["spam"] + step["ham"] for step in traffic["over_time"]}
    served = count(engine, PREDICTIONS, (), span.since, span.until, current)[()] if of_current else 0
    return {
        **accuracy(members, traffic["predictions"]),
        "over_time": [{"at": at, **share_right(steps[at], messages[at]).model_dump()} for at in sorted(steps)],
        "of_current": share_right(of_current, served),
        "at_training": {name: getattr(at_training, name) for name in COMPARED},
        "worse_than_at_training": _is_worse_than_at_training(of_current, at_training),
    }


def _is_worse_than_at_training(members: Sequence[ReviewedPrediction], at_training: Metrics) -> bool:
    now, then = share_right(members), at_training.accuracy
    if now.value is None or then.value is None:
        return False
    n = round(effective_n([one.weight for one in members if one.true_label != "unsure"]))  # unequal weights say less
    return is_worse(round(now.value * n), n, round(then.value * then.n), then.n)


def is_worse(right: int, n: int, right_then: int, n_then: int) -> bool:
    """Return whether `right` of n reviewed messages is less than it was of held-out ones at training.

    Both are uncertain, so it is Fisher's exact test of the two counts, one-sided at SURE: whatever the numbers, a model
    that is as good as then is called worse in at most 2.5 % of cases.
    """
    table = [[right, n - right], [right_then, n_then - right_then]]
    return bool(fisher_exact(table, alternative="less").pvalue < SURE)


def verdict(report: Report) -> dict[str, Any]:
    """Return the state (healthy, attention or unknown), one sentence, and the findings, each with what to do."""
    found = [{"about": about, "what": what, "do": do} for about, what, do in _findings(report)]
    state, sentence = "attention", "Needs attention: " + " ".join(finding["what"] for finding in found)
    if not found:
        state, sentence = _all_is_calm(report)
    return {"state": state, "sentence": sentence, "findings": found}


def _all_is_calm(report: Report) -> tuple[str, str]:
    if not report["traffic"]["predictions"]:
        return "unknown", "Nothing to say yet: there was no prediction in this range."
    reviewed, right, failed = report["accuracy"]["reviewed"], report["accuracy"]["accuracy"], report["errors"]["failed"]
    drift, half = report["drift"]["state"], figure(report["latency"]["p50"], "ms")
    rest = (
        f"{drift if drift == NOT_SEEN else 'drift not known yet'}, half of the messages take {half} or less, "
        f"{f'{failed:,}' if failed else 'no'} error{'' if failed == 1 else 's'}."
    )
    if reviewed < FEWEST_REVIEWS:
        return "unknown", (
            f"Nothing alarming, but how accurate the model is on this traffic nobody knows yet: {reviewed} of at least "
            f"{FEWEST_REVIEWS} messages of a random sample are reviewed. Otherwise: {rest}"
        )
    return "healthy", f"Healthy: {right:%} right on {reviewed:,} reviewed messages, {rest}"


def _findings(report: Report) -> Iterator[tuple[str, str, str]]:
    """Yield what needs attention: of which figure, what it is, and what to do."""
    accuracy, drift, errors, latency = (report[name] for name in ("accuracy", "drift", "errors", "latency"))
    if report["model_problem"]:
        yield "model", "The model cannot be used.", report["model_problem"]
    if accuracy["worse_than_at_training"]:
        yield (
            "accuracy",
            f"The model is right less often than at training: {accuracy['of_current']:%} against "
            f"{figure(accuracy['at_training']['accuracy'].value, '%')}.",
            "Look on /review at what it gets wrong, and train anew with messages of that kind.",
        )
    if drift["state"] == DRIFTED:
        what = drift["changes"][0]["sentence"] if drift["changes"] else "Much differs a little"
        yield (
            "drift",
            f"The messages are not like those that were declared normal. {what}.",
            ("See below which words became more frequent. " if drift["changed_terms"] else "")
            + "If the new kind of message is here to stay, review some of it and train anew; if it is right as it is, "
            "declare this range normal.",
        )
    if (errors["share_failed"] or 0) >= FAILED_SHARE:
        yield (
            "errors",
            f"{figure(errors['share_failed'], '%')} of the requests failed: {errors['failed']:,} of "
            f"{errors['requests']:,}.",
            "See the list of errors below, and the server's own output around these times.",
        )
    if latency["n"] >= FEWEST_TO_BE_SLOW and latency["p99"] >= SLOW_MS:
        yield (
            "latency",
            f"One prediction in a hundred takes {latency['p99']:,.0f} ms or more.",
            "Look for very long messages, or for other programs that use this machine's processors.",
        )


def cards(report: Report) -> list[Card]:
    """Return the four cards."""
    accuracy, drift, latency, errors = (report[name] for name in ("accuracy", "drift", "latency", "errors"))
    right, then = accuracy["accuracy"], accuracy["at_training"]["accuracy"]
    bounds = [figure(bound, "%") for bound in accuracy["if_unsure"] or ()]
    slowest = [f"{name} {figure(latency[name], 'ms')}" for name in ("p95", "p99") if latency[name] is not None]
    return [
        Card(
            "accuracy",
            "Of a random sample of the messages, reviewed by people: the share that the model called right.",
            figure(right.value, "%") if right.n else "Not known",
            (f"95 % interval {right.interval}, {right.n:,} reviews" if right.n else "no reviews yet")
            + (f", {figure(then.value, '%')} at training" if then.n else "")
            + ("; {} to {} whatever the unsure ones are".format(*bounds) if bounds else ""),
        ),
        Card(
            "drift",
            "Whether the messages are of another kind than those that were declared normal. "
            "A drifted model is not a wrong one, but its old figures may no longer hold.",
            {DRIFTED: "Drifted", NOT_SEEN: "None seen"}.get(drift["state"], "Not known"),
            f"{drift['messages']:,} messages compared" if drift["tests"] else drift["state"],
        ),
        Card(
            "latency",
            "How long it takes to check and score one message: half take no longer. p99: 99 of 100 take no longer.",
            figure(latency["p50"], "ms"),
            ", ".join(["half take that or less", *slowest]) if latency["n"] else "no predictions yet",
        ),
        Card(
            "errors",
            "Failed: Hamlet's own fault (status 500 and above). Refused: a request that could not be used.",
            f"{errors['failed']:,} failed",
            f"{errors['refused']:,} refused, of {errors['requests']:,} requests",
        ),
    ]

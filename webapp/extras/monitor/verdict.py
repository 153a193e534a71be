"""What the figures add up to, in words: is anything wrong, and what is to be done?"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

FEWEST_REVIEWS = 30  # below, the interval is too wide to say anything reassuring
FEWEST_TO_ALARM = 10  # below, one wrong verdict would be an alarm
SLOW_MS = 50.0  # p99; a person notices nothing below, and scoring takes well under one
FAILED_SHARE = 0.01
REFUSED_SHARE = 0.2

Report = Mapping[str, Any]


class Finding(NamedTuple):
    """Something that needs attention, and what to do about it."""

    about: str
    what: str
    do: str


def verdict(report: Report) -> dict[str, Any]:
    """Return the state (healthy, attention or unknown), one sentence, and the findings."""
    found = list(_findings(report))
    state = "attention" if found else "healthy" if _is_known(report) else "unknown"
    return {"state": state, "sentence": _sentence(state, found, report), "findings": [one._asdict() for one in found]}


def _findings(report: Report) -> Iterator[Finding]:
    if report["model_problem"]:
        yield Finding("model", "The model cannot be used.", report["model_problem"])
    right, at_training = report["accuracy"]["accuracy"], report["accuracy"]["at_training"]["accuracy"]
    enough = report["accuracy"]["reviewed"] >= FEWEST_TO_ALARM
    if enough and at_training and right["high"] < at_training["value"]:
        yield Finding(
            "accuracy",
            f"The model is right less often than at training: {_share(right['value'])} "
            f"({_interval(right)}) against {_share(at_training['value'])}.",
            "Look on /review at what it gets wrong, and train anew with messages of that kind.",
        )
    drifted = [test["name"] for test in report["drift"]["tests"] if test["state"] == "drifted"]
    if drifted:
        yield Finding(
            "drift",
            f"The messages are not like the reference: {', '.join(drifted).replace('_', ' ')}.",
            "See below which words became more frequent. If the new kind of message is here to stay, review some of it "
            "and train anew; if it is right as it is, declare this range normal.",
        )
    errors, slow = report["errors"], report["latency"]["p99"]
    if (errors["share_failed"] or 0) >= FAILED_SHARE:
        yield Finding(
            "errors",
            f"{_share(errors['share_failed'])} of the requests failed: {errors['failed']:,} of {errors['requests']:,}.",
            "See the list of errors below, and the server's own output around these times.",
        )
    if (errors["share_refused"] or 0) >= REFUSED_SHARE:
        yield Finding(
            "errors",
            f"{_share(errors['share_refused'])} of the requests were refused.",
            "Somebody's program sends what cannot be used: the list of errors below says through which door and why.",
        )
    if slow is not None and slow >= SLOW_MS:
        yield Finding(
            "latency",
            f"One prediction in a hundred takes {slow:,.0f} ms or more.",
            "Look for very long messages, or for other programs that use this machine's processors.",
        )


def _is_known(report: Report) -> bool:
    reviewed: int = report["accuracy"]["reviewed"]
    return reviewed >= FEWEST_REVIEWS


def _sentence(state: str, found: list[Finding], report: Report) -> str:
    if state == "attention":
        return "Needs attention: " + " ".join(finding.what for finding in found)
    predictions, right = report["traffic"]["predictions"], report["accuracy"]["accuracy"]
    if not predictions:
        return "Nothing to say yet: there was no prediction in this range."
    drift = report["drift"]["state"]
    rest = (
        f"{drift if drift == 'no drift seen' else 'drift not known yet'}, p99 {report['latency']['p99']:g} ms, "
        f"{'no errors' if not report['errors']['failed'] else str(report['errors']['failed']) + ' errors'}"
    )
    if state == "unknown":
        reviewed = report["accuracy"]["reviewed"]
        return (
            f"Nothing alarming, but how accurate the model is on this traffic nobody knows yet: "
            f"{reviewed} of at least {FEWEST_REVIEWS} messages of a random sample are reviewed. Otherwise: {rest}."
        )
    return (
        f"Healthy: {_share(right['value'])} right on {report['accuracy']['reviewed']:,} reviewed messages "
        f"({_interval(right)}), {rest}."
    )


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _interval(share: Mapping[str, float]) -> str:
    return f"{100 * share['low']:.1f} to {_share(share['high'])}"

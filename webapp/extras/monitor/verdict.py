"""What the figures add up to, in words: is anything wrong, and what is to be done?"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from webapp.extras.monitor.charts import figure, interval

FEWEST_REVIEWS = 30  # below, the interval is too wide to say anything reassuring
SLOW_MS = 50.0  # p99; a person notices nothing below, and scoring takes well under one
FEWEST_TO_BE_SLOW = 500  # predictions: of fewer, p99 is the first ones after a start
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
    is_known = report["accuracy"]["reviewed"] >= FEWEST_REVIEWS
    state = "attention" if found else "healthy" if is_known else "unknown"
    return {"state": state, "sentence": _sentence(state, found, report), "findings": [one._asdict() for one in found]}


def _findings(report: Report) -> Iterator[Finding]:
    if report["model_problem"]:
        yield Finding("model", "The model cannot be used.", report["model_problem"])
    accuracy = report["accuracy"]
    if accuracy["worse_than_at_training"]:
        now, then = accuracy["of_current"], accuracy["at_training"]["accuracy"]
        yield Finding(
            "accuracy",
            f"The model is right less often than at training: {figure(now['value'], '%')} ({interval(now)}) against "
            f"{figure(then['value'], '%')}.",
            "Look on /review at what it gets wrong, and train anew with messages of that kind.",
        )
    drift = report["drift"]
    if drift["state"] == "drifted":
        what = drift["changes"][0]["sentence"] if drift["changes"] else "The probabilities are other ones"
        yield Finding(
            "drift",
            f"The messages are not like those that were declared normal. {what}.",
            ("See below which words became more frequent. " if drift["changed_terms"] else "")
            + "If the new kind of message is here to stay, review some of it and train anew; if it is right as it is, "
            "declare this range normal.",
        )
    errors, slow = report["errors"], report["latency"]["p99"]
    if (errors["share_failed"] or 0) >= FAILED_SHARE:
        yield Finding(
            "errors",
            f"{figure(errors['share_failed'], '%')} of the requests failed: {errors['failed']:,} of "
            f"{errors['requests']:,}.",
            "See the list of errors below, and the server's own output around these times.",
        )
    if (errors["share_refused"] or 0) >= REFUSED_SHARE:
        yield Finding(
            "errors",
            f"{figure(errors['share_refused'], '%')} of the requests were refused.",
            "Somebody's program sends what cannot be used: the list of errors below says through what and why.",
        )
    if slow is not None and slow >= SLOW_MS and report["latency"]["n"] >= FEWEST_TO_BE_SLOW:
        yield Finding(
            "latency",
            f"One prediction in a hundred takes {slow:,.0f} ms or more.",
            "Look for very long messages, or for other programs that use this machine's processors.",
        )


def _sentence(state: str, found: list[Finding], report: Report) -> str:
    if state == "attention":
        return "Needs attention: " + " ".join(finding.what for finding in found)
    if not report["traffic"]["predictions"]:
        return "Nothing to say yet: there was no prediction in this range."
    drift, latency, failed = report["drift"]["state"], report["latency"], report["errors"]["failed"]
    name = "p99" if latency["p99"] is not None else "p50"
    rest = ", ".join(
        [
            drift if drift == "no drift seen" else "drift not known yet",
            f"{name} {latency[name]:g} ms",
            f"{failed:,} errors" if failed else "no errors",
        ]
    )
    reviewed, right = report["accuracy"]["reviewed"], report["accuracy"]["accuracy"]
    if state == "unknown":
        return (
            f"Nothing alarming, but how accurate the model is on this traffic nobody knows yet: "
            f"{reviewed} of at least {FEWEST_REVIEWS} messages of a random sample are reviewed. Otherwise: {rest}."
        )
    return (
        f"Healthy: {figure(right['value'], '%')} right on {reviewed:,} reviewed messages ({interval(right)}), {rest}."
    )

"""The monitor page: one sentence, four cards, and the charts behind them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extras.access.routes import signed_in_only
from webapp.extras.monitor.charts import Chart, Series, chart, figure, interval, sparkline, time_label
from webapp.extras.monitor.references import declare_reference
from webapp.extras.monitor.report import report
from webapp.extras.monitor.span import RANGES, Span, span
from webapp.inference import Inference
from webapp.web.words import labels, word

blueprint = Blueprint("monitor", __name__)
blueprint.before_request(signed_in_only)

Report = Mapping[str, Any]


class Card(NamedTuple):
    """A big number, what it is now and what it was."""

    name: str
    help: str
    value: str
    detail: str
    then: str
    sparkline: list[str]  # the pieces of its line, in units of a drawing of 120 by 24
    attention: bool


@blueprint.get("/monitor")
def page() -> str:
    """Show how accurate, how steady, how fast and how faultless the model was in a range of time."""
    inference: Inference = current_app.extensions["inference"]
    chosen = _chosen(request.args)
    figures = report(current_app.extensions["engine"], inference.registry, chosen)
    return render_template(
        "monitor/monitor.html",
        ranges=RANGES,
        span=chosen,
        versions=inference.registry.versions(),
        report=figures,
        cards=_cards(figures),
        charts=_charts(figures, chosen.by_hour),
    )


@blueprint.post("/monitor/reference")
def declare() -> ResponseReturnValue:
    """Declare the range normal: from now on drift is measured against it."""
    chosen = _chosen(request.form)
    messages = declare_reference(current_app.extensions["engine"], chosen.since, chosen.until)
    flash(f"Drift is measured against the {messages:,} messages of this range from now on.")
    return redirect(url_for(".page", range=chosen.name), 303)


def _chosen(values: Mapping[str, str]) -> Span:
    engine = current_app.extensions["engine"]
    return span(engine, values.get("range", "7d"), values.get("model_version") or None)


def _cards(report: Report) -> list[Card]:
    concerned = {finding["about"] for finding in report["verdict"]["findings"]}
    accuracy, drift, latency, errors, traffic = (
        report[name] for name in ("accuracy", "drift", "latency", "errors", "traffic")
    )
    right = accuracy["accuracy"]
    slowest = "p99" if latency["p99"] is not None else "p50"
    spam_share = f"called {word('spam')}"
    return [
        Card(
            "Accuracy",
            "Of a random sample of the messages, reviewed by people: the share that the model called right.",
            figure(right["value"], "%") if right["n"] else "Not known",
            f"{interval(right)} on {right['n']:,} reviews" if right["n"] else "no reviews yet",
            _then(
                ("in the range before", accuracy["before"]["accuracy"]["value"], "%"),
                ("at training", (accuracy["at_training"]["accuracy"] or {}).get("value"), "%"),
            ),
            sparkline([moment["value"] for moment in accuracy["over_time"]]),
            "accuracy" in concerned,
        ),
        Card(
            "Drift",
            "Whether the messages are of another kind than those that were declared normal. "
            "A drifted model is not a wrong one, but its old figures may no longer hold.",
            {"drifted": "Drifted", "no drift seen": "None seen"}.get(drift["state"], "Not known"),
            f"{drift['messages']:,} messages compared" if drift["reference"] else drift["state"],
            _then(
                (f"{spam_share} in the range before", traffic["before"]["share_called_spam"], "%"),
                (f"{spam_share} now", traffic["share_called_spam"], "%"),
            ),
            sparkline([_share(point["spam"], point["spam"] + point["ham"]) for point in traffic["over_time"]]),
            "drift" in concerned,
        ),
        Card(
            "Latency",
            "How long it takes to check and score one message. p99: 99 of 100 take no longer.",
            figure(latency[slowest], "ms"),
            ("p99; half take {} or less" if slowest == "p99" else "half take {} or less").format(
                figure(latency["p50"], "ms")
            )
            if latency["n"]
            else "no predictions yet",
            _then(("in the range before", latency["before"][slowest], "ms")),
            sparkline([point[slowest] for point in latency["over_time"]]),
            "latency" in concerned,
        ),
        Card(
            "Errors",
            "Failed: Hamlet's own fault (status 500 and above). Refused: a request that could not be used.",
            f"{errors['failed']:,}",
            f"failed, {errors['refused']:,} refused, of {errors['requests']:,} requests",
            _then(("failed in the range before", errors["before"]["failed"] if errors["before"]["requests"] else None)),
            sparkline([point["failed"] + point["refused"] for point in errors["over_time"]]),
            "errors" in concerned,
        ),
    ]


def _then(*known: tuple[Any, ...]) -> str:
    """Return the figures (what, value, unit) that there are, in one line."""
    return ", ".join(f"{figure(value, *unit)} {what}" for what, value, *unit in known if value is not None)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _charts(report: Report, by_hour: bool) -> dict[str, Chart]:
    accuracy, latency, errors, traffic = (report[name] for name in ("accuracy", "latency", "errors", "traffic"))

    def over_time(points: Sequence[Report]) -> list[dict[str, Any]]:
        return [{**point, "label": time_label(point["at"], by_hour)} for point in points]

    sources = [Series(name, name, f"shade{i % 5}") for i, name in enumerate(traffic["by_source"])]
    return {
        "accuracy": chart(
            "Accuracy over time",
            [
                {**point, "label": time_label(point["start"], accuracy["over_time_by"] == "hour")}
                for point in accuracy["over_time"]
            ],
            lines=[Series("value", "right", "accent")],
            band=("low", "high"),
            unit="%",
            highest=1,
            help="The share of reviewed messages that were called right; the band is its 95 % interval.",
        ),
        "reliability": chart(
            "Does the probability mean what it says?",
            [
                {
                    "label": f"{100 * one['lower']:.0f} to {100 * one['upper']:.0f} %",
                    "said": one["mean_probability"],
                    **one["spam"],
                }
                for one in accuracy["reliability"]
            ]
            if accuracy["reviewed"]
            else [],
            along=f"{labels().spam} probability",
            lines=[Series("said", "said", "muted"), Series("value", "is", "accent")],
            band=("low", "high"),
            unit="%",
            highest=1,
            help=f"Of the reviewed messages that got a {labels().spam} probability of 80 % or so, as many should be "
            f"{labels().spam}: the nearer the lines, the better.",
        ),
        "traffic": chart(
            "Predictions by label",
            over_time(traffic["over_time"]),
            bars=[Series(label, word(label), label) for label in ("ham", "spam")],
            help=f"How many messages were called {labels().ham} and {labels().spam}.",
        ),
        "sources": chart(
            "Predictions by source",
            over_time(traffic["over_time"]),
            bars=sources,
            help="How they came: through the form, the API, a file, a stream or a command.",
        ),
        "latency": chart(
            "Latency over time",
            over_time(latency["over_time"]),
            lines=[Series(name, name, "accent" if name == "p99" else "muted") for name in ("p50", "p95", "p99")],
            unit="ms",
            help="The time to check and score one message: half take p50 or less, 95 of 100 p95, 99 of 100 p99.",
        ),
        "latencies": chart(
            "How many predictions took how long",
            [{**bar, "label": f"{bar['from']:g} to {bar['to']:g} ms"} for bar in latency["histogram"]],
            along="latency",
            bars=[Series("count", "predictions", "accent")],
            help="Each bar is a range of latencies.",
        ),
        "errors": chart(
            "Errors over time",
            over_time(errors["over_time"]),
            bars=[Series("refused", "refused", "muted"), Series("failed", "failed", "warn")],
            help="Refused: a request that could not be used. Failed: Hamlet's own fault.",
        ),
    }

"""The monitor page: one sentence, four cards, and the charts behind them."""

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.extras.access.routes import signed_in_only
from webapp.extras.monitor.charts import Series, chart, figure, time_label
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.monitor.report import Report, cards, report
from webapp.extras.monitor.rollups import RANGES, Span, span
from webapp.inference import Inference
from webapp.web.words import labels, word

blueprint = Blueprint("monitor", __name__)
blueprint.before_request(signed_in_only)
blueprint.add_app_template_filter(figure)


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
        cards=cards(figures),
        concerned={finding["about"] for finding in figures["verdict"]["findings"]},
        charts=_charts(figures, chosen.step),
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


def _charts(report: Report, step: str) -> dict[str, Any]:
    accuracy = report["accuracy"]

    def over_time(about: str, title: str, **options: Any) -> dict[str, Any]:
        points = [{**point, "label": time_label(point["at"], step)} for point in report[about]["over_time"]]
        return chart(title, points, **options)

    reliability = [
        {"label": f"{100 * one['lower']:.0f} to {100 * one['upper']:.0f} %", "said": one["mean_probability"]}
        | one["spam"].model_dump()
        for one in accuracy["reliability"]
    ]
    return {
        "accuracy": over_time(
            "accuracy",
            "Accuracy over time",
            lines=[Series("value", "right", "accent")],
            band=("low", "high"),
            unit="%",
            lowest=0.5 if all(one["low"] > 0.5 for one in accuracy["over_time"] if one["n"]) else 0,
            highest=1,
            help="The share of reviewed messages that were called right; the band is its 95 % interval.",
        ),
        "reliability": chart(
            "Does the probability mean what it says?",
            reliability,
            along=f"{labels().spam} probability",
            lines=[Series("said", "said", "muted"), Series("value", "is", "accent")],
            band=("low", "high"),
            unit="%",
            highest=1,
            help=f"Of the reviewed messages that got a {labels().spam} probability of 80 % or so, as many should be "
            f"{labels().spam}: the nearer the lines, the better.",
        ),
        "traffic": over_time(
            "traffic",
            "Predictions by label",
            bars=[Series(label, word(label), label) for label in ("ham", "spam")],
            help=f"How many messages were called {labels().ham} and {labels().spam}.",
        ),
        "latency": over_time(
            "latency",
            "Latency over time",
            lines=[Series("p50", "p50", "muted"), Series("p99", "p99", "accent")],
            unit="ms",
            help="The time to check and score one message: half take p50 or less, 99 of 100 p99.",
        ),
        "errors": over_time(
            "errors",
            "Errors over time",
            bars=[Series("refused", "refused", "muted"), Series("failed", "failed", "warn")],
            help="Refused: a request that could not be used. Failed: Hamlet's own fault.",
        ),
    }

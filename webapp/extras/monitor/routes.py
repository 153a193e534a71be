"""The monitor page: one sentence, four cards, and the charts behind them."""

from collections.abc import Mapping
from functools import partial

from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.cli.command import current_inference, metric_names
from webapp.extras.access.routes import login_required
from webapp.extras.monitor.charts import chart, figure
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.monitor.report import cards, report
from webapp.extras.monitor.rollups import RANGES, Span, span

blueprint = Blueprint("monitor", __name__)
blueprint.before_request(login_required)
blueprint.add_app_template_filter(figure)


@blueprint.get("/monitor")
def page() -> str:
    """Show how accurate, how steady, how fast and how faultless the model was in a range of time."""
    registry, chosen = current_inference().registry, _chosen(request.args)
    figures = report(current_app.extensions["engine"], registry, chosen)
    return render_template(
        "monitor/monitor.html",
        ranges=RANGES,
        span=chosen,
        versions=sorted(filter(None, {*registry.versions(), chosen.model_version})),  # it may be pruned
        report=figures,
        cards=cards(figures),
        names=metric_names(registry.labels()),
        chart=partial(chart, step=chosen.step),
        reliability=[
            {"label": f"{100 * bin['lower']:.0f} to {100 * bin['upper']:.0f} %", "said": bin["mean_probability"]}
            | bin["spam"].model_dump()
            for bin in figures["accuracy"]["reliability"]
        ],
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
    return span(engine, values.get("range", "7d"), values.get("model_version"))

"""flask monitor: the figures of the monitor page, for people and for cron."""

import json
from collections.abc import Mapping
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear, current_inference
from webapp.cli.report import metric_names
from webapp.extras.monitor.charts import figure, interval
from webapp.extras.monitor.service import QUANTILES
from webapp.extras.monitor.span import RANGES, span
from webapp.model.labels import Labels


@click.command(cls=Clear)
@click.option("--range", "name", type=click.Choice(list(RANGES)), default="7d", show_default=True)
@click.option("--model-version", help="Only the predictions of this version.")
@click.option("--format", "file_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--declare-normal", is_flag=True, help="From now on measure drift against the messages of this range.")
@with_appcontext
def monitor(name: str, model_version: str | None, file_format: str, declare_normal: bool) -> None:
    """Print how accurate, steady, fast and faultless the model was; exit with 1 when something needs attention."""
    from webapp.extras.monitor.references import declare_reference
    from webapp.extras.monitor.report import report

    engine = current_app.extensions["engine"]
    chosen = span(engine, name, model_version)
    if declare_normal:
        messages = declare_reference(engine, chosen.since, chosen.until)
        click.echo(f"Drift is measured against the {messages:,} messages of this range from now on.", err=True)
    figures = report(engine, current_inference().registry, chosen)
    if file_format == "json":
        click.echo(json.dumps(figures, indent=2, ensure_ascii=False))
    else:
        click.echo(_text(figures, current_inference().registry.labels()))
    if figures["verdict"]["state"] == "attention":
        click.get_current_context().exit(1)


def _text(figures: Mapping[str, Any], labels: Labels) -> str:
    accuracy, drift, latency, errors, traffic = (
        figures[name] for name in ("accuracy", "drift", "latency", "errors", "traffic")
    )
    lines = [figures["verdict"]["sentence"], *(f"To do: {one['do']}" for one in figures["verdict"]["findings"]), ""]
    words = metric_names(labels)
    for name in ("accuracy", "recall", "false_positive_rate", "precision"):
        share, known = accuracy[name], "not known: nobody has reviewed a random sample of this range"
        if share["value"] is not None:
            known = f"{figure(share['value'], '%')}   95 % interval {interval(share)}"
        lines.append(f"{words[name]:18} {known}")
    lines.append(f"{'reviewed':18} {accuracy['reviewed']:,} of a random sample, {accuracy['unsure']:,} unsure")
    lines += [f"{'drift':18} {what}" for what in (drift["state"], *(one["sentence"] for one in drift["changes"]))]
    milliseconds = ", ".join(f"{name} {figure(latency[name], 'ms')}" for name in QUANTILES)
    lines.append(f"{'latency':18} {milliseconds}")
    lines.append(f"{'errors':18} {errors['failed']:,} failed, {errors['refused']:,} refused")
    lines.append(
        f"{'traffic':18} {traffic['predictions']:,} predictions, {traffic['called_spam']:,} called {labels.spam}"
    )
    return "\n".join(lines)


@click.command("recount", cls=Clear)
@with_appcontext
def recount_log() -> None:
    """Make the sums by the hour, which /monitor shows, anew from the log."""
    from webapp.extras.monitor.rollups import count_predictions, recount

    engine = current_app.extensions["engine"]
    recount(engine)
    click.echo(f"{count_predictions(engine):,} predictions counted.")

"""flask monitor: the figures of the monitor page, for people and for cron; flask log recount."""

import click
from flask import current_app
from flask.cli import with_appcontext
from pydantic_core import to_json

from webapp.cli.command import FriendlyCommand, current_inference, metric_names
from webapp.errors import counted
from webapp.extras.monitor.rollups import RANGES, span


@click.command(cls=FriendlyCommand)
@click.option("--range", "name", type=click.Choice(list(RANGES)), default="7d", show_default=True)
@click.option("--model-version", help="Only the predictions of this version.")
@click.option("--format", "file_format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--declare-normal", is_flag=True, help="From now on measure drift against the messages of this range.")
@with_appcontext
def monitor(name: str, model_version: str | None, file_format: str, declare_normal: bool) -> None:
    """Print how accurate, steady, fast and faultless the model was; exit with 1 when something needs attention."""
    from webapp.extras.monitor.drift import declare_reference
    from webapp.extras.monitor.report import cards, report

    engine, registry = current_app.extensions["engine"], current_inference().registry
    chosen = span(engine, name, model_version)
    if declare_normal:
        messages = declare_reference(engine, chosen.since, chosen.until)
        click.echo(f"Drift is measured against the {messages:,} messages of this range from now on.", err=True)
    figures = report(engine, registry, chosen)
    if file_format == "json":
        click.echo(to_json(figures, indent=2).decode())
    else:
        labels, traffic = registry.labels(), figures["traffic"]
        verdict, words = figures["verdict"], metric_names(labels)
        lines = {about: f"{value}, {detail}" for about, (value, detail) in cards(figures).items()}
        metrics = ("recall", "false_positive_rate", "precision")
        lines |= {words[metric]: f"{figures['accuracy'][metric]}" for metric in metrics}
        of_traffic = counted(traffic["predictions"], "prediction")
        lines["traffic"] = f"{of_traffic}, {traffic['called_spam']:,} called {labels.spam}"
        click.echo("\n".join([verdict["sentence"], *(f"To do: {each['do']}" for each in verdict["findings"]), ""]))
        wide = max(18, *map(len, lines))
        click.echo("\n".join(f"{about:{wide}} {line}" for about, line in lines.items()))
    if figures["verdict"]["state"] == "attention":
        click.get_current_context().exit(1)


@click.command("recount", cls=FriendlyCommand)
@with_appcontext
def recount_log() -> None:
    """Make the sums by the hour, which /monitor shows, again from the log."""
    from webapp.extras.monitor.rollups import count_predictions, recount

    engine = current_app.extensions["engine"]
    recount(engine)
    click.echo(f"{counted(count_predictions(engine), 'prediction')} counted.")

"""flask retrain, and the same as a job: a new version from what people corrected."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear, current_inference
from webapp.cli.models import who
from webapp.cli.report import print_report
from webapp.cli.train import check_folder

if TYPE_CHECKING:
    from webapp.extras.batch.runner import Job, Report
    from webapp.extras.lifecycle.retraining import Retrained


@click.command(cls=Clear)
@click.option(
    "--data",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the files are that the served version was trained on. Without them it is corrected, not fitted anew.",
)
@click.option("--anyway", is_flag=True, help="Save the new version even if it is worse.")
@click.option("--use", "use_now", is_flag=True, help="Serve the new version at once.")
@with_appcontext
def retrain(folder: Path | None, anyway: bool, use_now: bool) -> None:
    """Train a new version on what the served one was trained on and on the messages that people reviewed since."""
    from webapp.extras.lifecycle import retraining

    engine, registry = current_app.extensions["engine"], current_inference().registry
    check_folder(registry.folder)
    with click.progressbar(length=100, label="Retraining", item_show_func=lambda step: step or "") as bar:

        def progress(share: float | None, step: str) -> None:
            bar.update(0 if share is None else int(100 * share) - bar.pos, step)

        result = retraining.retrain(engine, registry, folder, anyway, progress)
        bar.update(100 - bar.pos, "Done")
    _tell(result)
    if use_now:
        registry.use(result.version, who(), "retrained")
        click.echo("It is served now.")
    else:
        click.echo(f"To try it in the shadow of the served one: flask --app wsgi models challenge {result.version}")


def retrain_job(job: "Job", _folder: Path, report: "Report") -> dict[str, Any]:
    """Do the same for a job, whose output is a log for people; a job that is run again begins again."""
    from webapp.extras.lifecycle import retraining

    def progress(share: float | None, step: str) -> None:
        click.echo(f"{step} ...")
        report(share, step)

    engine, registry = current_app.extensions["engine"], current_inference().registry
    check_folder(registry.folder)
    try:
        result = retraining.retrain(engine, registry, None, job.arguments["anyway"], progress)
    except Exception as error:
        click.echo(f"Not done: {error}")
        raise
    _tell(result)
    compared = result.comparison
    return {
        "version": result.version,
        "how": result.how,
        "new_reviews": result.new_reviews,
        "held_out": result.held_out,
        "random_sample": result.random_sample,
        "worse": result.worse,
        "messages": compared.messages,
        "only_current_right": compared.only_first_right,
        "only_new_right": compared.only_second_right,
        "p_value": compared.p_value,
    }


def _tell(result: "Retrained") -> None:
    if result.how == "anew":
        click.echo("Fitted anew: all files of the served version's card are at hand.")
    else:
        click.echo(f"Corrected the weights of the served version, as not all its files are at hand: {result.missing}.")
    click.echo(f"{result.new_reviews:,} reviews are new.")
    if result.without_text:
        click.echo(f"{result.without_text:,} reviewed messages could not be used: the log kept no text of them.")
    for name, figures in (
        ("held out (fitted without them, measured on them)", result.held_out),
        ("reviewed random sample that it was not fitted on", result.random_sample),
    ):
        if figures["messages"]:
            print_report(name, figures, current_inference().registry.labels())
        else:
            click.echo(f"\n{name}: no message, so nothing can be said")
    click.echo(f"\n{_compared(result)}\n\nSaved {result.version}")


def _compared(result: "Retrained") -> str:
    compared = result.comparison
    if not compared.messages:
        return "No reviewed message is left that neither version has learnt, so nothing says which is better."
    words = (
        f"Of {compared.messages:,} reviewed messages that neither version has learnt, {compared.only_first_right} are "
        f"right with the served version only, {compared.only_second_right} with the new one only "
        f"(exact McNemar test: p = {compared.p_value:.2g})."
    )
    if not compared.better:
        words += " That may be chance: which is better cannot be told yet."
    return words

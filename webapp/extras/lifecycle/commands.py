"""flask retrain, and flask models rollback, challenge, history, prune, compare: from one version to the next."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear, ClearGroup, check_folder, current_inference
from webapp.cli.models import WHY, who
from webapp.cli.train import data_options, say_kept
from webapp.config import FLASK
from webapp.errors import BadData
from webapp.extras.batch.runner import Job, Report
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.challenger import shadow_report
from webapp.extras.lifecycle.comparison import Learnt, compare, sampled_examples
from webapp.model import artifact

commands = ClearGroup()  # they join the core's group `models`


@click.command(cls=Clear)
@with_appcontext
def retrain() -> None:
    """Correct the served version by what people said of messages since, and save that as a new version.

    To fit everything anew instead: flask train FILES --with-reviews
    """
    result = _retrain()
    click.echo(f"{result.told}\n\nSaved {result.version}")
    click.echo(f"To try it in the shadow of the served one: {FLASK} models challenge {result.version}")


def retrain_job(_job: Job, _folder: Path, _report: Report) -> dict[str, Any]:
    """Do the same for a job; one that is run again begins again."""
    return _retrain()._asdict()


def _retrain() -> retraining.Retrained:
    registry = current_inference().registry
    check_folder(registry.folder)
    return retraining.retrain(current_app.extensions["engine"], registry)


@commands.command("rollback")
@WHY
def roll_back(why: str) -> None:
    """Serve the version again that was served before this one; again, the one before that."""
    version = switching.rollback(current_app.extensions["engine"], current_inference().registry, who(), why)
    click.echo(f"{version} is served again.")


@commands.command("challenge")
@click.argument("version", required=False)
@click.option("--stop", is_flag=True, help="Try no version any longer.")
@WHY
def challenge(version: str | None, stop: bool, why: str) -> None:
    """Try VERSION in the shadow of the served one: it scores every message too, and its word is stored, never shown.

    Without VERSION, say how the one that is being tried has done so far.
    """
    engine, registry = current_app.extensions["engine"], current_inference().registry
    if version and stop:
        raise BadData("Name a version, or say --stop, not both.")
    if version or stop:
        switching.challenge(engine, registry, version, who(), why)
        click.echo(f"{version} is tried from now on." if version else "No version is tried any longer.")
    elif tried := registry.named("challenger"):
        served = registry.current_version()
        found = shadow_report(engine, registry, tried, served)
        click.echo(f"{tried} is tried beside {served}.\n{found.sentence}")
        if found.differing and not found.duel.better:
            click.echo('To review what they differ on, open /review and choose "Challenger differs".')
    else:
        click.echo(f"No version is being tried. Try one: {FLASK} models challenge VERSION")


@commands.command("history")
def show_history() -> None:
    """List all switches, newest first: when (UTC), who, what, and why."""
    for one in switching.history(current_app.extensions["engine"]):
        change = f"{one.from_version or 'none'} -> {one.to_version or 'none'}"
        click.echo(f"{one.created_at:%Y-%m-%d %H:%M:%S}  {one.who}  {one.kind}  {change}  {one.why}".rstrip())


@commands.command("prune")
@click.option("--keep", type=click.IntRange(0), required=True, metavar="N", help="How many of the newest stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_models(keep: int, yes: bool) -> None:
    """Delete old versions, but never the served one, the challenger, or the one that rollback goes to."""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    versions = switching.prunable_versions(engine, registry, keep)
    click.echo("\n".join(["To be deleted:", *versions] if versions else ["No version is to be deleted."]))
    if versions and (yes or click.confirm("Delete them for good?", abort=True)):
        try:
            click.echo(f"{len(switching.prune(engine, registry, versions))} deleted.")
        except OSError as error:
            raise BadData(f"{registry.folder}: not everything could be deleted ({error})") from error


@commands.command("compare")
@click.argument("first")
@click.argument("second")
@click.option(
    "--data",
    "files",
    multiple=True,
    metavar="FILE",
    help="Labelled messages; may be repeated. By default the reviewed random samples. What one has learnt is left out.",
)
@data_options
def compare_models(read: Callable[..., list[Any]], first: str, second: str, files: tuple[str, ...]) -> None:
    """Compare two versions, FIRST and SECOND, on the same labelled messages: is one of them better, and where?"""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    for version in (first, second):
        registry.must_exist(version)
    models = [artifact.load(registry.folder, version) for version in (first, second)]
    labels = registry.labels()
    if files:
        datasets = read(files, labels)
        kept, learnt = say_kept(datasets, datasets[0].labels), Learnt(engine, registry, (first, second))
        examples = [one for one in kept if one.text not in learnt]
        if left_out := len(kept) - len(examples):
            click.echo(f"One of the two has learnt {left_out:,} of these messages: they are left out.", err=True)
    else:
        click.echo("On the reviewed messages of random samples that neither has learnt:")
        examples = sampled_examples(engine, registry, (first, second))
    if not examples:
        raise BadData(
            "No message is left that neither has learnt. Review a random sample on /review, or give other labelled "
            "messages: --data FILE"
        )
    found = compare(models[0], models[1], examples)
    click.echo(f"{first} was right on {found.first_accuracy} of {found.messages:,} messages")
    click.echo(f"{second} was right on {found.second_accuracy}")
    click.echo(f"both {found.both_right:,}, neither {found.neither_right:,}", nl=False)
    click.echo(f", only {first} {found.duel.only_first:,}, only {second} {found.duel.only_second:,}")
    click.echo(found.duel.sentence(first, second))
    if found.differing:
        click.echo("\nWhere they differ: truth, both probabilities, message")
    for item in found.differing:
        truth = labels.word("spam" if item.is_spam else "ham")
        probabilities = f"{item.first_probability:.3f} {item.second_probability:.3f}"
        click.echo(f"  {truth:5} {probabilities}  {' '.join(item.text.split())[:100]}")

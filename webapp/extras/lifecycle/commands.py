"""flask retrain, and flask models rollback, challenge, history, prune, compare: from one version to the next."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import Clear, ClearGroup, check_folder, current_inference
from webapp.cli.models import WHY, who
from webapp.cli.train import data_options, read_files, say_kept
from webapp.config import FLASK
from webapp.errors import BadData
from webapp.extras.lifecycle import switching
from webapp.model import artifact
from webapp.model.labels import read_labels
from webapp.model.registry import ModelRegistry

if TYPE_CHECKING:
    from webapp.extras.batch.runner import Job, Report
    from webapp.extras.lifecycle.retraining import Retrained

commands = ClearGroup()  # they join the core's group `models`


@click.command(cls=Clear)
@click.option("--anyway", "force", is_flag=True, help="Save the new version even if it is worse.")
@click.option("--use", "use_now", is_flag=True, help="Serve the new version at once.")
@with_appcontext
def retrain(force: bool, use_now: bool) -> None:
    """Correct the served version by what people said of messages since, and save that as a new version.

    To fit everything anew instead: flask train FILES --with-reviews
    """
    with click.progressbar(length=100, label="Retraining", item_show_func=lambda step: step or "") as bar:
        result = _retrain(force, lambda share, step: bar.update(int(100 * (share or 0)) - bar.pos, step))
        bar.update(100 - bar.pos, "Done")
    _print_result(result)
    if use_now:
        current_inference().registry.use(result.version, who(), "retrained")
        click.echo("It is served now.")
    else:
        click.echo(f"To try it in the shadow of the served one: {FLASK} models challenge {result.version}")


def retrain_job(job: "Job", _folder: Path, report: "Report") -> dict[str, Any]:
    """Do the same for a job, whose output is a log for people; a job that is run again begins again."""
    from webapp.extras.lifecycle.retraining import told

    def progress(share: float | None, step: str) -> None:
        click.echo(f"{step} ...")
        report(share, step)

    try:
        result = _retrain(job.arguments["anyway"], progress)
    except Exception as error:
        click.echo(f"Not done: {error}")
        raise
    _print_result(result)
    return {
        "version": result.version,
        "told": told(result),
        "accuracy": result.comparison.second_accuracy.model_dump(),
        "better": result.comparison.duel.better,
        "unconfirmed": result.unconfirmed,
    }


def _retrain(force: bool, progress: "Callable[[float | None, str], None]") -> "Retrained":
    from webapp.extras.lifecycle import retraining

    engine, registry = current_app.extensions["engine"], current_inference().registry
    check_folder(registry.folder)
    return retraining.retrain(engine, registry, force, progress)


def _print_result(result: "Retrained") -> None:
    from webapp.extras.lifecycle.retraining import told

    if result.without_text:
        click.echo(f"{result.without_text:,} reviewed messages could not be used: the log kept no text of them.")
    if result.unconfirmed:
        click.echo(
            f"{result.unconfirmed:,} reviews contradict a verdict that was at least 99 % sure and have not taught it: "
            "look at these once more on the page Models."
        )
    click.echo(told(result))
    if result.comparison.messages:
        click.echo(f"The new one is right on {result.comparison.second_accuracy} of what was kept apart.")
    click.echo(f"\nSaved {result.version}")


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
        _print_shadow_report(tried)
    else:
        click.echo(f"No version is being tried. Try one: {FLASK} models challenge VERSION")


def _print_shadow_report(version: str) -> None:
    from webapp.extras.lifecycle.trial import shadow_report

    found = shadow_report(current_app.extensions["engine"], current_inference().registry, version)
    click.echo(f"{version} is tried beside {found.current or 'the served version'}.")
    click.echo(found.sentence)
    if found.sampled:
        click.echo(f"On {found.sampled:,} reviewed messages of random samples, whether they differ or not,")
        click.echo(f"  the served version was right on {found.current_accuracy}")
        click.echo(f"  the challenger was right on     {found.challenger_accuracy}")
    if found.differing and not found.duel.better:
        click.echo('To review what they differ on, open /review and choose "Challenger differs".')


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
    registry, engine = current_inference().registry, current_app.extensions["engine"]
    versions = switching.prunable_versions(engine, registry, keep)
    if not versions:
        click.echo("No version is to be deleted.")
        return
    click.echo("\n".join(["To be deleted:", *versions]))
    if not yes:
        click.confirm("Delete them for good?", abort=True)
    try:
        click.echo(f"{len(switching.prune(engine, registry, versions))} deleted.")
    except OSError as error:
        raise BadData(f"{registry.folder} cannot be written to ({error.strerror})") from error


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
def compare_models(first: str, second: str, files: tuple[str, ...], **how: str | None) -> None:
    """Compare two versions, FIRST and SECOND, on the same labelled messages: is one of them better, and where?"""
    from webapp.extras.lifecycle.comparison import changed_terms, compare

    registry = current_inference().registry
    for version in (first, second):
        registry.must_exist(version)
    one, other = (artifact.load(registry.folder, version) for version in (first, second))
    found = compare(one, other, _labelled(registry, (first, second), files, **how))
    click.echo(f"{first} was right on {found.first_accuracy} of {found.messages:,} messages")
    click.echo(f"{second} was right on {found.second_accuracy}")
    click.echo(f"both {found.both_right:,}, neither {found.neither_right:,}", nl=False)
    click.echo(f", only {first} {found.duel.only_first:,}, only {second} {found.duel.only_second:,}")
    click.echo(found.duel.sentence(first, second))
    if found.differing:
        labels = registry.labels()
        click.echo("\nWhere they differ: truth, both probabilities, message")
        for item in found.differing:
            probabilities = f"{item.first_probability:.3f} {item.second_probability:.3f}"
            truth = labels.word("spam" if item.is_spam else "ham")
            click.echo(f"  {truth:5} {probabilities}  {' '.join(item.text.split())[:100]}")
    if terms := changed_terms(one, other):
        click.echo("\nWhat changed most: what a term adds to the log-odds in each")
        for term in terms:
            click.echo(f"  {term.first:+7.3f} {term.second:+7.3f}  {term.term}")


def _labelled(
    registry: ModelRegistry,
    versions: tuple[str, str],
    files: tuple[str, ...],
    text_column: str | None,
    label_column: str | None,
    words: str | None,
) -> list[Any]:
    """Return the messages to compare on, without those that one of the versions has learnt; raises BadData."""
    from webapp.extras.lifecycle.reviewed import Learnt, sampled_examples

    engine = current_app.extensions["engine"]
    if not files:
        examples = sampled_examples(engine, registry, versions)
        if not examples:
            raise BadData(
                "No reviewed message of a random sample is left that neither has learnt. Review a random sample on "
                "/review, or give labelled messages: --data FILE"
            )
        click.echo("On the reviewed messages of random samples that neither has learnt:")
        return examples
    datasets = read_files(files, text_column, label_column, read_labels(words) if words else registry.labels())
    found = kept = say_kept(datasets, datasets[0].labels)
    for version in versions:
        learnt = Learnt(engine, registry, [version])
        if count := sum(one.text in learnt for one in kept):
            click.echo(f"{version} has learnt {count:,} of these messages: they are left out.", err=True)
        found = [one for one in found if one.text not in learnt]
    if not found:
        raise BadData("No message is left that neither has learnt: take another file.")
    return found

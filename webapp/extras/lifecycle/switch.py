"""flask models rollback, challenge, history, prune, compare: the way from one version to the next."""

from typing import Any

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.cli.models import WHY, figure, who
from webapp.cli.train import data_options, read_files, say_learnt
from webapp.config import PROJECT_SET
from webapp.errors import BadData
from webapp.extras.lifecycle import switching
from webapp.model import artifact
from webapp.model.card import read_card
from webapp.model.labels import read_labels
from webapp.model.registry import ModelRegistry

commands = ClearGroup()  # they join the core's group `models`


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
    elif tried := registry.challenger_version():
        _say_how(tried)
    else:
        click.echo("No version is being tried. Try one: flask --app wsgi models challenge VERSION")


def _say_how(version: str) -> None:
    from webapp.extras.lifecycle.challenging import record

    found = record(current_app.extensions["engine"], version)
    click.echo(f"{version} is tried beside {found.current or 'the served version'}.")
    click.echo(found.sentence)
    if found.reviewed:
        click.echo(
            f"Where they differ, only the challenger was right on {found.only_challenger_right:,}, only the served "
            f"version on {found.only_current_right:,} (exact McNemar test: p = {found.p_value:.2g})."
        )
    if found.sampled:
        click.echo(f"On {found.sampled:,} reviewed messages of random samples, whether they differ or not,")
        click.echo(f"  the served version was right on {figure(found.current_accuracy)}")
        click.echo(f"  the challenger was right on     {figure(found.challenger_accuracy)}")
    if found.reviews_needed:
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
    from webapp.extras.lifecycle.pruning import prune, superfluous

    registry, engine = current_inference().registry, current_app.extensions["engine"]
    versions = superfluous(engine, registry, keep)
    if not versions:
        click.echo("No version is to be deleted.")
        return
    click.echo("\n".join(["To be deleted:", *versions]))
    if not yes:
        click.confirm("Delete them for good?", abort=True)
    try:
        click.echo(f"{len(prune(engine, registry, versions))} deleted.")
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
    help="Labelled messages that neither has learnt; may be repeated. By default the reviewed random samples.",
)
@data_options
def compare_models(first: str, second: str, files: tuple[str, ...], **columns: str | None) -> None:
    """Compare two versions, FIRST and SECOND, on the same labelled messages: is one of them better, and where?"""
    from webapp.extras.lifecycle.comparison import compare

    registry = current_inference().registry
    for version in (first, second):
        registry.must_exist(version)
    one, other = (artifact.load(registry.folder, version) for version in (first, second))
    examples = _labelled(registry, (first, second), files, **columns)
    found = compare(one, other, examples)
    click.echo(f"{first} was right on {figure(found.first_accuracy)} of {found.messages:,} messages")
    click.echo(f"{second} was right on {figure(found.second_accuracy)}")
    click.echo(f"both {found.both_right:,}, neither {found.neither_right:,}", nl=False)
    click.echo(f", only {first} {found.only_first_right:,}, only {second} {found.only_second_right:,}")
    better = {"first": f"{first} is better", "second": f"{second} is better", None: "neither is clearly better"}
    click.echo(f"On these messages {better[found.better]} (exact McNemar test: p = {found.p_value:.2g}).")
    if found.differing:
        labels = read_card(registry.folder, first).get("labels", ["ham", "spam"])
        click.echo("\nWhere they differ: truth, both probabilities, message")
        for item in found.differing:
            probabilities = f"{item.first_probability:.3f} {item.second_probability:.3f}"
            click.echo(f"  {labels[item.is_spam]:5} {probabilities}  {' '.join(item.text.split())[:100]}")
    if found.terms:
        click.echo("\nWhat changed most: what a term adds to the log-odds in each")
        for term in found.terms:
            click.echo(f"  {term.first:+7.3f} {term.second:+7.3f}  {term.term}")


def _labelled(
    registry: ModelRegistry,
    versions: tuple[str, str],
    files: tuple[str, ...],
    text_column: str | None,
    label_column: str | None,
    words: str | None,
) -> list[Any]:
    """Return the messages to compare on; say where they come from, and which version has learnt them."""
    from webapp.extras.lifecycle.reviewed import reviewed_examples
    from webapp.model.data import drop_copies, summary

    if not files:
        examples = reviewed_examples(current_app.extensions["engine"], versions)
        if examples:
            click.echo("On the reviewed messages of random samples that neither was fitted on:")
            return examples
        click.echo("Nobody has reviewed a random sample yet, so on the project's own messages (others: --data FILE):")
        files = (str(PROJECT_SET),)
    datasets = read_files(files, text_column, label_column, read_labels(words) if words else registry.labels())
    examples = [example for dataset in datasets for example in dataset.examples]
    kept = drop_copies(examples)
    click.echo(summary(examples, kept, datasets[0].labels))
    for version in versions:
        say_learnt(registry, version, datasets, [example.text for example in kept])
    return kept

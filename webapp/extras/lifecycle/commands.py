"""flask retrain, and flask models rollback, challenge, history, prune, compare, sign, import: what changes versions."""

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand, current_inference, print_report
from webapp.cli.models import WHY, models, who
from webapp.cli.train import Reader, data_options, say_kept, threshold_option, warn_if_opposite
from webapp.config import FLASK
from webapp.errors import BadData, NotFound, counted
from webapp.extras.lifecycle import importing, retraining, switching
from webapp.extras.lifecycle.challenger import shadow_report
from webapp.extras.lifecycle.comparison import compare, sampled_examples
from webapp.model import artifact, training
from webapp.model.card import Card
from webapp.model.labels import SPAM_OR_HAM, ZERO_IS_SPAM

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(cls=FriendlyCommand)
@with_appcontext
def retrain() -> None:
    """Correct the served version by what people said of messages since, and save that as a new version.

    To fit a new model with the reviews instead: flask train FILES --with-reviews
    """
    done = retrain_job()
    click.echo(f"{done['told']}\n\nSaved {done['version']}")
    click.echo(f"To try it in the shadow of the served one: {FLASK} models challenge {done['version']}")


def retrain_job(*_: object) -> dict[str, Any]:
    """Do the same as a job; a job that is run again begins again."""
    version, told = retraining.retrain(current_app.extensions["engine"], current_inference().registry)
    return {"version": version, "told": told}


@models.command("rollback")
@WHY
def roll_back(why: str) -> None:
    """Serve the version again that was served before this one; again, the one before that."""
    registry = current_inference().registry
    version = switching.rollback_target(current_app.extensions["engine"], registry)
    if version is None:
        raise NotFound("No other version was served before this one, so there is none to go back to.")
    registry.use(version, who(), why, "rollback")
    click.echo(f"{version} is served again.")


@models.command("challenge")
@click.argument("version", required=False)
@click.option("--stop", is_flag=True, help="Try no version any longer.")
@WHY
def challenge(version: str | None, stop: bool, why: str) -> None:
    """Try VERSION in the shadow of the served one: it scores every message too, and its word is stored, never shown.

    Without VERSION, say how the one that is being tried has done so far.
    """
    engine, registry = current_app.extensions["engine"], current_inference().registry
    if version or stop:
        registry.use(None if stop else version, who(), why, "challenge")
        click.echo("No version is tried any longer." if stop else f"{version} is tried from now on.")
    elif tried := registry.challenger.read():
        served = registry.current_version()
        found = shadow_report(engine, registry, tried, served)
        click.echo(f"{tried} is tried beside {served}.\n{found.sentence}")
        if fault := registry.inspect(tried)[1]:
            click.echo(f"It cannot be used: {fault}")
    else:
        click.echo(f"No version is being tried. Try one: {FLASK} models challenge VERSION")


@models.command("history")
def show_history() -> None:
    """List all switches, newest first: when (UTC), who, what, and why."""
    for switch in switching.history(current_app.extensions["engine"]):
        change = f"{switch.from_version or 'none'} -> {switch.to_version or 'none'}"
        words = f"{switch.created_at:%Y-%m-%d %H:%M:%S}  {switch.who}  {switch.kind}  {change}  {switch.why}"
        click.echo(words.rstrip())


@models.command("prune")
@click.option("--keep", type=click.IntRange(0), required=True, metavar="N", help="How many of the newest stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_models(keep: int, yes: bool) -> None:
    """Delete old versions, but never the served one, the challenger, or the one that rollback goes to."""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    versions = switching.prunable_versions(engine, registry, keep)
    click.echo("\n".join(["To be deleted:", *versions] if versions else ["No version is to be deleted."]))
    if versions and (yes or click.confirm("Delete them for good?", abort=True)):
        click.echo(f"{len(switching.prune(engine, registry, versions))} deleted.")


@models.command("compare")
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
def compare_models(reader: Reader, first: str, second: str, files: tuple[str, ...]) -> None:
    """Compare two versions, FIRST and SECOND, on the same labelled messages: is one of them better, and where?"""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    first_model, second_model = (artifact.load(registry.folder, version) for version in (first, second))
    labels = first_model.labels
    if files:
        datasets = reader.read(files, labels)
        kept, learnt = say_kept(datasets, datasets[0].labels), artifact.Learnt(registry.folder, (first, second))
        examples = [example for example in kept if example.text not in learnt]
        if left_out := len(kept) - len(examples):
            click.echo(f"One of the two has learnt {left_out:,} of these messages: they are left out.", err=True)
    else:
        examples = sampled_examples(engine, registry, (first, second))
    found = compare(first_model, second_model, examples)
    if not examples:
        raise BadData(
            "No message is left that neither has learnt. Review a random sample on /review, or give other labelled "
            "messages: --data FILE"
        )
    click.echo(f"{first} was right on {found.first_accuracy} of {counted(len(examples), 'message')}")
    click.echo(f"{second} was right on {found.second_accuracy}")
    click.echo(found.duel.sentence(first, second))
    if found.differing:
        click.echo("\nWhere they differ: truth, both probabilities, message")
    for example, of_first, of_second in found.differing:
        truth = labels.word("spam" if example.is_spam else "ham")
        click.echo(f"  {truth:5} {of_first:.3f} {of_second:.3f}  {' '.join(example.text.split())[:100]}")


@models.command("sign")
@click.argument("version")
def sign_model(version: str) -> None:
    """Sign VERSION with HAMLET_MODEL_KEY, if its files are as its card says. Sign only what you know the origin of."""
    file = artifact.sign(current_inference().registry.folder, version).model_file
    click.echo(f"{version} is signed: {artifact.MODEL_FILES[file.format]} with SHA-256 {file.sha256}.")


@models.command("import")
@click.argument("file", type=FILE)
@click.option("--vectorizer", type=FILE, help="The fitted vectoriser, where FILE holds a classifier alone.")
@data_options
@click.option("--measure", "data", multiple=True, help="A labelled file that it has not learnt, for the figures.")
@threshold_option
@click.option("--yes", is_flag=True, help="I know where the files come from: run the code in them.")
def import_model(
    reader: Reader, file: Path, vectorizer: Path | None, data: tuple[str, ...], threshold: float, yes: bool
) -> None:
    """Make a version of a fitted model in FILE, written by pickle, joblib or skops.

    It is a Pipeline that takes texts, or a classifier, whose vectoriser is in another file. Where its classes are 0 and
    1, these are ham and spam, unless --labels says otherwise.
    """
    files = {path: path.read_bytes() for path in (file, vectorizer) if path}
    hashes = [(path.name, hashlib.sha256(content).hexdigest()) for path, content in files.items()]
    runs_code = any(importing.file_format(content) != "skops" for content in files.values())
    if runs_code and not yes:
        for name, sha256 in hashes:
            click.echo(f"{name}: SHA-256 {sha256}")
        raise BadData(
            "To load a pickle runs the code in it, with all your rights. If these files are yours, or of somebody whom "
            "you trust, say --yes. docs/model_files.md says more."
        )
    registry = current_inference().registry
    model = importing.import_model(files, reader.labels or SPAM_OR_HAM, threshold)
    datasets = reader.read(data)
    metrics = {"held_out": training.report(model, say_kept(datasets, model.labels))} if datasets else {}
    card = Card(
        labels=model.labels,
        threshold=threshold,
        zero_is_spam=reader.labels == ZERO_IS_SPAM,
        metrics=metrics,
        imported=hashes,
    )
    file_format = "joblib" if runs_code or "dense" in model.pipeline.named_steps else "skops"  # which has no such step
    version = artifact.save(registry.folder, model.pipeline, card, file_format, dt.datetime.now(dt.UTC), None)
    click.echo(f"Saved {registry.folder / version}")
    click.echo(f"From {model.labels.ham} to {model.labels.spam}: {model.labels.spam} is the one that is looked for.")
    if datasets:
        print_report("measured on what you gave", metrics["held_out"], model.labels)
        warn_if_opposite(metrics["held_out"])
    else:
        click.echo("How good it is is not known: --measure DATA, or review what it says.")
    click.echo(f"To serve it: {FLASK} models use {version}")

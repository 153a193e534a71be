"""flask models: the versions, what is known of them, and which one is served."""

import datetime as dt
import getpass
import os
from pathlib import Path

import click

from webapp.cli.command import ClearGroup, check_folder, current_inference
from webapp.cli.report import metric_names, print_report
from webapp.config import FLASK
from webapp.errors import BadData, HamletError
from webapp.model import artifact
from webapp.model.card import Card, Imported, read_card
from webapp.model.labels import read_labels
from webapp.model.registry import Slot

models = ClearGroup("models", help="See the saved versions of the model, and choose which one is served.")
WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")


@models.command("list")
def list_models() -> None:
    """List all versions, oldest first: * is served, ? is tried in its shadow.

    Accuracy is that on held-out messages.
    """
    registry = current_inference().registry
    marks = {_named(slot): slot.mark for slot in reversed(registry.slots)}
    for version in registry.versions():
        try:
            card = artifact.verify(registry.folder, version)
            state = f"accuracy {card.held_out.accuracy}, {card.model_file.bytes:,} bytes"
        except HamletError as error:
            state = f"NOT USABLE: {error}"
        click.echo(f"{marks.get(version, ' ')} {version}  {state}")


def _named(slot: Slot) -> str | None:
    try:
        return slot.read()
    except HamletError:
        return None


@models.command("show")
@click.argument("version")
def show_model(version: str) -> None:
    """Say what is known of VERSION: when, on what data, how good, whether its files are as they were saved."""
    registry = current_inference().registry
    registry.must_exist(version)
    card = read_card(registry.folder, version)
    try:
        artifact.verify(registry.folder, version)
        state = "its files are as they were saved"
    except HamletError as error:
        state = f"NOT USABLE: {error}"
    click.echo(f"{version}: {state}.")
    if card.imported:
        click.echo(f"Imported {card.created_at} from {card.imported.file}, SHA-256 {card.imported.sha256}")
        click.echo("On what it was trained, and how good it was then, is not known.")
    elif card.retraining:
        click.echo(f"{card.retraining.parent}, corrected with {card.retraining.reviews:,} reviews {card.created_at}")
    else:
        click.echo(f"Trained {card.created_at} on {card.messages.messages:,} messages")
    for file in card.data:
        click.echo(f"  {file.file}: {file.messages:,} messages, licence {file.licence}")
    for name, metrics in card.metrics.items():
        click.echo(f"Measured on {metrics.messages:,} messages ({name.replace('_', '-')})")
        for key, shown in metric_names(card.words).items():
            click.echo(f"  {shown:12} {getattr(metrics, key)}")
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    click.echo(f"Threshold {card.threshold}, {card.model_file.bytes:,} bytes, made with {versions}")


@models.command("verify")
@click.pass_context
def verify_models(context: click.Context) -> None:
    """Check the files of all versions against their cards; exit with 1 and name those that cannot be used."""
    registry, broken = current_inference().registry, 0
    for version in registry.versions():
        try:
            artifact.verify(registry.folder, version)
            artifact.read_learnt(registry.folder, version)
            click.echo(f"{version}  as it was saved")
        except HamletError as error:
            broken += 1
            click.echo(f"{version}  NOT USABLE: {error}")
    for chosen in (slot.read() for slot in registry.slots):
        if chosen and chosen not in registry.versions():
            broken += 1
            click.echo(f"{chosen}  NOT USABLE: it is chosen, but not there")
    context.exit(1 if broken else 0)


@models.command("sign")
@click.argument("version")
def sign_model(version: str) -> None:
    """Sign VERSION with HAMLET_MODEL_KEY, if its files are as its card says. Sign only what you know the origin of."""
    registry = current_inference().registry
    registry.must_exist(version)
    card = artifact.sign(registry.folder, version)
    file = card.model_file
    click.echo(f"{version} is signed: {file.name} with SHA-256 {file.sha256}, made {card.created_at}.")


@models.command("use")
@click.argument("version")
@WHY
def use_model(version: str, why: str) -> None:
    """Serve VERSION from now on; running servers change over within a second."""
    current_inference().registry.use(version, who(), why)
    click.echo(f"{version} is served now.")


@models.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--vectorizer",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The fitted vectoriser, where FILE holds a classifier alone.",
)
@click.option(
    "--labels",
    "words",
    metavar="NEGATIVE,POSITIVE",
    help="What people call its two classes, the one that is looked for last. By default 0 is ham and 1 is spam.",
)
@click.option(
    "--measure",
    "files",
    multiple=True,
    metavar="DATA",
    help="A labelled file that it has not learnt, for the figures of its card. May be repeated.",
)
@click.option("--threshold", type=click.FloatRange(0.01, 0.99), default=0.5, show_default=True)
@click.option("--yes", is_flag=True, help="I know where the files come from: run the code in them.")
def import_model(
    file: Path, vectorizer: Path | None, words: str | None, files: tuple[str, ...], threshold: float, yes: bool
) -> None:
    """Make a version of a fitted model in FILE, written by pickle, joblib or skops.

    It is a Pipeline that takes texts, or a classifier, whose vectoriser is in another file.
    """
    from webapp.model import own_model, training
    from webapp.model.data import read_labelled

    sources = [own_model.read_source(path) for path in (file, vectorizer) if path]
    if not yes and any(source.format != "skops" for source in sources):
        for source in sources:
            click.echo(f"{source.path}: {len(source.content):,} bytes, SHA-256 {source.sha256}")
        raise BadData(
            "To load a pickle runs the code in it, with all your rights. If these files are yours, or of somebody whom "
            "you trust, say --yes. docs/model_files.md says more."
        )
    registry = current_inference().registry
    check_folder(registry.folder)
    labels = read_labels(words, of_file=False) if words else None
    model = own_model.import_model(sources[0], sources[1] if vectorizer else None, labels, threshold)
    datasets = [read_labelled(Path(name), labels=model.labels) for name in files]
    for notice in (notice for dataset in datasets for notice in dataset.notices):
        click.echo(notice, err=True)
    metrics = {"held_out": training.evaluate(model, datasets)} if datasets else {}
    card = Card(
        labels=(model.labels.ham, model.labels.spam),
        threshold=threshold,
        weights={},
        data=[],
        metrics=metrics,
        recipe=training.describe_steps(model.pipeline),
        imported=Imported(
            file=sources[0].path.name,
            sha256=sources[0].sha256,
            vectorizer=sources[1].path.name if vectorizer else None,
            vectorizer_sha256=sources[1].sha256 if vectorizer else None,
            measured_on=[training.describe(dataset) for dataset in datasets],
        ),
    )
    file_format = "joblib" if any(source.format != "skops" for source in sources) else "skops"
    version = artifact.save(registry.folder, model.pipeline, card, file_format, dt.datetime.now(dt.UTC), None)
    click.echo(f"Saved {registry.folder / version}")
    click.echo(f"From {model.labels.ham} to {model.labels.spam}: {model.labels.spam} is the one that is looked for.")
    if datasets:
        print_report("measured on what you gave", metrics["held_out"], model.labels)
    else:
        click.echo("How good it is is not known: --measure DATA, or review what it says.")
    click.echo(f"To serve it: {FLASK} models use {version}")


def who() -> str:
    """Return who runs this command, as the history names them."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"command:{os.getuid()}"

"""flask models: the versions, what is known of them, and which one is served."""

import datetime as dt
import getpass
import os
from pathlib import Path

import click

from webapp.cli.command import ClearGroup, check_folder, current_inference
from webapp.cli.report import print_report
from webapp.config import FLASK
from webapp.errors import BadData, HamletError
from webapp.model import artifact
from webapp.model.card import Card, Imported, read_card
from webapp.model.labels import read_labels

models = ClearGroup("models", help="See the saved versions of the model, and choose which one is served.")
WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")
FILE = click.Path(dir_okay=False, path_type=Path)


def fault(version: str) -> str:
    """Return why a version cannot be used, "" where it can."""
    folder = current_inference().registry.folder
    try:
        artifact.verify(folder, version)
        artifact.read_learnt(folder, version)
    except HamletError as error:
        return f"NOT USABLE: {error}"
    return ""


@models.command("list")
def list_models() -> None:
    """List all versions, oldest first, with their accuracy on held-out messages: * is served, ? is tried."""
    registry = current_inference().registry
    for version in registry.versions():
        state = fault(version)
        if not state:
            card = read_card(registry.folder, version)
            state = f"accuracy {card.held_out.accuracy}, {card.model_file.bytes:,} bytes"
        click.echo(f"{registry.mark(version)} {version}  {state}")


@models.command("show")
@click.argument("version")
def show_model(version: str) -> None:
    """Say what is known of VERSION: when, on what data, how good, whether its files are as they were saved."""
    registry = current_inference().registry
    registry.must_exist(version)
    card = read_card(registry.folder, version)
    click.echo(f"{version}: {fault(version) or 'its files are as they were saved'}.")
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
        print_report(name.replace("_", "-"), metrics, card.words)
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    click.echo(f"\nThreshold {card.threshold}, {card.model_file.bytes:,} bytes, made with {versions}")


@models.command("verify")
@click.pass_context
def verify_models(context: click.Context) -> None:
    """Check the files of all versions against their cards; exit with 1 and name those that cannot be used."""
    registry = current_inference().registry
    states = {version: fault(version) for version in registry.versions()}
    chosen = [slot.read() for slot in registry.slots]
    states |= {name: "NOT USABLE: it is chosen, but not there" for name in chosen if name and name not in states}
    for version, state in states.items():
        click.echo(f"{version}  {state or 'as it was saved'}")
    context.exit(1 if any(states.values()) else 0)


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
@click.argument("file", type=FILE)
@click.option("--vectorizer", type=FILE, help="The fitted vectoriser, where FILE holds a classifier alone.")
@click.option(
    "--labels",
    "words",
    metavar="NEGATIVE,POSITIVE",
    help="What people call its two classes, the one that is looked for last. By default 0 is ham and 1 is spam.",
)
@click.option("--measure", "data", multiple=True, help="A labelled file that it has not learnt, for the figures.")
@click.option("--threshold", type=click.FloatRange(0.01, 0.99), default=0.5, show_default=True)
@click.option("--yes", is_flag=True, help="I know where the files come from: run the code in them.")
def import_model(
    file: Path, vectorizer: Path | None, words: str | None, data: tuple[str, ...], threshold: float, yes: bool
) -> None:
    """Make a version of a fitted model in FILE, written by pickle, joblib or skops.

    It is a Pipeline that takes texts, or a classifier, whose vectoriser is in another file.
    """
    from webapp.cli.train import read_files, say_kept
    from webapp.model import own_model, training

    sources = [own_model.read_source(path) for path in (file, vectorizer) if path]
    runs_code = any(source.format != "skops" for source in sources)
    if runs_code and not yes:
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
    datasets = read_files(data, model.labels)
    metrics = {"held_out": training.report(model, say_kept(datasets, model.labels))} if datasets else {}
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
    file_format = "joblib" if runs_code else "skops"
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

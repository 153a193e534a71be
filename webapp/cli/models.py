"""flask models: the versions, what is known of them, and which one is served."""

import getpass
import os

import click

from webapp.cli.command import FriendlyGroup, current_inference, print_report
from webapp.config import FLASK
from webapp.errors import NotFound, counted
from webapp.model.card import read_card

models = FriendlyGroup("models", help="See the saved versions of the model, and choose which one is served.")
UNUSABLE = "NOT USABLE: "
WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")


@models.command("list")
def list_models() -> None:
    """List all versions, oldest first, with their accuracy on held-out messages: * is served, ? is tried."""
    registry = current_inference().registry
    if not registry.versions():
        raise NotFound(f"There is no model in {registry.folder}. Train one: {FLASK} train FILE")
    marks = {registry.challenger.read(): "?", registry.served.read(): "*"}
    for version in registry.versions():
        card, fault = registry.inspect(version)
        state = f"accuracy {card.held_out.accuracy}, {card.model_file.bytes:,} bytes" if card else UNUSABLE + fault
        click.echo(f"{marks.get(version, ' ')} {version}  {state}")


@models.command("show")
@click.argument("version")
def show_model(version: str) -> None:
    """Say what is known of VERSION: when, on what data, how good, whether its files are as they were saved."""
    registry = current_inference().registry
    card = read_card(registry.folder, version)
    _, fault = registry.inspect(version)
    click.echo(f"{version}: {UNUSABLE + fault if fault else 'its files are as they were saved.'}")
    made = f"{card.created_at:%Y-%m-%d %H:%M:%S}"
    if card.retraining:
        click.echo(f"{card.retraining.parent}, corrected with {counted(card.retraining.reviews, 'review')} {made}")
    elif card.imported:
        files = " and ".join(f"{name}, SHA-256 {sha256}" for name, sha256 in card.imported)
        click.echo(f"Imported {made} from {files}")
        click.echo("On what it was trained, and how good it was then, is not known.")
    else:
        click.echo(f"Trained {made} on {card.messages.messages:,} messages")
    for file in card.data:
        click.echo(f"  {file.file}: {counted(file.messages, 'message')}, licence {file.licence}")
    for name, metrics in card.metrics.items():
        print_report(name.replace("_", "-"), metrics, card.labels)
    versions = ", ".join(f"{name} {number}" for name, number in card.versions.items())
    click.echo(f"\nThreshold {card.threshold}, {card.model_file.bytes:,} bytes, made with {versions}")


@models.command("verify")
@click.pass_context
def verify_models(context: click.Context) -> None:
    """Check the files of all versions against their cards; exit with 1 and name those that cannot be used."""
    registry = current_inference().registry
    faults = {version: registry.inspect(version)[1] for version in registry.versions()}
    chosen = {registry.served.read(), registry.challenger.read()} - {"", *faults}
    faults |= dict.fromkeys(sorted(chosen), "it is chosen, but not there")
    for version, fault in faults.items():
        click.echo(f"{version}  {UNUSABLE + fault if fault else 'as it was saved'}")
    context.exit(1 if any(faults.values()) else 0)


@models.command("use")
@click.argument("version")
@WHY
def use_model(version: str, why: str) -> None:
    """Serve VERSION from now on; running servers change over within a second."""
    current_inference().registry.use(version, who(), why)
    click.echo(f"{version} is served now.")


def who() -> str:
    """Return who runs this command, as the history names them."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"command:{os.getuid()}"

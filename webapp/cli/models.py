"""flask models: the versions, what is known of them, and which one is served."""

import getpass
import os
from typing import Any

import click

from webapp.cli.command import ClearGroup, current_inference
from webapp.cli.report import METRIC_NAMES
from webapp.errors import HamletError
from webapp.model import artifact, writable
from webapp.model.card import read_card

models = ClearGroup("models", help="See the saved versions of the model, and choose which one is served.")
WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")


@models.command("list")
def list_models() -> None:
    """List all versions, oldest first: * is served, ? is tried in its shadow.

    Accuracy is that on held-out messages.
    """
    registry = current_inference().registry
    current, challenger = _named(registry.current_version), _named(registry.challenger_version)
    for version in registry.versions():
        try:
            card = artifact.verify(registry.folder, version)
            state = f"accuracy {card.held_out.accuracy}, {card.model_file.bytes:,} bytes"
        except HamletError as error:
            state = f"NOT USABLE: {error}"
        click.echo(f"{'*' if version == current else '?' if version == challenger else ' '} {version}  {state}")


def _named(name: Any) -> str | None:
    try:
        found: str | None = name()
    except HamletError:
        return None
    return found


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
    click.echo(f"Trained {card.created_at} on {card.messages.messages:,} messages")
    for file in card.data:
        click.echo(f"  {file.file}: {file.messages:,} messages, licence {file.licence}")
    for name, metrics in card.metrics.items():
        click.echo(f"Measured on {metrics.messages:,} messages ({name.replace('_', '-')})")
        for key, shown in METRIC_NAMES.items():
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
            artifact.read_reference(registry.folder, version)
            click.echo(f"{version}  as it was saved")
        except HamletError as error:
            broken += 1
            click.echo(f"{version}  NOT USABLE: {error}")
    for chosen in (registry.current_version(), registry.challenger_version()):
        if chosen and chosen not in registry.versions():
            broken += 1
            click.echo(f"{chosen}  NOT USABLE: it is chosen, but not there")
    if words := writable.warning(registry.folder):
        click.echo(f"Warning: {words}")
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


def who() -> str:
    """Return who runs this command, as the history names them."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"command:{os.getuid()}"

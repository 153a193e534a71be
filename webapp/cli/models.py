"""flask models: the versions, and which one is served."""

import click

from webapp.cli.command import ClearGroup, current_inference
from webapp.errors import HamletError
from webapp.model import artifact

models = ClearGroup("models", help="List the saved versions of the model and choose the one that is served.")


@models.command("list")
def list_models() -> None:
    """List all versions; the served one is marked by *."""
    registry = current_inference().registry
    try:
        current = registry.current_version()
    except HamletError:
        current = ""
    for version in registry.versions():
        try:
            card = artifact.verify(registry.folder, version)
            accuracy, file = card["metrics"]["held_out"]["accuracy"], card["model_file"]
            interval = f"{accuracy['low']:.4f} to {accuracy['high']:.4f}"
            state = f"accuracy {accuracy['value']:.4f} ({interval}), {file['bytes']:,} bytes"
        except (HamletError, KeyError, TypeError) as error:  # a card may have been written by hand
            state = f"NOT USABLE: {error}"
        click.echo(f"{'*' if version == current else ' '} {version}  {state}")


@models.command("use")
@click.argument("version")
def use_model(version: str) -> None:
    """Serve VERSION from now on; running servers change over within a second."""
    current_inference().registry.use(version)
    click.echo(f"{version} is served now.")

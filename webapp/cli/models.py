"""flask models: the versions, what is known of them, and two of them side by side. What switches is in switch.py."""

from pathlib import Path
from typing import Any

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.cli.report import METRIC_NAMES
from webapp.config import ROOT
from webapp.errors import BadData, HamletError
from webapp.model import artifact, writable
from webapp.model.card import read_card
from webapp.model.registry import ModelRegistry

OWN_MESSAGES = ROOT / "webapp" / "model" / "messages.csv"

models = ClearGroup("models", help="See and compare the saved versions of the model, and choose which one is served.")


@models.command("list")
def list_models() -> None:
    """List all versions, oldest first: * is served, ? is tried in its shadow.

    Accuracy is that on held-out messages; live accuracy that on reviewed random samples of what the version served.
    """
    registry = current_inference().registry
    current, challenger = _named(registry.current_version), _named(registry.challenger_version)
    for version in registry.versions():
        try:
            card = artifact.verify(registry.folder, version)
            accuracy = figure(card["metrics"]["held_out"]["accuracy"])
            state = f"accuracy {accuracy}{_live(version)}, {card['model_file']['bytes']:,} bytes"
        except (HamletError, KeyError, TypeError) as error:  # a card may have been written by hand
            state = f"NOT USABLE: {error}"
        click.echo(f"{'*' if version == current else '?' if version == challenger else ' '} {version}  {state}")


def _named(name: Any) -> str | None:
    try:
        found: str | None = name()
    except HamletError:
        return None
    return found


def _live(version: str) -> str:
    """Return the live accuracy of a version in words, nothing where there is none."""
    from webapp.monitoring.report import live_accuracy

    try:
        share = live_accuracy(current_app.extensions["engine"], version)
    except HamletError:
        return ""
    return f", live {figure(share)} in {share['n']:,} reviews" if share["n"] else ""


def figure(one: Any) -> str:
    """Return a value and its 95 % interval in words."""
    return "not known" if one["value"] is None else f"{one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"


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
    messages = card.get("messages", {})
    click.echo(f"{version}: {state}.")
    click.echo(f"Trained {card.get('created_at')} on {messages.get('messages', 0):,} messages")
    for item in card.get("data", []):
        click.echo(f"  {item['file']}: {item['messages']:,} messages, licence {item['licence']}")
    for name, report in card.get("metrics", {}).items():
        click.echo(f"Measured on {report['messages']:,} messages ({name.replace('_', '-')})")
        for key, shown in METRIC_NAMES.items():
            if report.get(key):
                click.echo(f"  {shown:12} {figure(report[key])}")
    versions = ", ".join(f"{name} {number}" for name, number in card["versions"].items())
    click.echo(f"Threshold {card.get('threshold')}, {card['model_file'].get('bytes', 0):,} bytes, made with {versions}")


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
    file = card["model_file"]
    click.echo(f"{version} is signed: {file['name']} with SHA-256 {file['sha256']}, made {card.get('created_at')}.")


@models.command("prune")
@click.option("--keep", type=click.IntRange(0), required=True, metavar="N", help="How many of the newest stay.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def prune_models(keep: int, yes: bool) -> None:
    """Delete old versions, but never the served one, the challenger, or the one that rollback goes to."""
    from webapp.lifecycle.pruning import prune, superfluous

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


@models.command("compare")
@click.argument("first")
@click.argument("second")
@click.option(
    "--data",
    "files",
    multiple=True,
    metavar="FILE",
    help="Labelled messages that neither has learnt; may be repeated. By default the reviewed random samples.",
)
def compare_models(first: str, second: str, files: tuple[str, ...]) -> None:
    """Compare two versions, FIRST and SECOND, on the same labelled messages: is one of them better, and where?"""
    from webapp.lifecycle.comparison import compare

    registry = current_inference().registry
    for version in (first, second):
        registry.must_exist(version)
    one, other = (artifact.load(registry.folder, version) for version in (first, second))
    examples = _labelled(registry, (first, second), files)
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


def _labelled(registry: ModelRegistry, versions: tuple[str, str], files: tuple[str, ...]) -> list[Any]:
    """Return the messages to compare on; say where they come from, and which version has learnt them."""
    from webapp.lifecycle.reviewed import reviewed_examples
    from webapp.model.datasets import read_labelled

    if not files:
        examples = reviewed_examples(current_app.extensions["engine"], versions)
        if examples:
            click.echo("On the reviewed messages of random samples that neither was fitted on:")
            return examples
        click.echo("Nobody has reviewed a random sample yet, so on the project's own messages (others: --data FILE):")
        files = (str(OWN_MESSAGES),)
    found = []
    for file in files:
        dataset = read_labelled(Path(file), labels=registry.labels())
        for version in versions:
            if dataset.sha256 in {item["sha256"] for item in read_card(registry.folder, version)["data"]}:
                click.echo(f"Notice: {version} has learnt {dataset.name}, so this flatters it.", err=True)
        found += dataset.examples
    return found

"""flask models use, challenge, rollback, history: which version is served or tried, and who switched when."""

import getpass
import os

import click
from flask import current_app

from webapp.cli.command import current_inference
from webapp.cli.models import figure, models
from webapp.errors import BadData
from webapp.lifecycle import switching

WHY = click.option("--why", default="", metavar="TEXT", help="The reason, for the history.")


def who() -> str:
    """Return who runs this command, as the history names them."""
    try:
        return f"command:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"command:{os.getuid()}"


@models.command("use")
@click.argument("version")
@WHY
def use_model(version: str, why: str) -> None:
    """Serve VERSION from now on; running servers change over within a second."""
    switching.use(current_app.extensions["engine"], current_inference().registry, version, who(), why)
    click.echo(f"{version} is served now.")


@models.command("rollback")
@WHY
def roll_back(why: str) -> None:
    """Serve the version again that was served before this one; again, the one before that."""
    version = switching.rollback(current_app.extensions["engine"], current_inference().registry, who(), why)
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
    from webapp.lifecycle.challenging import record

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


@models.command("history")
def show_history() -> None:
    """List all switches, newest first: when (UTC), who, what, and why."""
    for one in switching.history(current_app.extensions["engine"]):
        change = f"{one.from_version or 'none'} -> {one.to_version or 'none'}"
        click.echo(f"{one.created_at:%Y-%m-%d %H:%M:%S}  {one.who}  {one.kind}  {change}  {one.why}".rstrip())

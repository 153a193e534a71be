"""flask set-password, and flask api-key: create, list, revoke."""

import sys

import click
import sqlalchemy as sa
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand, FriendlyGroup
from webapp.extras.access import keys
from webapp.log.tables import api_keys


@click.command(cls=FriendlyCommand)
@click.argument("source", required=False, type=click.Choice(["-"]), metavar="[-]")
@with_appcontext
def set_password(source: str | None) -> None:
    """Change the admin password, which signs everybody out; - reads it from standard input."""
    if source:
        password = sys.stdin.buffer.readline().decode("utf-8-sig", "surrogateescape").rstrip("\r\n")
    else:
        password = click.prompt("New password", hide_input=True, confirmation_prompt="The same again", err=True)
    current_app.extensions["admin_password"].set(password)
    click.echo("The admin password is changed, and everybody is signed out.", err=True)


api_key = FriendlyGroup("api-key", help="Make and revoke keys for programs that read or review the log.")


@api_key.command("create")
@click.argument("name")
def create_key(name: str) -> None:
    """Make a key and print it; NAME says whose it is."""
    click.echo(keys.create(current_app.extensions["engine"], name))
    click.echo("It is shown only this time. Send it in the header: Authorization: Bearer KEY", err=True)


@api_key.command("list")
def list_keys() -> None:
    """List the keys' names; the keys themselves are not kept."""
    with current_app.extensions["engine"].connect() as connection:
        rows = connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at)).all()
    for key in rows:
        revoked = f", revoked {key.revoked_at:%Y-%m-%d %H:%M} UTC" if key.revoked_at else ""
        click.echo(f"{key.name}  made {key.created_at:%Y-%m-%d %H:%M} UTC{revoked}")


@api_key.command("revoke")
@click.argument("name")
def revoke_key(name: str) -> None:
    """End the use of the key NAME; running servers refuse it at once."""
    keys.revoke(current_app.extensions["engine"], name)
    click.echo(f"The key {name} is revoked.")

"""flask predict."""

import sys

import click
from flask.cli import with_appcontext

from webapp.cli.command import Clear, current_inference


@click.command(cls=Clear)
@click.argument("text")
@with_appcontext
def predict(text: str) -> None:
    """Say whether TEXT is spam; - reads one message a line from standard input."""
    for message in (line.rstrip("\n") for line in sys.stdin if line.strip()) if text == "-" else [text]:
        row = current_inference().predict(message, "cli")
        terms = ", ".join(f"{item['term']} {item['contribution']:+.2f}" for item in (row["explanation"] or [])[:5])
        click.echo(f"{row['label']}  {row['spam_probability']:.4f}  {terms}")

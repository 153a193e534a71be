"""flask predict."""

import sys

import click
from flask.cli import with_appcontext

from webapp.cli.command import Clear, current_inference
from webapp.errors import BadData, InvalidInput
from webapp.model.lines import Source


@click.command(cls=Clear)
@click.argument("text")
@with_appcontext
def predict(text: str) -> None:
    """Say whether TEXT is spam; - reads one message a line from standard input."""
    if text != "-":
        _print_prediction(text)
        return
    source = Source(sys.stdin.buffer)
    lines = source.lines()
    for line in iter(lines.next, ""):
        if line.strip():
            try:
                _print_prediction(line.rstrip("\r\n"))
            except InvalidInput as error:
                raise BadData(f"line {lines.number}: {error} The lines before it were done.") from error
    for notice in lines.notice():
        click.echo(notice, err=True)


def _print_prediction(text: str) -> None:
    inference = current_inference()
    row = inference.predict([text], "cli")[0]
    label = inference.registry.labels(row["model_version"]).word(row["label"])
    terms = ", ".join(f"{item['term']} {item['contribution']:+.2f}" for item in (row["explanation"] or [])[:5])
    click.echo(f"{label}  {row['spam_probability']:.4f}  {terms}")

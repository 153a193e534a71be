"""flask predict."""

import click
from flask.cli import with_appcontext

from webapp.cli.command import Clear, current_inference
from webapp.errors import BadData, InvalidInput


@click.command(cls=Clear)
@click.argument("text")
@with_appcontext
def predict(text: str) -> None:
    """Say whether TEXT is spam; - reads one message a line from standard input."""
    if text != "-":
        _print_prediction(text)
        return
    lines = click.open_file("-", encoding="utf-8", errors="surrogateescape")  # what is no UTF-8 is refused
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                _print_prediction(line.rstrip("\n"))
            except InvalidInput as error:
                raise BadData(f"line {number}: {error} The lines before it were done.") from error


def _print_prediction(text: str) -> None:
    inference = current_inference()
    row = inference.predict([text], "cli")[0]
    label = inference.registry.labels(row["model_version"]).word(row["label"])
    terms = ", ".join(f"{item['term']} {item['contribution']:+.2f}" for item in (row["explanation"] or [])[:5])
    click.echo(f"{label}  {row['spam_probability']:.4f}  {terms}")

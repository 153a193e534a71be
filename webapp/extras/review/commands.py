"""flask review import."""

import sys
from pathlib import Path

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.extras.review.import_reviews import SHOWN_UNKNOWN, import_reviews
from webapp.extras.review.reviews import TRUE_LABELS

review = ClearGroup("review", help="Tell Hamlet what messages really were.")


@review.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_file(file: Path) -> None:
    """Take true labels from FILE, a table with the columns id and true_label; - reads standard input.

    A label is spam or ham, in the words of the served model, or unsure. All of the file is taken, or nothing of it.
    """
    words = current_inference().registry.labels()
    labels = {words.word(label): label for label in TRUE_LABELS}
    source = sys.stdin.buffer if str(file) == "-" else file
    done = import_reviews(current_app.extensions["engine"], source, labels)
    click.echo(f"{done.new:,} new, {done.changed:,} changed, {done.same:,} as before, {done.unknown:,} unknown.")
    if done.unknown:
        more = ", ..." if done.unknown > SHOWN_UNKNOWN else ""
        click.echo(f"No predictions have these ids: {', '.join(done.unknown_ids)}{more}", err=True)
        if done.unknown_only:
            click.get_current_context().exit(1)

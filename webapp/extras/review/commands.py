"""flask review import: true labels from a file into the log."""

import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.errors import BadData
from webapp.extras.review.reviews import TRUE_LABELS, give_reviews
from webapp.model.files import normalise, open_table

SHOWN_UNKNOWN = 5

review = ClearGroup("review", help="Tell Hamlet what messages really were.")


@review.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_file(file: Path) -> None:
    """Take true labels from FILE, a table with the columns id and true_label; - reads standard input.

    A label is spam or ham, in the words of the served model, or unsure. All of the file is taken, or nothing of it.
    """
    words = current_inference().registry.labels()
    given = _read(sys.stdin.buffer if str(file) == "-" else file, {words.word(label): label for label in TRUE_LABELS})
    new, unknown = give_reviews(current_app.extensions["engine"], given, "import", "import")
    click.echo(f"{new:,} new, {len(given) - new - len(unknown):,} as before, {len(unknown):,} unknown.")
    if unknown:
        more = ", ..." if len(unknown) > SHOWN_UNKNOWN else ""
        click.echo(f"No predictions have these ids: {', '.join(unknown[:SHOWN_UNKNOWN])}{more}", err=True)
        if len(unknown) == len(given):
            click.get_current_context().exit(1)


def _read(source: Path | BinaryIO, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the label of each prediction id; raises BadData, naming the line."""
    given: dict[str, str] = {}
    with closing(open_table(source)) as table:
        columns = [table.find(names) for names in (("id", "prediction_id"), ("true_label",))]
        positions = [at for at in columns if at is not None]
        if len(positions) < 2:
            raise BadData(f"{table.name}, line 1: the file must begin with the names of its columns: id,true_label")
        words = {normalise(word): label for word, label in labels.items()}
        for line, values, error, *_ in table.read(positions):
            prediction_id, word = (str(value or "").strip() for value in values or ("", ""))
            label = words.get(normalise(word))
            if label and given.get(prediction_id, label) != label:
                error = f"{prediction_id} has another label in a line above."
            if error or not prediction_id or not label:
                first, second, third = labels
                wanted = f"each row is an id and {first}, {second} or {third}, such as "
                why = error or f"{wanted}019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b,{second}."
                raise BadData(f"{table.name}, line {line}: {why} Nothing was stored.")
            given[prediction_id] = label
    return given

"""flask review import: true labels from a file into the log."""

from pathlib import Path

import click
from flask import current_app

from webapp.cli.command import FriendlyGroup, current_inference
from webapp.errors import BadData
from webapp.extras.review.reviews import give_reviews
from webapp.model.files import open_table
from webapp.model.labels import UNSURE, Labels, as_text, normalise, read_meanings
from webapp.model.lines import shown

review = FriendlyGroup("review", help="Tell Hamlet what messages really were.")


@review.command("import")
@click.argument("file", type=click.Path(path_type=Path))
def import_file(file: Path) -> None:
    """Take true labels from FILE, a table with the columns id and true_label; - reads standard input.

    A label is spam or ham, in the words of the served model, or unsure. Nothing is taken of a file with a bad row.
    """
    given = _read(file, current_inference().registry.labels())
    new, unknown = give_reviews(current_app.extensions["engine"], given, "import", "import")
    first = f", {shown(unknown[0])} the first of them" if unknown else ""
    click.echo(f"{new:,} new, {len(given) - new - len(unknown):,} as before, {len(unknown):,} unknown{first}.")
    if unknown and len(unknown) == len(given):
        click.get_current_context().exit(1)


def _read(source: Path, labels: Labels) -> dict[str, str]:
    """Return the label of each prediction id; raises BadData, naming the line."""
    words = {word: "spam" if is_spam else "ham" for word, is_spam in read_meanings(labels).items()} | {UNSURE: UNSURE}
    given: dict[str, str] = {}
    with open_table(source) as table:
        id_at, label_at = table.find(("prediction_id", "id")), table.find(("true_label",))
        if id_at is None or label_at is None:
            raise BadData(f"{table.name}, line 1: the file must begin with the names of its columns: id,true_label")
        for line, values, error, *_ in table.read([id_at, label_at]):
            prediction_id, word = (as_text(value).strip() for value in values or ("", ""))
            if not error and not word:
                continue  # not labelled yet
            prediction_id, label = prediction_id.lower(), words.get(normalise(word))
            if not error and not (prediction_id and prediction_id.isprintable() and label):
                error = f"each row is an id and {labels.spam}, {labels.ham} or {UNSURE}."
            if not error and given.setdefault(prediction_id, str(label)) != label:
                error = f"the same id has {labels.word(given[prediction_id])} in a row before."
            if error:
                raise BadData(f"{table.name}, line {line}: {shown(error, 300)} Nothing was stored.")
    return given

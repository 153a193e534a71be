"""Takes true labels from a file into the log: all of them, or none."""

import csv
import datetime as dt
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TextIO

import sqlalchemy as sa

from webapp.errors import BadData
from webapp.extras.review.reviews import TRUE_LABELS, newest_verdict
from webapp.log.database import write_transaction
from webapp.log.ids import new_id
from webapp.log.tables import Row, predictions, reviews
from webapp.log.writer import KEYS_AT_ONCE

SHOWN_UNKNOWN = 5
REVIEWER = QUEUE = "import"
AS_STORED = {label: label for label in TRUE_LABELS}


class Imported(NamedTuple):
    """How many predictions got a label, got another than before, have it already, and how many do not exist."""

    new: int
    changed: int
    same: int
    unknown: int
    unknown_ids: list[str]  # the first of them


def import_reviews(engine: sa.Engine, file: TextIO, labels: Mapping[str, str] = AS_STORED) -> Imported:
    """Store the labels of a CSV file with the columns id and true_label, as the newest verdict on each prediction.

    `labels` says which label is meant by each word that the file may use. Raises BadData,
    naming the line, or LogUnavailable; then nothing is stored.
    """
    given: dict[str, str] = {}
    for line, prediction_id, label in _read(file, labels):
        if given.setdefault(prediction_id, label) != label:
            raise BadData(f"line {line}: this id is in the file with another label too. Nothing was stored.")
    before: dict[str, str | None] = {}
    verdict = sa.select(predictions.c.id, newest_verdict(predictions.c.id))
    ids = list(given)
    with engine.connect() as connection:
        for start in range(0, len(ids), KEYS_AT_ONCE):
            asked = predictions.c.id.in_(ids[start : start + KEYS_AT_ONCE])
            before |= {row[0]: row[1] for row in connection.execute(verdict.where(asked))}
    now = dt.datetime.now(dt.UTC)
    rows: list[Row] = [
        {
            "id": new_id(),
            "created_at": now,
            "prediction_id": id_,
            "reviewer": REVIEWER,
            "true_label": given[id_],
            "queue": QUEUE,
        }
        for id_ in ids
        if id_ in before and before[id_] != given[id_]
    ]
    if rows:
        with write_transaction(engine, no_timeout=True) as connection:
            connection.execute(sa.insert(reviews), rows)
    new = sum(before[row["prediction_id"]] is None for row in rows)
    unknown = [id_ for id_ in ids if id_ not in before]
    return Imported(new, len(rows) - new, len(before) - len(rows), len(unknown), unknown[:SHOWN_UNKNOWN])


def _read(file: TextIO, labels: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, prediction id, label) of each row."""
    reader = csv.DictReader(file)
    try:
        if not {"id", "true_label"} <= set(reader.fieldnames or ()):
            raise BadData("line 1: the file must begin with the names of its columns: id,true_label")
        for row in reader:
            prediction_id, word = ((row[name] or "").strip() for name in ("id", "true_label"))
            if not prediction_id or word not in labels:
                first, second, third = labels
                raise BadData(
                    f"line {reader.line_num}: each row is an id and {first}, {second} or {third}, such as "
                    f"019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b,{second}. Nothing was stored."
                )
            yield reader.line_num, prediction_id, labels[word]
    except csv.Error as error:
        raise BadData(f"line {reader.line_num}: this is no CSV ({error}). Nothing was stored.") from error

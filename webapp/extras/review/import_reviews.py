"""Takes true labels from a file into the log: all of them, or none."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

import sqlalchemy as sa

from webapp.errors import BadData
from webapp.extras.review.reviews import TRUE_LABELS, newest_verdict
from webapp.log.database import write_transaction
from webapp.log.ids import new_id
from webapp.log.tables import Row, predictions, reviews
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.files import normalise, open_table

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

    @property
    def unknown_only(self) -> bool:
        """Return whether the file knows no prediction of this log."""
        return self.unknown > 0 and self.new + self.changed + self.same == 0


def import_reviews(engine: sa.Engine, source: Path | BinaryIO, labels: Mapping[str, str] = AS_STORED) -> Imported:
    """Store the labels of a table with the columns id and true_label, as the newest verdict on each prediction.

    `labels` says which label is meant by each word that the file may use. Raises BadData,
    naming the line, or LogUnavailable; then nothing is stored.
    """
    given: dict[str, str] = {}
    for line, prediction_id, label in _read(source, labels):
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


def _read(source: Path | BinaryIO, labels: Mapping[str, str]) -> Iterator[tuple[int, str, str]]:
    """Yield (line, prediction id, label) of each row."""
    with closing(open_table(source)) as table:
        columns = [table.find(None, names, "") for names in (("id", "prediction_id"), ("true_label",))]
        positions = [at for at in columns if at is not None]
        if len(positions) < 2:
            raise BadData(f"{table.name}, line 1: the file must begin with the names of its columns: id,true_label")
        words = {normalise(word): label for word, label in labels.items()}
        for line, values, error, *_ in table.read(positions):
            prediction_id, word = (str(value or "").strip() for value in values or ("", ""))
            if error or not prediction_id or normalise(word) not in words:
                first, second, third = labels
                wanted = f"each row is an id and {first}, {second} or {third}, such as "
                why = error or f"{wanted}019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b,{second}."
                raise BadData(f"{table.name}, line {line}: {why} Nothing was stored.")
            yield line, prediction_id, words[normalise(word)]

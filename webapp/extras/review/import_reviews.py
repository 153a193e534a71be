"""Takes true labels from a file into the log: all of them, or none."""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import sqlalchemy as sa

from webapp.errors import BadData
from webapp.extras.review.reviews import TRUE_LABELS, note_disagreements
from webapp.log.ids import new_id
from webapp.log.tables import predictions, reviews
from webapp.model.files import normalise, open_table

CHUNK_ROWS = 10_000  # so that memory stays the same, however long the file is
SHOWN_UNKNOWN = 5
REVIEWER = QUEUE = "import"
AS_STORED = {label: label for label in TRUE_LABELS}

given = sa.Table(
    "given_reviews",
    sa.MetaData(),
    sa.Column("line", sa.Integer, primary_key=True),
    sa.Column("review_id", sa.String(36)),
    sa.Column("prediction_id", sa.Text, index=True),
    sa.Column("true_label", sa.Text),
    prefixes=["TEMPORARY"],
)


class Imported(NamedTuple):
    """How many predictions got a label, got another than the last import's, the same, and how many do not exist."""

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
    """Store the labels of a file with the columns id and true_label; they replace those of earlier imports.

    `labels` says which label is meant by each word that the file may use.
    The rows go into a temporary table first, so that the log is locked only while they are copied. Raises BadData,
    naming the line; then nothing is stored.
    """
    with engine.execution_options(no_timeout=True).connect() as connection:
        with connection.begin():
            given.create(connection)
        try:
            with connection.begin():
                rows = _read(source, labels)
                while chunk := list(islice(rows, CHUNK_ROWS)):
                    connection.execute(sa.insert(given), chunk)
                _refuse_contradictions(connection)
                _drop_repeated(connection)
                unknown, first = _take_out_unknown(connection)
            connection.execution_options(transaction="write")
            with connection.begin():
                new, changed, same = _copy(connection)
            return Imported(new, changed, same, unknown, first)
        finally:
            connection.execution_options(transaction=None)
            with connection.begin():
                given.drop(connection)


def _read(source: Path | BinaryIO, labels: Mapping[str, str]) -> Iterator[dict[str, Any]]:
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
            row = {"line": line, "review_id": new_id()}
            yield {**row, "prediction_id": prediction_id, "true_label": words[normalise(word)]}


def _refuse_contradictions(connection: sa.Connection) -> None:
    labels = sa.func.min(given.c.true_label), sa.func.max(given.c.true_label)
    twice = sa.select(sa.func.max(given.c.line)).group_by(given.c.prediction_id).having(labels[0] != labels[1])
    line = connection.execute(sa.select(sa.func.min(twice.subquery().c[0]))).scalar()
    if line is not None:
        raise BadData(f"line {line}: this id is in the file with another label too. Nothing was stored.")


def _drop_repeated(connection: sa.Connection) -> None:
    earlier = given.alias("earlier")
    is_repeated = sa.exists().where(earlier.c.prediction_id == given.c.prediction_id, earlier.c.line < given.c.line)
    connection.execute(sa.delete(given).where(is_repeated))


def _take_out_unknown(connection: sa.Connection) -> tuple[int, list[str]]:
    """Return how many ids have no prediction, and the first of them, and drop them."""
    is_unknown = ~sa.exists().where(predictions.c.id == given.c.prediction_id)
    shown = sa.select(given.c.prediction_id).where(is_unknown).order_by(given.c.line).limit(SHOWN_UNKNOWN)
    first = list(connection.execute(shown).scalars())
    return connection.execute(sa.delete(given).where(is_unknown)).rowcount, first


def _copy(connection: sa.Connection) -> tuple[int, int, int]:
    """Copy the given labels into the reviews; return how many are new, changed and the same."""
    of_import = (reviews.c.prediction_id == given.c.prediction_id, reviews.c.reviewer == REVIEWER)
    same = connection.execute(
        sa.delete(given).where(sa.exists().where(*of_import, reviews.c.true_label == given.c.true_label))
    ).rowcount
    changed = connection.execute(
        sa.delete(reviews).where(
            reviews.c.reviewer == REVIEWER, reviews.c.prediction_id.in_(sa.select(given.c.prediction_id))
        )
    ).rowcount
    added = connection.execute(
        sa.insert(reviews).from_select(
            ["id", "created_at", "prediction_id", "reviewer", "true_label", "queue", "overruled"],
            sa.select(
                given.c.review_id,
                sa.literal(dt.datetime.now(dt.UTC), reviews.c.created_at.type),
                given.c.prediction_id,
                sa.literal(REVIEWER),
                given.c.true_label,
                sa.literal(QUEUE),
                sa.literal(0),
            ).order_by(given.c.line),
        ),
        execution_options={"preserve_rowcount": True},
    ).rowcount
    of_others = sa.exists().where(reviews.c.prediction_id == given.c.prediction_id, reviews.c.reviewer != REVIEWER)
    note_disagreements(connection, sa.select(given.c.prediction_id).where(of_others))
    return added - changed, changed, same

"""Takes true labels from a file into the log: all of them, or none."""

import csv
import datetime as dt
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple, TextIO

import sqlalchemy as sa

from webapp.errors import BadData
from webapp.log.reviews import TRUE_LABELS
from webapp.log.tables import new_id, predictions, reviews

CHUNK_ROWS = 10_000  # so that memory stays the same, however long the file is
SHOWN_UNKNOWN = 5
REVIEWER = QUEUE = "import"

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


def import_reviews(engine: sa.Engine, file: TextIO) -> Imported:
    """Store the labels of a CSV file with the columns id and true_label; they replace those of earlier imports.

    The rows go into a temporary table first, so that the log is locked only while they are copied. Raises BadData,
    naming the line; then nothing is stored.
    """
    with engine.connect() as connection:
        with connection.begin():
            given.create(connection)
        try:
            with connection.begin():
                rows = _read(file)
                while chunk := list(islice(rows, CHUNK_ROWS)):
                    connection.execute(sa.insert(given), chunk)
                _refuse_contradictions(connection)
            connection.execution_options(begin="BEGIN IMMEDIATE")
            with connection.begin():
                return _copy(connection)
        finally:
            connection.execution_options(begin="BEGIN")
            with connection.begin():
                given.drop(connection)


def _read(file: TextIO) -> Iterator[dict[str, Any]]:
    reader = csv.DictReader(file)
    try:
        if not {"id", "true_label"} <= set(reader.fieldnames or ()):
            raise BadData("line 1: the file must begin with the names of its columns: id,true_label")
        for row in reader:
            prediction_id, label = ((row[name] or "").strip() for name in ("id", "true_label"))
            if not prediction_id or label not in TRUE_LABELS:
                raise BadData(
                    f"line {reader.line_num}: each row is an id and spam, ham or unsure, such as "
                    "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b,ham. Nothing was stored."
                )
            yield {"line": reader.line_num, "review_id": new_id(), "prediction_id": prediction_id, "true_label": label}
    except csv.Error as error:
        raise BadData(f"line {reader.line_num}: this is no CSV ({error}). Nothing was stored.") from error


def _refuse_contradictions(connection: sa.Connection) -> None:
    labels = sa.func.min(given.c.true_label), sa.func.max(given.c.true_label)
    twice = sa.select(sa.func.max(given.c.line)).group_by(given.c.prediction_id).having(labels[0] != labels[1])
    line = connection.execute(sa.select(sa.func.min(twice.subquery().c[0]))).scalar()
    if line is not None:
        raise BadData(f"line {line}: this id is in the file with another label too. Nothing was stored.")


def _copy(connection: sa.Connection) -> Imported:
    exists = sa.exists().where(predictions.c.id == given.c.prediction_id)
    unknown = sa.select(given.c.prediction_id).where(~exists).distinct()
    known = sa.select(sa.func.min(given.c.line)).where(exists).group_by(given.c.prediction_id)
    earlier = sa.exists().where(reviews.c.prediction_id == given.c.prediction_id, reviews.c.reviewer == REVIEWER)
    changed = connection.execute(
        sa.delete(reviews).where(
            reviews.c.reviewer == REVIEWER,
            sa.exists().where(
                given.c.prediction_id == reviews.c.prediction_id, given.c.true_label != reviews.c.true_label
            ),
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
            ).where(given.c.line.in_(known), ~earlier),
        )
    ).rowcount

    def count(ids: sa.Select[Any]) -> int:
        return connection.execute(sa.select(sa.func.count()).select_from(ids.subquery())).scalar_one()

    shown = connection.execute(unknown.limit(SHOWN_UNKNOWN)).scalars().all()
    return Imported(added - changed, changed, count(known) - added, count(unknown), list(shown))

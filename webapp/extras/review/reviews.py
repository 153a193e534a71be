"""What people said of predictions, and the truth that follows from it.

One verdict a reviewer: who changes their mind replaces their own, and somebody else's different verdict is kept beside
it as a disagreement. The truth of a prediction is the one label that its reviewers agree on; "unsure" is no label, and
an overruled verdict no longer counts.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

from webapp.errors import NotFound
from webapp.log.database import write_transaction
from webapp.log.ids import new_id
from webapp.log.tables import Row, claims, disagreements, predictions, reviews

TRUE_LABELS = ("spam", "ham", "unsure")

has_label = (reviews.c.true_label != "unsure") & (reviews.c.overruled == 0)
_first, _last = sa.func.min(reviews.c.true_label), sa.func.max(reviews.c.true_label)  # differ if there are two labels
one_label = _first == _last


def truth_of(prediction_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """Return, as SQL, the label that the reviewers of a prediction agree on; NULL where there is none or two."""
    return (
        sa.select(sa.case((one_label, _first)))
        .where(reviews.c.prediction_id == prediction_id, has_label)
        .scalar_subquery()
    )


def is_reviewed(prediction_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return, as SQL, whether anybody said anything of a prediction, be it "unsure"."""
    return sa.exists().where(reviews.c.prediction_id == prediction_id)


def is_disputed(prediction_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return, as SQL, whether the reviewers of a prediction contradict each other."""
    return prediction_id.in_(sa.select(disagreements.c.prediction_id))


def note_disagreements(connection: sa.Connection, prediction_ids: Sequence[str] | sa.Select[Any]) -> None:
    """Bring the table of disagreements up to date after the reviews of some predictions changed."""
    two_labels = (
        sa.select(reviews.c.prediction_id)
        .where(has_label, reviews.c.prediction_id.in_(prediction_ids))
        .group_by(reviews.c.prediction_id)
        .having(_first != _last)
    )
    connection.execute(sa.delete(disagreements).where(disagreements.c.prediction_id.in_(prediction_ids)))
    connection.execute(sa.insert(disagreements).from_select(["prediction_id"], two_labels))


def give_review(engine: sa.Engine, prediction_id: str, reviewer: str, true_label: str, queue: str) -> Row:
    """Store what a reviewer says of a prediction, in place of what they said before; raises NotFound, LogUnavailable.

    A label given in the queue "disagreements" settles the matter: whoever said otherwise is overruled, kept and shown.
    """
    row = Row(
        id=new_id(),
        created_at=dt.datetime.now(dt.UTC),
        prediction_id=prediction_id,
        reviewer=reviewer,
        true_label=true_label,
        queue=queue,
        overruled=0,
    )
    of_this = reviews.c.prediction_id == prediction_id
    with write_transaction(engine) as connection:
        if not connection.execute(sa.select(predictions.c.id).where(predictions.c.id == prediction_id)).first():
            raise NotFound("There is no prediction with this id. Old predictions may have been purged.")
        connection.execute(sa.delete(reviews).where(of_this, reviews.c.reviewer == reviewer))
        if queue == "disagreements" and true_label != "unsure":
            otherwise = sa.case((reviews.c.true_label.in_([true_label, "unsure"]), 0), else_=1)
            connection.execute(sa.update(reviews).where(of_this).values(overruled=otherwise))
        connection.execute(sa.insert(reviews), row)
        note_disagreements(connection, [prediction_id])
        connection.execute(
            sa.delete(claims).where(claims.c.prediction_id == prediction_id, claims.c.reviewer == reviewer)
        )
    return row


def undo(engine: sa.Engine, reviewer: str) -> str | None:
    """Take back this reviewer's newest review, and what it settled; return its prediction's id, or None."""
    newest = sa.select(reviews).where(reviews.c.reviewer == reviewer).order_by(reviews.c.id.desc()).limit(1)
    with write_transaction(engine) as connection:
        row = connection.execute(newest).first()
        if row is None:
            return None
        connection.execute(sa.delete(reviews).where(reviews.c.id == row.id))
        if row.queue == "disagreements":
            connection.execute(
                sa.update(reviews).where(reviews.c.prediction_id == row.prediction_id).values(overruled=0)
            )
        note_disagreements(connection, [row.prediction_id])
    return str(row.prediction_id)


def reviews_of(engine: sa.Engine, prediction_ids: Sequence[str]) -> dict[str, list[Row]]:
    """Return the reviews of some predictions, oldest first, by the prediction's id."""
    found: dict[str, list[Row]] = defaultdict(list)
    query = sa.select(reviews).where(reviews.c.prediction_id.in_(prediction_ids)).order_by(reviews.c.id)
    with engine.connect() as connection:
        for row in connection.execute(query).mappings():
            found[row["prediction_id"]].append(cast(Row, dict(row)))
    return found


def is_disagreement(engine: sa.Engine, prediction_id: str) -> bool:
    """Return whether the reviewers of a prediction contradict each other."""
    with engine.connect() as connection:
        return connection.execute(sa.select(is_disputed(sa.literal(prediction_id)))).scalar_one() == 1

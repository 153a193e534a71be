"""What people said of predictions, and the truth that follows: of each prediction the newest verdict counts.

Earlier verdicts stay as rows, so that taking the newest back returns to the one before it. "unsure" is a verdict, but
no label.
"""

import datetime as dt
import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import NotFound
from webapp.log.database import write_transaction
from webapp.log.tables import new_id, predictions, reviews
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.labels import UNSURE

TRUE_LABELS = ("spam", "ham", UNSURE)
SURE = 0.99  # a review that contradicts so sure a verdict has to be confirmed before it teaches

_verdicts = reviews.alias("verdicts")  # of its own, so that a query over reviews can ask for the newest of each too


def newest_verdict(prediction_id: sa.ColumnElement[str], column: str = "true_label") -> sa.ScalarSelect[Any]:
    """Return, as SQL, the newest verdict on a prediction, be it "unsure"; NULL where there is none."""
    of_this = sa.select(_verdicts.c[column]).where(_verdicts.c.prediction_id == prediction_id)
    return of_this.order_by(_verdicts.c.id.desc()).limit(1).scalar_subquery()


def truth_of(prediction_id: sa.ColumnElement[str]) -> sa.ColumnElement[Any]:
    """Return, as SQL, what a prediction's message is according to the newest verdict; NULL where that is unsure."""
    return sa.func.nullif(newest_verdict(prediction_id), UNSURE)


def has_reviews(engine: sa.Engine) -> bool:
    """Return whether anybody has reviewed any prediction."""
    with engine.connect() as connection:
        return connection.execute(sa.select(reviews.c.id).limit(1)).first() is not None


def give_review(engine: sa.Engine, prediction_id: str, reviewer: str, true_label: str, queue: str) -> None:
    """Store what a reviewer says of a prediction; raises NotFound."""
    _, unknown = give_reviews(engine, {prediction_id: true_label}, reviewer, queue)
    if unknown:
        raise NotFound("There is no prediction with this id. Old predictions may have been purged.")


def give_reviews(engine: sa.Engine, true_labels: Mapping[str, str], reviewer: str, queue: str) -> tuple[int, list[str]]:
    """Store what a reviewer says of predictions; what they said last is not stored again.

    Many are stored in small steps, so that others can write meanwhile; if that is interrupted, say it all again.
    Returns how many verdicts were new, and the ids that no prediction has.
    """
    ids, new, unknown, now, took = list(true_labels), 0, [], dt.datetime.now(dt.UTC), 0.0
    newest = sa.select(predictions.c.id, reviews.c.reviewer, reviews.c.true_label, reviews.c.queue).select_from(
        predictions.outerjoin(reviews, reviews.c.id == newest_verdict(predictions.c.id, "id"))
    )
    for start in range(0, len(ids), KEYS_AT_ONCE):
        time.sleep(took)  # the turn of those who write
        some, started = ids[start : start + KEYS_AT_ONCE], time.monotonic()
        with write_transaction(engine) as connection:  # a double click's requests take turns
            found = connection.execute(newest.where(predictions.c.id.in_(some)))
            said: dict[str, list[str | None]] = {id_: verdict for id_, *verdict in found}
            rows = [
                {"id": new_id(), "created_at": now, "prediction_id": id_}
                | {"reviewer": reviewer, "true_label": true_labels[id_], "queue": queue}
                for id_ in some
                if id_ in said and said[id_] != [reviewer, true_labels[id_], queue]
            ]
            if rows:
                connection.execute(sa.insert(reviews), rows)
        took = time.monotonic() - started
        new += len(rows)
        unknown += [id_ for id_ in some if id_ not in said]
    return new, unknown


def last_review(engine: sa.Engine, reviewer: str) -> str | None:
    """Return the id of this reviewer's newest review."""
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.max(reviews.c.id)).where(reviews.c.reviewer == reviewer)).scalar()


def undo(engine: sa.Engine, reviewer: str, review_id: str) -> str | None:
    """Delete a review of this reviewer, so that the one before it counts again; return its prediction, if it was there.

    A double click asks twice for the same one.
    """
    mine = (reviews.c.id == review_id) & (reviews.c.reviewer == reviewer)
    with write_transaction(engine) as connection:
        prediction_id = connection.execute(sa.select(reviews.c.prediction_id).where(mine)).scalar()
        connection.execute(sa.delete(reviews).where(mine))
    return prediction_id


def verdict_on(engine: sa.Engine, prediction_id: str) -> str | None:
    """Return the newest verdict on a prediction."""
    with engine.connect() as connection:
        return connection.execute(sa.select(newest_verdict(sa.literal(prediction_id)))).scalar()


# --- What there is to learn from ---


class ReviewedMessage(NamedTuple):
    """A message of the log whose text is kept and whose truth is known."""

    prediction_id: str
    review_id: str  # of the newest review: it grows with time
    text: str
    true_label: str
    is_doubtful: bool  # a single review contradicts a very sure verdict


def reviewed_messages(engine: sa.Engine, other_versions: Collection[str] = ()) -> list[ReviewedMessage]:
    """Return the reviewed messages that can teach or judge a model, of all queues, the newest review first.

    Without those of `other_versions`: these have other labels, so the reviews answer another question.
    """
    shown = predictions.c
    sureness = sa.case((shown.label == "spam", shown.spam_probability), else_=1 - shown.spam_probability)
    said = sa.select(sa.func.count()).where(_verdicts.c.prediction_id == shown.id)
    said_once = said.where(_verdicts.c.true_label == reviews.c.true_label).scalar_subquery() == 1
    is_doubtful = sa.and_(reviews.c.true_label != shown.label, sureness >= SURE, said_once)
    query = (
        sa.select(shown.id, reviews.c.id, shown.text, reviews.c.true_label, is_doubtful)
        .join(reviews, reviews.c.prediction_id == predictions.c.id)
        .where(reviews.c.id == newest_verdict(reviews.c.prediction_id, "id"), reviews.c.true_label != UNSURE)
        .where(shown.text.is_not(None), shown.model_version.not_in(other_versions))
        .order_by(reviews.c.id.desc())
    )
    with engine.connect() as connection:
        return [ReviewedMessage(*row) for row in connection.execute(query)]

"""Which reviewed messages there are to learn from, and which version has learnt which.

A reviewed message that a version was fitted on says nothing about how good that version is. So it is noted here, for
that version and all that descend from it, and left out wherever their accuracy is computed (`is_fitted`).
"""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from webapp.log.database import write_transaction
from webapp.log.tables import fitted_reviews, predictions, reviews


class ReviewedMessage(NamedTuple):
    """A message of the log whose truth is known."""

    prediction_id: str
    review_id: str  # of the newest review: it grows with time
    text: str | None  # None where the log was told to keep no texts
    true_label: str
    model_version: str  # that judged it


def reviewed_messages(engine: sa.Engine) -> list[ReviewedMessage]:
    """Return the messages whose truth is known, whichever queue they came from, the one reviewed last first."""
    newest = sa.select(sa.func.max(reviews.c.id)).group_by(reviews.c.prediction_id)
    query = (
        sa.select(predictions.c.id, reviews.c.id, predictions.c.text, reviews.c.true_label, predictions.c.model_version)
        .join(reviews, reviews.c.prediction_id == predictions.c.id)
        .where(reviews.c.id.in_(newest), reviews.c.true_label != "unsure")
        .order_by(reviews.c.id.desc())
    )
    with engine.connect() as connection:
        return [ReviewedMessage(*row) for row in connection.execute(query)]


def fitted_by(engine: sa.Engine, model_version: str) -> set[str]:
    """Return the ids of the reviewed predictions that a version, or one that it descends from, was fitted on."""
    query = sa.select(fitted_reviews.c.prediction_id).where(fitted_reviews.c.model_version == model_version)
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())


def note_fitted(engine: sa.Engine, model_version: str, prediction_ids: Iterable[str]) -> None:
    """Note which reviewed predictions a version was fitted on, in place of what was noted; raises LogUnavailable."""
    rows = [{"model_version": model_version, "prediction_id": id_} for id_ in prediction_ids]
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(fitted_reviews).where(fitted_reviews.c.model_version == model_version))
        if rows:
            connection.execute(sa.insert(fitted_reviews), rows)


def is_fitted(prediction_id: sa.ColumnElement[str], model_version: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Return, as SQL, whether a version was fitted on the review of a prediction."""
    return sa.exists().where(
        fitted_reviews.c.model_version == model_version, fitted_reviews.c.prediction_id == prediction_id
    )

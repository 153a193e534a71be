"""Labelled messages to compare versions on: what people reviewed, or the project's own set."""

import sqlalchemy as sa

from webapp.config import ROOT
from webapp.log.listing import Filters, list_predictions
from webapp.log.tables import fitted_reviews
from webapp.model.datasets import Example, drop_copies, read_labelled

MOST = 5_000  # reviewed messages, the newest: more would take seconds and hardly tell more
OWN = ROOT / "webapp" / "model" / "messages.csv"


def reviewed_messages(engine: sa.Engine, *versions: str) -> list[Example]:
    """Return the reviewed messages whose truth and text are known, without those that a version was fitted on.

    They come from all queues, so they are harder than the traffic: fair for a comparison, too low as an accuracy.
    """
    fitted = sa.select(fitted_reviews.c.prediction_id).where(fitted_reviews.c.model_version.in_(versions))
    with engine.connect() as connection:
        known = set(connection.execute(fitted).scalars())
    rows = list_predictions(engine, Filters(reviewed=True), limit=MOST).rows
    return drop_copies(
        Example(row["text"], row["true_label"] == "spam", "reviews")
        for row in rows
        if row["text"] and row["true_label"] and row["id"] not in known
    )


def own_messages() -> list[Example]:
    """Return the project's own messages. Most versions have learnt from them, so their figures here are too good."""
    return drop_copies(read_labelled(OWN).examples)

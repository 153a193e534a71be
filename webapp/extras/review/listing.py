"""Lists the log, newest first, a page at a time, so that every page is as fast as the first.

Pages go by key: a page begins below the last id of the page before, which the index finds at once. A filter that fits
hardly any row would still read the whole log to fill a page, so a page looks at LOOKS_AT predictions at most.
"""

import datetime as dt
from typing import NamedTuple

import sqlalchemy as sa

from webapp.extras.review.reviews import is_reviewed, truth_of
from webapp.log.ids import first_id, moment_of
from webapp.log.tables import Row, predictions, reviews

LOOKS_AT = 20_000


class Filters(NamedTuple):
    """What is looked for; None is anything. `text` is found anywhere in a message, in capitals or not (A to Z)."""

    text: str | None = None
    label: str | None = None
    source: str | None = None
    model_version: str | None = None
    since: dt.datetime | None = None
    until: dt.datetime | None = None
    reviewed: bool | None = None


class Page(NamedTuple):
    """Predictions with their true_label; `before` begins the next page, None if this is the last.

    `looked_back_to` is the time down to which this page looked before it gave up filling itself, else None.
    """

    rows: list[Row]
    before: str | None
    looked_back_to: dt.datetime | None


def list_predictions(engine: sa.Engine, filters: Filters, before: str | None = None, limit: int = 50) -> Page:
    """Return the predictions that pass the filters and come before an id, newest first."""
    # What is reviewed is little of much: then the reviews are looked through, not the log.
    key = reviews.c.prediction_id if filters.reviewed else predictions.c.id
    within = [
        *([key < before] if before else []),
        *([key >= first_id(filters.since)] if filters.since else []),
        *([key < first_id(filters.until)] if filters.until else []),
    ]
    passes = [
        predictions.c[name] == value
        for name in ("label", "source", "model_version")
        if (value := getattr(filters, name)) is not None
    ]
    if filters.text:
        passes.append(predictions.c.text.icontains(filters.text, autoescape=True))  # % and _ mean themselves
    if filters.reviewed is False:
        passes.append(~is_reviewed(predictions.c.id))
    last = sa.select(key).distinct().where(*within).order_by(key.desc()).offset(LOOKS_AT - 1).limit(1)
    with engine.connect() as connection:
        bound: str | None = connection.execute(last).scalar()  # the last one that this page looks at
        if bound:
            within.append(key >= bound)
        found = connection.execute(
            sa.select(predictions, truth_of(predictions.c.id).label("true_label"))
            .where(*([predictions.c.id.in_(sa.select(key).where(*within))] if filters.reviewed else within))
            .where(*passes)
            .order_by(predictions.c.id.desc())
            .limit(limit + 1)
        )
        rows = [dict(row) for row in found.mappings()]
    if len(rows) > limit:
        return Page(rows[:limit], rows[limit - 1]["id"], None)
    return Page(rows, bound, moment_of(bound) if bound else None)

"""What a reviewer looks at: the next messages of each queue, and the list of all."""

import datetime as dt
from contextlib import suppress
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from webapp.api.schemas import LABEL, GivenLabel
from webapp.extras.review.reviews import truth_of
from webapp.log.tables import Row, first_id, predictions, reviews, sample_members, samples

QUEUES = {  # and what they are called
    "random": "Random sample",
    "uncertain": "Most uncertain",
    "reported": "Reported as wrong",
    "challenger": "Challenger differs",
}
LISTS = QUEUES | {"all": "All messages"}
BLIND = ("random", "challenger")  # there a verdict that is seen first would sway the reviewer, and so the figures
COUNT_UP_TO = 1_000  # more need not be counted: it is "1,000+"
AHEAD = 10  # messages that a reviewer sees coming
LOOKS_AT = 20_000  # predictions, the newest, for the most uncertain among them
Trial = tuple[str, str]  # the version that is tried, "" for none, and the served one


def _read_day(text: str) -> dt.date:
    with suppress(ValueError):
        return dt.date.fromisoformat(text)
    raise ValueError("Write it as 2026-01-31")  # Python's own words would quote what was sent: see failures.what


Day = Annotated[dt.date, BeforeValidator(_read_day)]


def upcoming(engine: sa.Engine, queue: str, limit: int = AHEAD, trial: Trial = ("", "")) -> list[Row]:
    """Return the next unreviewed messages of a queue, in the order in which they are to be reviewed."""
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(_waiting(queue, trial).limit(limit)).mappings()]


def count_waiting(engine: sa.Engine, trial: Trial = ("", "")) -> dict[str, int]:
    """Return how many messages wait in each queue, counted up to COUNT_UP_TO + 1."""
    some = [_waiting(queue, trial).order_by(None).limit(COUNT_UP_TO + 1).subquery() for queue in QUEUES]
    counts = [sa.select(sa.func.count(rows.c.id)).scalar_subquery() for rows in some]
    with engine.connect() as connection:
        return dict(zip(QUEUES, connection.execute(sa.select(*counts)).one(), strict=True))


def _waiting(queue: str, trial: Trial) -> sa.Select[Any]:
    """Return, as SQL, the unreviewed messages of a queue, the next one first."""
    column = predictions.c
    rows = sa.select(predictions).where(~sa.exists().where(reviews.c.prediction_id == column.id))
    match queue:
        case "random":
            newest = sa.select(sa.func.max(samples.c.id)).scalar_subquery()
            rows = rows.join(sample_members, sample_members.c.prediction_id == column.id)
            return rows.where(sample_members.c.sample_id == newest).order_by(sample_members.c.position)
        case "uncertain":
            # Bounded by an id, as SQLite then needs to read no more of the rows than it has to.
            last = sa.select(column.id).order_by(column.id.desc()).offset(LOOKS_AT - 1).limit(1).scalar_subquery()
            rows = rows.where(column.id >= sa.func.coalesce(last, ""))
            return rows.order_by(sa.func.abs(column.spam_probability - column.threshold))
        case "reported":
            return rows.where(column.sender_report == "wrong").order_by(column.id.desc())
        case "challenger":  # messages of earlier trials say nothing about this one
            # In one expression, else SQLite would walk over all messages that the challenger ever scored.
            of_trial = column.challenger_version + column.model_version == "".join(trial)
            return rows.where(column.challenger_label != column.label, of_trial).order_by(column.id.desc())
    raise ValueError(queue)


class Filters(BaseModel):
    """What is looked for in the list, by the page as by the API, and where a page of it begins."""

    model_config = ConfigDict(extra="forbid")  # a filter with a slip in its name must not let everything through

    text: str | None = Field(default=None, description="Found anywhere in the message, in capitals or not (A to Z).")
    label: GivenLabel | None = Field(default=None, description=LABEL)
    model_version: str | None = None
    since: Day | None = Field(default=None, description="From this day on (UTC), such as 2026-01-31.")
    until: Day | None = Field(default=None, description="Before this day.")
    reviewed: bool | None = Field(default=None, description="Whether anybody has reviewed it.")
    before: str | None = Field(default=None, max_length=36, description="An id: only older predictions. See `next`.")
    limit: int = Field(default=50, ge=1, le=100)


def list_predictions(engine: sa.Engine, filters: Filters) -> tuple[list[Row], str | None]:
    """Return the predictions that pass the filters, newest first, and the id before which the next page begins.

    A page begins below the last id of the page before, which the index finds at once.
    """
    column = predictions.c
    query = sa.select(predictions, truth_of(column.id).label("true_label")).order_by(column.id.desc())
    if filters.before:
        query = query.where(column.id < filters.before.lower())  # a UUID is the same in capitals
    if filters.since:
        query = query.where(column.id >= _first_of(filters.since))
    if filters.until:
        query = query.where(column.id < _first_of(filters.until))
    if filters.label:
        query = query.where(column.label == filters.label)
    if filters.model_version:
        query = query.where(column.model_version == filters.model_version)
    if filters.text:
        query = query.where(column.text.icontains(filters.text, autoescape=True))  # % and _ mean themselves
    if filters.reviewed is not None:
        is_among = column.id.in_(sa.select(reviews.c.prediction_id))  # what is reviewed is little of much
        query = query.where(is_among if filters.reviewed else ~is_among)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query.limit(filters.limit + 1)).mappings()]
    page = rows[: filters.limit]
    return page, page[-1]["id"] if len(rows) > len(page) else None


def _first_of(day: dt.date) -> str:
    return first_id(dt.datetime.combine(day, dt.time(), dt.UTC))

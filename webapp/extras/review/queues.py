"""What a reviewer looks at next: the queues, and who has which message open just now."""

import datetime as dt
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa

from webapp.extras.review.reviews import is_disputed, is_reviewed
from webapp.log.database import write_transaction
from webapp.log.tables import Row, claims, predictions, reviews, sample_members, samples

QUEUES = ("random", "uncertain", "reported", "challenger", "disagreements")
CLAIM_LASTS = dt.timedelta(minutes=2)  # how long a message that somebody has open is not offered to others
NEWEST = 20_000  # predictions among which the most uncertain are looked for
COUNT_UP_TO = 1_000  # more need not be counted: it is "1,000+"
AHEAD = 10  # messages that a reviewer sees coming


def upcoming(
    engine: sa.Engine, queue: str, reviewer: str, sample_id: str | None = None, limit: int = AHEAD
) -> list[Row]:
    """Return the next messages of a queue for a reviewer, without those that others have open.

    `sample_id` chooses another sample than the newest for the queue "random".
    """
    ids = _in_order(queue, sample_id).where(_is_open(queue, reviewer), ~_is_claimed_by_others(reviewer)).limit(limit)
    with engine.connect() as connection:
        found = connection.execute(ids).scalars().all()
        rows = connection.execute(sa.select(predictions).where(predictions.c.id.in_(found))).mappings()
        by_id = {row["id"]: cast(Row, dict(row)) for row in rows}
    return [by_id[id_] for id_ in found if id_ in by_id]


def claim_first(engine: sa.Engine, queue: str, reviewer: str, prediction_ids: Sequence[str]) -> str | None:
    """Claim the first of some messages that is still to be reviewed and that nobody else has open; return its id.

    A reviewer has one message open: earlier claims of theirs are dropped. Raises LogUnavailable.
    """
    still_open = sa.select(predictions.c.id).where(
        predictions.c.id.in_(prediction_ids), _is_open(queue, reviewer), ~_is_claimed_by_others(reviewer)
    )
    with write_transaction(engine) as connection:
        now = dt.datetime.now(dt.UTC)
        connection.execute(sa.delete(claims).where((claims.c.expires_at <= now) | (claims.c.reviewer == reviewer)))
        free = set(connection.execute(still_open).scalars())
        first = next((id_ for id_ in prediction_ids if id_ in free), None)
        if first is not None:
            row = {"prediction_id": first, "reviewer": reviewer, "expires_at": now + CLAIM_LASTS}
            connection.execute(sa.insert(claims), row)
    return first


def is_taken(engine: sa.Engine, prediction_id: str, reviewer: str) -> bool:
    """Return whether somebody else has this message open."""
    taken = sa.select(predictions.c.id).where(predictions.c.id == prediction_id, _is_claimed_by_others(reviewer))
    with engine.connect() as connection:
        return connection.execute(taken).first() is not None


def waiting(engine: sa.Engine, reviewer: str, sample_id: str | None = None) -> dict[str, int]:
    """Return how many messages wait in each queue, counted up to COUNT_UP_TO + 1."""
    with engine.connect() as connection:
        return {
            queue: connection.execute(
                sa.select(sa.func.count()).select_from(
                    _members(queue, sample_id).where(_is_open(queue, reviewer)).limit(COUNT_UP_TO + 1).subquery()
                )
            ).scalar_one()
            for queue in QUEUES
        }


def _members(queue: str, sample_id: str | None) -> sa.Select[Any]:
    """Return the ids in a queue, in no order, be they reviewed or not."""
    ids = sa.select(predictions.c.id)
    match queue:
        case "random":
            newest = sa.select(sa.func.max(samples.c.id)).scalar_subquery()
            return ids.join(sample_members, sample_members.c.prediction_id == predictions.c.id).where(
                sample_members.c.sample_id == (sample_id or newest)
            )
        case "uncertain":
            # Bounded by an id, as SQLite then needs to read no more of the rows than it has to.
            last = sa.select(predictions.c.id).order_by(predictions.c.id.desc()).offset(NEWEST - 1).limit(1)
            return ids.where(predictions.c.id >= sa.func.coalesce(last.scalar_subquery(), ""))
        case "reported":
            return ids.where(predictions.c.sender_report == "wrong")
        case "challenger":  # where the served version and the one that was tried beside it differ
            return ids.where(predictions.c.challenger_label != predictions.c.label)
        case "disagreements":
            return ids.where(is_disputed(predictions.c.id))
    raise ValueError(queue)


def _in_order(queue: str, sample_id: str | None) -> sa.Select[Any]:
    """Return the ids in a queue in the order in which they are to be reviewed."""
    order: dict[str, sa.ColumnElement[Any]] = {
        "random": sample_members.c.position.asc(),
        "uncertain": sa.func.abs(predictions.c.spam_probability - predictions.c.threshold).asc(),
    }
    return _members(queue, sample_id).order_by(order.get(queue, predictions.c.id.desc()))


def _is_open(queue: str, reviewer: str) -> sa.ColumnElement[bool]:
    """Return, as SQL, whether a prediction still needs this reviewer; it must be in the queue anyway."""
    if queue == "disagreements":
        passed = sa.exists().where(
            reviews.c.prediction_id == predictions.c.id,
            reviews.c.reviewer == reviewer,
            reviews.c.true_label == "unsure",
        )
        return is_disputed(predictions.c.id) & ~passed
    return ~is_reviewed(predictions.c.id)


def _is_claimed_by_others(reviewer: str) -> sa.ColumnElement[bool]:
    return sa.exists().where(
        claims.c.prediction_id == predictions.c.id,
        claims.c.reviewer != reviewer,
        claims.c.expires_at > dt.datetime.now(dt.UTC),
    )

"""What a reviewer looks at next."""

from typing import Any

import sqlalchemy as sa

from webapp.extras.review.reviews import is_reviewed
from webapp.log.tables import Row, predictions, sample_members, samples

QUEUES = ("random", "uncertain", "reported", "challenger")
NEWEST = 20_000  # predictions among which the most uncertain are looked for
COUNT_UP_TO = 1_000  # more need not be counted: it is "1,000+"
AHEAD = 10  # messages that a reviewer sees coming


def upcoming(engine: sa.Engine, queue: str, limit: int = AHEAD) -> list[Row]:
    """Return the next messages of a queue that nobody has reviewed yet, in the order in which they are to be."""
    order: dict[str, sa.ColumnElement[Any]] = {
        "random": sample_members.c.position.asc(),
        "uncertain": sa.func.abs(predictions.c.spam_probability - predictions.c.threshold).asc(),
    }
    ids = _waiting(queue).order_by(order.get(queue, predictions.c.id.desc())).limit(limit)
    with engine.connect() as connection:  # the ids first: to sort whole rows would take their texts along
        found = connection.execute(ids).scalars().all()
        rows = connection.execute(sa.select(predictions).where(predictions.c.id.in_(found))).mappings()
        by_id = {row["id"]: dict(row) for row in rows}
    return [by_id[id_] for id_ in found if id_ in by_id]


def count_waiting(engine: sa.Engine) -> dict[str, int]:
    """Return how many messages wait in each queue, counted up to COUNT_UP_TO + 1."""
    with engine.connect() as connection:
        return {
            queue: connection.execute(
                sa.select(sa.func.count()).select_from(_waiting(queue).limit(COUNT_UP_TO + 1).subquery())
            ).scalar_one()
            for queue in QUEUES
        }


def _waiting(queue: str) -> sa.Select[Any]:
    ids = sa.select(predictions.c.id).where(~is_reviewed(predictions.c.id))
    match queue:
        case "random":
            newest = sa.select(sa.func.max(samples.c.id)).scalar_subquery()
            of_sample = sample_members.c.sample_id == newest
            return ids.join(sample_members, sample_members.c.prediction_id == predictions.c.id).where(of_sample)
        case "uncertain":
            # Bounded by an id, as SQLite then needs to read no more of the rows than it has to.
            last = sa.select(predictions.c.id).order_by(predictions.c.id.desc()).offset(NEWEST - 1).limit(1)
            return ids.where(predictions.c.id >= sa.func.coalesce(last.scalar_subquery(), ""))
        case "reported":
            return ids.where(predictions.c.sender_report == "wrong")
        case "challenger":  # where the served version and the one that was tried beside it differ
            return ids.where(predictions.c.challenger_label != predictions.c.label)
    raise ValueError(queue)

"""The range of the log that somebody declared normal: what drift is measured against."""

import datetime as dt
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.log.database import write_transaction
from webapp.log.ids import first_id, new_id
from webapp.log.tables import drift_references, predictions

FEWEST = 100  # messages; fewer would make a poor yardstick


class DeclaredReference(NamedTuple):
    """A row of the table drift_references: since <= time < until is normal."""

    id: str
    created_at: dt.datetime
    since: dt.datetime
    until: dt.datetime


def declare_reference(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> int:
    """Declare a range, or what there is of it up to now, normal and return how many predictions it has.

    Raises InvalidInput where it has too few, and LogUnavailable.
    """
    now = dt.datetime.now(dt.UTC)
    row = DeclaredReference(new_id(), now, since, min(until, now))
    within = predictions.c.id >= first_id(row.since), predictions.c.id < first_id(row.until)
    with write_transaction(engine) as connection:
        messages: int = connection.execute(sa.select(sa.func.count(predictions.c.id)).where(*within)).scalar_one()
        if messages < FEWEST:
            raise InvalidInput(
                f"This range has {messages} predictions: too few to compare others with. Choose one with at least "
                f"{FEWEST}."
            )
        connection.execute(sa.insert(drift_references), row._asdict())
    return messages


def declared_reference(engine: sa.Engine) -> DeclaredReference | None:
    """Return the range that was declared last."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(drift_references).order_by(drift_references.c.id.desc()).limit(1)).first()
    return DeclaredReference(*row) if row else None

"""Takes a fair sample of a range of the log, however many rows it has."""

import datetime as dt
import hashlib

import sqlalchemy as sa

from webapp.log.tables import first_id, predictions

MANY = 100_000  # rows in a range from which on a sixteenth of it is read instead of all


def fair_sample(engine: sa.Engine, since: dt.datetime, until: dt.datetime, size: int, seed: str = "") -> list[str]:
    """Return up to `size` prediction ids from since <= time < until, each row as likely as any other.

    The order is random too. The same seed gives the same sample of the same rows. Of a large range only the ids that
    end in 0 are looked at, for which there is an index: the last digits of an id are random, so they are a fair
    sixteenth of it.
    """
    within = (predictions.c.id >= first_id(since)) & (predictions.c.id < first_id(until))
    ids = sa.select(predictions.c.id).where(within)
    with engine.connect() as connection:
        if connection.execute(ids.offset(max(MANY, 32 * size)).limit(1)).first():
            ids = ids.where(sa.text("substr(id, 36) = '0'"))  # as the index has it
        found = connection.execute(ids).scalars().all()
    return sorted(found, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())[:size]

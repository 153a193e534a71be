"""Takes a fair sample of a range of the log, however many rows it has."""

import datetime as dt
import hashlib

import sqlalchemy as sa

from webapp.log.ids import first_id
from webapp.log.tables import predictions

MANY = 100_000  # rows in a range from which on only a part of it is read


def fair_sample(
    engine: sa.Engine,
    since: dt.datetime,
    until: dt.datetime,
    size: int,
    seed: str = "",
    model_version: str | None = None,
) -> list[str]:
    """Return up to `size` prediction ids from since <= time < until, each row (of that version) as likely as any other.

    The order is random too. The same seed gives the same sample of the same rows. The last digits of an id are random,
    so the ids that end in 0 are a fair sixteenth of a range, those that end in 00 a fair 256th: of a large range only
    so many are read, by an index of those that end in 0.
    """
    ids = sa.select(predictions.c.id).where(predictions.c.id >= first_id(since), predictions.c.id < first_id(until))
    if model_version:
        ids = ids.where(predictions.c.model_version == model_version)
    with engine.connect() as connection:

        def more_than(number: int, query: sa.Select[tuple[str]]) -> bool:
            return connection.execute(query.offset(number).limit(1)).first() is not None

        if more_than(max(MANY, 64 * size), ids):
            part = ids = ids.where(sa.text("substr(id, 36) = '0'"))  # as the index has it
            for zeros in (2, 3, 4):
                part = part.where(sa.func.substr(predictions.c.id, 37 - zeros) == "0" * zeros)
                if not more_than(4 * size, part):
                    break
                ids = part
        found = connection.execute(ids).scalars().all()
    return sorted(found, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())[:size]

"""Slows down whoever guesses passwords. It holds over all workers and hosts, because it counts in the database."""

import datetime as dt
import math

import sqlalchemy as sa

from webapp.clients import sender
from webapp.log.database import write_transaction
from webapp.log.tables import UTCDateTime, failed_sign_ins

FREE_TRIES = 5  # people mistype
LONGEST_WAIT_S = 300
FORGET_AFTER = dt.timedelta(days=1)


def begin_try(engine: sa.Engine, address: str) -> int:
    """Return 0 if somebody at this address may try a password now, else how many seconds they have to wait.

    A try counts as failed before its password is looked at: however many come at the same moment, no more get through.
    `forget` takes it back. Raises LogUnavailable.
    """
    who, now = sender(address), dt.datetime.now(dt.UTC)
    row = failed_sign_ins.c
    growing = range(FREE_TRIES, FREE_TRIES + LONGEST_WAIT_S.bit_length())
    latest_last_try = sa.case(
        *((row.count == count, sa.literal(now - _wait(count), UTCDateTime)) for count in growing),
        else_=sa.literal(now - _wait(growing.stop), UTCDateTime),
    )
    clock_was_set_back = row.last_at > now + _wait(growing.stop)
    may_try = (row.count < FREE_TRIES) | (row.last_at <= latest_last_try) | clock_was_set_back
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(failed_sign_ins).where(row.last_at < now - FORGET_AFTER))
        connection.execute(
            sa.text("INSERT INTO failed_sign_ins VALUES (:sender, 0, :now) ON CONFLICT DO NOTHING").bindparams(
                sa.bindparam("sender", who), sa.bindparam("now", now, UTCDateTime)
            )
        )
        count_it = sa.update(failed_sign_ins).where(row.address == who, may_try)
        if connection.execute(count_it.values(count=row.count + 1, last_at=now)).rowcount == 1:
            return 0
        count, last_at = connection.execute(sa.select(row.count, row.last_at).where(row.address == who)).one()
    due: dt.datetime = last_at + _wait(count)
    return max(1, math.ceil((due - now).total_seconds()))


def forget(engine: sa.Engine, address: str) -> None:
    """Forget an address's failed tries, because the password was right; raises LogUnavailable."""
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(failed_sign_ins).where(failed_sign_ins.c.address == sender(address)))


def _wait(count: int) -> dt.timedelta:
    """Return how long after `count` failed tries the next one has to wait: 0 s, then 2, 4, 8 ... 300 s."""
    return dt.timedelta(seconds=min(LONGEST_WAIT_S, 2 ** (count - FREE_TRIES + 1)) if count >= FREE_TRIES else 0)

"""Slows down who guesses passwords, over all workers and hosts: it counts in the database."""

import datetime as dt
import math

import sqlalchemy as sa

from webapp.http import sender
from webapp.log.database import write_transaction
from webapp.log.tables import failed_sign_ins

FREE_TRIES = 5  # people mistype
LONGEST_WAIT_S = 300
FORGET_AFTER = dt.timedelta(days=1)


def begin_try(engine: sa.Engine, address: str) -> int:
    """Return 0 if a password may be tried from this address now, else how many seconds it has to wait.

    After `FREE_TRIES` failed tries the next has to wait 2 s, then 4, 8 ... 300 s. A try counts as failed before its
    password is checked, so that no more get through at the same moment; `forget` takes it back.
    """
    who, row = sender(address), failed_sign_ins.c
    with write_transaction(engine) as connection:  # tries take turns
        now = dt.datetime.now(dt.UTC)
        connection.execute(sa.delete(failed_sign_ins).where(row.last_at < now - FORGET_AFTER))
        query = sa.select(row.count, row.last_at).where(row.address == who)
        count, last_at = connection.execute(query).first() or (0, now)
        if count >= FREE_TRIES:
            wait = min(LONGEST_WAIT_S, 2 ** (count - FREE_TRIES + 1))
            due: float = wait - (now - last_at).total_seconds()
            if 0 < due <= 2 * LONGEST_WAIT_S:  # hosts' clocks differ a little; more than that: one was set back
                return math.ceil(due)
        connection.execute(sa.delete(failed_sign_ins).where(row.address == who))
        connection.execute(sa.insert(failed_sign_ins).values(address=who, count=count + 1, last_at=now))
    return 0


def forget(engine: sa.Engine, address: str) -> None:
    """Forget the failed tries of an address, because the password was right."""
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(failed_sign_ins).where(failed_sign_ins.c.address == sender(address)))

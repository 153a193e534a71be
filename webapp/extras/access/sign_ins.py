"""Who is signed in. A cookie says so too, but only here a sign-out also ends the copies that somebody made of it."""

import datetime as dt

import sqlalchemy as sa

from webapp.log.database import write_transaction
from webapp.log.tables import sign_ins


def begin(engine: sa.Engine, reviewer: str, seconds: int) -> None:
    """Remember that somebody is signed in for so long, and forget who no longer is; raises LogUnavailable."""
    now = dt.datetime.now(dt.UTC)
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(sign_ins).where(sign_ins.c.until < now))
        until = now + dt.timedelta(seconds=seconds)
        connection.execute(sa.insert(sign_ins).values(who=reviewer, until=until))


def goes_on(engine: sa.Engine, reviewer: str) -> bool:
    """Return whether somebody has not signed out since; raises LogUnavailable."""
    query = sa.select(sign_ins.c.who).where(sign_ins.c.who == reviewer)
    with engine.connect() as connection:
        return connection.execute(query).scalar() is not None


def end(engine: sa.Engine, reviewer: str) -> None:
    """Sign somebody out; raises LogUnavailable."""
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(sign_ins).where(sign_ins.c.who == reviewer))

"""API keys: for programs that may see and review what people sent.

The log holds each key's SHA-256 only. A fast hash is right here, unlike for a password: a key is 256 random bits, so
there is nothing to guess, and it is compared at every request. For the same reason the look-up by hash may take a
different time for different keys: whoever sends one cannot steer its hash.
"""

import datetime as dt
import hashlib
import re
import secrets
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import BadData, NotFound
from webapp.log.tables import api_keys

NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


class ApiKey(NamedTuple):
    """What is known of a key: never the key itself."""

    name: str
    created_at: dt.datetime
    revoked_at: dt.datetime | None


def create(engine: sa.Engine, name: str) -> str:
    """Make a key, store its hash and return it: nobody can show it again. Raises BadData (the name)."""
    if not NAME.fullmatch(name):
        raise BadData(f"{name!r} is no name for a key: use up to 40 letters, digits and the signs - _ .")
    key = f"hamlet_{secrets.token_urlsafe(32)}"
    try:
        with engine.begin() as connection:
            connection.execute(
                sa.insert(api_keys).values(name=name, created_at=dt.datetime.now(dt.UTC), key_hash=_hash(key))
            )
    except sa.exc.IntegrityError as error:
        raise BadData(
            f"There is or was a key named {name}. Take another name, so that what was done with each key stays apart."
        ) from error
    return key


def list_all(engine: sa.Engine) -> list[ApiKey]:
    """Return all keys, also the revoked ones, oldest first."""
    c = api_keys.c
    with engine.connect() as connection:
        rows = connection.execute(sa.select(c.name, c.created_at, c.revoked_at).order_by(c.created_at))
        return [ApiKey(*row) for row in rows]


def revoke(engine: sa.Engine, name: str) -> None:
    """End a key's use, from the next request on; raises NotFound."""
    c = api_keys.c
    change = (
        sa.update(api_keys).where(c.name == name, c.revoked_at.is_(None)).values(revoked_at=dt.datetime.now(dt.UTC))
    )
    with engine.begin() as connection:
        if connection.execute(change).rowcount == 0:
            raise NotFound(f"No key named {name} is in use: api-key list shows them all.")


def find(engine: sa.Engine, key: str) -> str | None:
    """Return the name of a key that is in use, or None; raises LogUnavailable."""
    c = api_keys.c
    with engine.connect() as connection:
        query = sa.select(c.name).where(c.key_hash == _hash(key), c.revoked_at.is_(None))
        name: str | None = connection.execute(query).scalar()
        return name


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()

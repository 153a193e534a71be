"""API keys, for programs that may see and review what people sent, and the guard of routes that need one.

The log holds each key's SHA-256 only. A fast hash is right here, unlike for a password: a key is 256 random bits, so it
cannot be guessed, and it is compared at every request. Nor can its hash be steered, so a look-up by it leaks nothing.
"""

import datetime as dt
import hashlib
import re
import secrets
from typing import Any

import sqlalchemy as sa
from flask import current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from webapp.config import FLASK
from webapp.errors import BadData, NotFound
from webapp.log.tables import api_keys

NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")
SECURITY: list[dict[str, list[str]]] = [{"api_key": []}]
SCHEMES: dict[str, Any] = {
    "api_key": {"type": "http", "scheme": "bearer", "description": f"Made by: {FLASK} api-key create NAME"}
}
HOW = f'Send the header "Authorization: Bearer KEY". On the server, make a key: {FLASK} api-key create NAME'


def create(engine: sa.Engine, name: str) -> str:
    """Make a key, store its hash and return it; raises BadData (the name)."""
    if not NAME.fullmatch(name):
        raise BadData(f"{name!r} is no name for a key: use up to 40 letters, digits and the signs - _ .")
    key = f"hamlet_{secrets.token_urlsafe(32)}"
    row = {"name": name, "created_at": dt.datetime.now(dt.UTC), "key_hash": _hash(key)}
    try:
        with engine.begin() as connection:
            connection.execute(sa.insert(api_keys), row)
    except sa.exc.IntegrityError as error:
        raise BadData(f"There is or was a key {name}. Take another name: reviews are kept under it.") from error
    return key


def revoke(engine: sa.Engine, name: str) -> None:
    """End the use of a key, from the next request on; raises NotFound."""
    in_use = sa.update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    with engine.begin() as connection:
        if connection.execute(in_use.values(revoked_at=dt.datetime.now(dt.UTC))).rowcount == 0:
            raise NotFound(f"No key named {name} is in use: api-key list shows them all.")


def api_key_required() -> None:
    """Refuse a request without a key in use, before its body is read, and remember the key's name for reviews.

    `blueprint.before_request(api_key_required)`; abp_security=SECURITY says the same in the API's documentation.
    """
    # Not request.authorization: it fails at what claims to be a user name and password and is no Base64.
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _refusal(f"This needs an API key. {HOW}")
    in_use = (api_keys.c.key_hash == _hash(key.strip())) & api_keys.c.revoked_at.is_(None)
    with current_app.extensions["engine"].connect() as connection:
        g.api_key_name = connection.execute(sa.select(api_keys.c.name).where(in_use)).scalar()
    if g.api_key_name is None:
        raise _refusal(f"This API key is unknown or was revoked. {HOW}", error="invalid_token")


def _refusal(detail: str, **parameters: str | None) -> Unauthorized:
    """Return the error with its challenge (RFC 6750, section 3)."""
    return Unauthorized(detail, www_authenticate=WWWAuthenticate("bearer", {"realm": "Hamlet", **parameters}))


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()

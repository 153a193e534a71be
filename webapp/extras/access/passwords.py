"""The admin password, which opens the pages that show what people sent, and the wait after wrong ones."""

import datetime as dt
import hashlib
import hmac
import math
import secrets
import sys
from pathlib import Path

import sqlalchemy as sa
from werkzeug.security import check_password_hash, generate_password_hash

from webapp.config import FLASK, check_password
from webapp.errors import BadData, NotReady
from webapp.http import sender
from webapp.instance import write_private
from webapp.log.database import write_transaction
from webapp.log.tables import failed_sign_ins

FREE_TRIES = 5  # people mistype
LONGEST_WAIT_S = 300
FORGET_AFTER = dt.timedelta(days=1)


class AdminPassword:
    """The admin password: HAMLET_ADMIN_PASSWORD if it is given, else the one whose hash is in the instance folder.

    The file is read at each use, so a new password counts in all running workers at once.
    """

    def __init__(self, folder: Path, given: str | None, secret_key: str):
        self._path = folder / "admin_password"
        self._given = given
        self._key = secret_key.encode()

    def make_first(self) -> None:
        """At the first start make a password and print it, once; raises OSError."""
        if self._given is not None or self._path.exists():
            return
        password = secrets.token_urlsafe(16)
        if write_private(self._path, generate_password_hash(password)):
            print(
                f"The admin password is {password} (shown this once; only its hash is kept).\n"
                f"Sign in with it on the page /login; another: {FLASK} set-password",
                file=sys.stderr,
                flush=True,
            )

    def is_right(self, password: str) -> bool:
        """Return whether this is the password, in constant time; raises NotReady if there is none."""
        if self._given is not None:
            return hmac.compare_digest(self._keyed_hash(password), self._keyed_hash(self._given))
        stored = self._stored_hash()
        if not stored:
            raise NotReady(f"There is no admin password. Set one on the server: {FLASK} set-password")
        return check_password_hash(stored, password)

    def set(self, password: str) -> None:
        """Change the password, which signs everybody out; raises BadData, NotReady (the file cannot be written)."""
        if self._given is not None:
            raise BadData("HAMLET_ADMIN_PASSWORD is set, and it decides: change it there, or unset it first.")
        try:
            write_private(self._path, generate_password_hash(check_password(password)), over=True)
        except ValueError as error:
            raise BadData(f"The password {error}.") from error
        except OSError as error:
            raise NotReady(f"The password cannot be kept ({error}).") from error

    def fingerprint(self) -> str:
        """Return what identifies this password without revealing it, to be kept with each sign-in."""
        return self._keyed_hash(self._given if self._given is not None else self._stored_hash()).hex()

    def _stored_hash(self) -> str:
        try:
            return self._path.read_text()
        except OSError:  # it is gone: all are signed out, and none can sign in
            return ""

    def _keyed_hash(self, text: str) -> bytes:
        """Return a hash against which passwords cannot be tried without the secret key."""
        return hmac.digest(self._key, b"admin password:" + text.encode(), hashlib.sha256)


# --- The wait after wrong passwords: counted in the database, so over all workers and hosts ---


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
            if 0 < due <= 2 * LONGEST_WAIT_S:  # hosts' clocks differ a little; if it is longer, one was set back
                return math.ceil(due)
        connection.execute(sa.delete(failed_sign_ins).where(row.address == who))
        connection.execute(sa.insert(failed_sign_ins).values(address=who, count=count + 1, last_at=now))
    return 0


def forget(engine: sa.Engine, address: str) -> None:
    """Forget the failed tries of an address, because the password was right."""
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(failed_sign_ins).where(failed_sign_ins.c.address == sender(address)))

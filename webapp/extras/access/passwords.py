"""The admin password, which opens the pages that show what people sent."""

import hashlib
import hmac
import secrets
import sys
from pathlib import Path

from werkzeug.security import check_password_hash, generate_password_hash

from webapp.config import FLASK, check_password
from webapp.errors import BadData, NotReady
from webapp.instance import write_private


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
        """Return whether this is the password, in a time that tells nothing of it; raises NotReady if there is none."""
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

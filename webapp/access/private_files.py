"""Small files of the instance folder that its owner alone may read: the secret key, the admin password's hash."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def keep_first(path: Path, text: str) -> bool:
    """Write a file unless there is one; return whether it was written.

    It is there whole or not at all, and never over what another process just made.
    """
    with _written_beside(path, text) as new:
        try:
            os.link(new, path)
        except FileExistsError:
            return False
    return True


def replace(path: Path, text: str) -> None:
    """Write a file in one step: whoever reads it meanwhile gets the old text or the new one."""
    with _written_beside(path, text) as new:
        os.replace(new, path)


@contextmanager
def _written_beside(path: Path, text: str) -> Iterator[str]:
    """Yield the name of a new file beside `path`, with mode 0600."""
    number, new = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with open(number, "w") as file:
            file.write(text)
            if hasattr(os, "fchown"):  # root may run a command for the service, which has to read what it made
                owner = path.parent.stat()
                with suppress(PermissionError):
                    os.fchown(number, owner.st_uid, owner.st_gid)
        yield new
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)


def secret_key(folder: Path) -> str:
    """Return the secret that signs cookies, made at first start."""
    path = folder / "secret_key"
    if not path.exists():
        keep_first(path, secrets.token_hex(32))
    return path.read_text()

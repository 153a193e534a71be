"""The instance folder: its private files (the secret key, the admin password's hash), and whether its disk lasts."""

import os
import secrets
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from webapp.config import MIN_KEY_LENGTH, ROOT, read_all, variable

PRIVATE = ("secret_key", "admin_password", "log.db")
DISK = Path("/")
MARKER = Path("/.dockerenv")
# Container engines and platforms set these. Their disk is new at each start, except for mounted volumes.
OF_CONTAINERS = ("container", "KUBERNETES_SERVICE_HOST", "DYNO", "RENDER", "FLY_APP_NAME", "K_SERVICE")


def write_private(path: Path, text: str, over: bool = False) -> bool:
    """Write a file of mode 0600 atomically; return whether it was written.

    An existing file, which another process may just have made, is replaced only if `over` is true.
    """
    number, new = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with open(number, "w") as file:
            file.write(text)
            if hasattr(os, "fchown"):  # root may run a command for the service, which has to read what it made
                owner = path.parent.stat()
                with suppress(PermissionError):
                    os.fchown(number, owner.st_uid, owner.st_gid)
        if over:
            os.replace(new, path)
        else:
            os.link(new, path)
    except FileExistsError:
        return False
    finally:
        with suppress(FileNotFoundError):
            os.unlink(new)
    return True


def secret_key(folder: Path) -> str:
    """Return the secret that signs cookies, made at first start; raises OSError, also where the file was emptied."""
    path = folder / "secret_key"
    if not path.exists():
        write_private(path, secrets.token_hex(32))
    key = path.read_text()
    if len(key) < MIN_KEY_LENGTH:
        raise OSError("secret_key is too short to be the one that was made here: delete it, and a new one is made")
    return key


def refuse_exposed(folder: Path) -> None:
    """Raise PermissionError if other users of the machine can read or replace the private files."""
    if folder.resolve().is_relative_to(ROOT / "static"):
        raise PermissionError("everybody could download it from static/: take another folder")
    mode = folder.stat().st_mode
    if os.name == "nt":  # where modes say nothing
        return
    if mode & stat.S_IWOTH:
        raise PermissionError("everybody on this machine may write to it: chmod 700 it, or take another folder")
    for path in (folder / name for name in PRIVATE):
        if mode & stat.S_IXOTH and path.exists() and path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise PermissionError(f"everybody on this machine can read {path.name} in it: chmod 700 the folder")


def surprises(folder: Path) -> list[str]:
    """Return warnings about where the log is, for the start of a server, a sentence each."""
    url = read_all()["DATABASE_URL"] or ""
    found = []
    if url and variable("DATABASE_URL") == "DATABASE_URL":
        found.append("The log is where DATABASE_URL says, as HAMLET_DATABASE_URL is not set.")
    in_container = MARKER.exists() or any(name in os.environ for name in OF_CONTAINERS)
    on_its_disk = in_container and folder.stat().st_dev == DISK.stat().st_dev
    if (not url or url.startswith("sqlite")) and on_its_disk:
        found.append(
            f"The folder {folder} is on a disk that is new at each start: the log, the secret key and the password "
            "will be lost then. Mount a volume there, or set HAMLET_DATABASE_URL and the two secrets (docs/deploy.md)."
        )
    return found

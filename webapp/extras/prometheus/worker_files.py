"""The folder in which gunicorn's workers keep their counts, so that the one that answers /metrics can add them up.

It is prometheus_client's own set-up for several processes: each maps a file per kind of metric into its memory. So
counting costs no system call, and counts survive the death of the process. The folder is in memory (tmpfs) where it
can be: a process that writes to a mapped file on a full disk is killed (SIGBUS).
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

MEMORY = "/dev/shm"  # noqa: S108  the folder in it is made for its owner alone, and refused if it is another's

_in_use: IO[bytes] | None = None


def open_folder(instance_folder: Path) -> Path:
    """Make the folder of a server's counts and return it, empty unless living processes count in it; raises OSError.

    Each process of the server holds a lock on it until it ends, however it ends. So counts begin at 0 at a start, but
    not at a reload (SIGHUP), and not while an older master works beside a new one (SIGUSR2).
    """
    global _in_use
    name = hashlib.sha256(str(instance_folder.resolve()).encode()).hexdigest()[:16]
    parent = MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir()
    folder = Path(parent) / f"hamlet-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    lock = (folder / "in_use").open("wb")
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in folder.glob("*.db"):
            file.unlink()
    fcntl.flock(lock, fcntl.LOCK_SH)
    _in_use = lock  # and with it the lock, which the workers inherit
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)  # by which prometheus_client knows it
    return folder


def remove_folder() -> None:
    """Remove the folder, unless another server counts in it too: memory is not for keeps."""
    if _in_use:
        with suppress(OSError):
            fcntl.flock(_in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])

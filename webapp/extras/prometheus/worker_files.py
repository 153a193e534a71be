"""The folder in which gunicorn's workers keep their counts, so that whichever answers /metrics can add them up.

prometheus_client gives each process a counter_PID.db and a histogram_PID.db, which are mapped into its memory: to
count costs no system call, and what was counted survives the death of the process. What it leaves to us is here: when
to begin anew, what becomes of the files of the dead, and that no count can do harm.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from prometheus_client.mmap_dict import MmapedDict

with suppress(ImportError):
    import fcntl  # Windows has neither this nor gunicorn

KINDS = ("counter", "histogram")
RESERVED = 256 * 1024  # bytes for each file; some 1,300 series, and there are a few hundred
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # the variable by which prometheus_client knows the folder

_in_use: IO[bytes] | None = None


def open_folder(instance_folder: Path) -> Path:
    """Make the folder of a server's counts and return it, empty unless processes that count in it are alive.

    Every process of the server holds a lock on it until it ends, however it ends. So counts begin anew at a start, but
    not at a reload (SIGHUP), and not while an older master still works beside a new one (SIGUSR2). Raises OSError.
    """
    global _in_use
    instance_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = instance_folder / "metrics"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = (folder / "in_use").open("wb")
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file in folder.glob("*.db"):
            file.unlink()
    fcntl.flock(lock, fcntl.LOCK_SH)
    _in_use = lock  # and with it the lock, which the workers inherit
    os.environ[VARIABLE] = str(folder)
    return folder


def reserve(folder: Path) -> None:
    """Make this process's files at their full size; raises OSError when the disk has no room.

    prometheus_client would leave it to the disk to find room later. If there is none then, the process is killed
    (SIGBUS) for writing to its own memory.
    """
    for kind in KINDS:
        path = folder / f"{kind}_{os.getpid()}.db"
        if not path.exists():
            _blank(path).replace(path)  # at once: a reader must not see half of it


def bury(folder: Path, pid: int) -> None:
    """Add the counts of a dead process to those of all the dead, so that its files do not pile up.

    While somebody is reading they stay where they are, and are read all the same. Raises OSError.
    """
    with (folder / "reading").open("wb") as lock, suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for kind in KINDS:
            dead, all_dead = folder / f"{kind}_{pid}.db", folder / f"{kind}_dead.db"
            if not dead.exists():
                continue
            new = _blank(all_dead)
            if all_dead.exists():
                shutil.copyfile(all_dead, new)
            sums = MmapedDict(str(new))
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(dead)):
                sums.write_value(key, sums.read_value(key)[0] + value, 0.0)
            sums.close()
            new.replace(all_dead)
            dead.unlink()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Keep the files as they are, so that no count is read twice or not at all; raises OSError."""
    with (folder / "reading").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def _blank(path: Path) -> Path:
    """Write an empty file of counts beside a path, every byte of it for real, and return where."""
    new = path.with_suffix(".new")
    try:
        new.write_bytes(bytes(RESERVED))
    except OSError:
        new.unlink(missing_ok=True)
        raise
    return new

"""Notices that SQLite's files were deleted, replaced or damaged while Hamlet runs."""

import os
import sqlite3
from typing import Any

import sqlalchemy as sa

from webapp.errors import LogUnavailable

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LOST_WAL = "lost its -wal, which holds the newest rows, while Hamlet was running"


class FileWatch:
    """Refuses every connection to a log whose files are not the ones that Hamlet began with, or are damaged.

    SQLite does not look: it goes on writing into deleted files, which vanish when the last process closes them, and
    begins an empty log where the old one was. Looking costs 5 microseconds whenever a connection is used. What was
    seen once counts until Hamlet is started again: then all processes have the same files. To refuse is to raise the
    error that SQLite raises when it cannot write. Raises LogUnavailable when a log or its newest rows are gone.
    """

    def __init__(self, engine: sa.Engine, path: str):
        gone = not os.path.exists(path) or os.path.getsize(path) == 0
        if gone and os.path.exists(f"{path}-wal"):  # SQLite would delete that, and begin anew
            raise LogUnavailable(
                f"{path} is gone or empty, but {path}-wal, which holds its newest rows, is still there. Put the log "
                "back, or, to begin a new one, move that away"
            )
        if not gone and _lost_wal(path):
            raise LogUnavailable(
                f"{path}-wal, which holds the newest rows of {path}, was deleted. Stop all of Hamlet; if {path}-shm is "
                "still there then, put the -wal back, or, to go on without those rows, move the -shm away"
            )
        self._path = path
        self._file: tuple[int, int] | None = None
        self._wal: tuple[int, int] | None = None  # it stays while this process has any connection
        self._connections: set[sqlite3.Connection] = set()
        self._fault = ""
        sa.event.listen(engine, "do_connect", self._before_connecting)
        sa.event.listen(engine, "connect", self._remember)
        sa.event.listen(engine, "close", self._forget)
        sa.event.listen(engine, "checkout", lambda *_: self.check())
        sa.event.listen(engine, "handle_error", self._after_an_error)

    def _before_connecting(self, *_: Any) -> None:
        if _lost_wal(self._path):  # a connection would begin another, and take that for its own
            self._fault = LOST_WAL
        self.check()

    def _remember(self, connection: sqlite3.Connection, _record: Any) -> None:
        self._connections.add(connection)
        self._file = self._file or _identity(self._path)
        self._wal = self._wal or _identity(f"{self._path}-wal")

    def _forget(self, connection: sqlite3.Connection, _record: Any) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._wal = None

    def check(self) -> None:
        """Raise what SQLite raises when it cannot write, unless the files are those that were seen first."""
        if self._wal and _identity(f"{self._path}-wal") != self._wal:
            self._fault = LOST_WAL
        if self._file and _identity(self._path) != self._file:
            self._fault = "was deleted, moved or replaced while Hamlet was running"
        if self._fault:
            raise self._error()

    def _after_an_error(self, context: sa.ExceptionContext) -> None:
        error = context.original_exception
        if getattr(error, "sqlite_errorcode", None) in DAMAGED:
            self._fault = f"is damaged ({error})"
            raise LogUnavailable.because(self._error())

    def _error(self) -> sqlite3.OperationalError:
        return sqlite3.OperationalError(
            f"{self._path} {self._fault}. Stop Hamlet, put the log or its backup back (docs/deploy.md), start Hamlet"
        )


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _lost_wal(path: str) -> bool:
    """Say whether there is a -shm without a -wal: SQLite makes the -wal first and deletes it last."""
    shared = _identity(f"{path}-shm")
    return bool(shared and not os.path.exists(f"{path}-wal") and _identity(f"{path}-shm") == shared)

"""Writes rows so that answered means stored, and many requests share one commit."""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from webapp.config import MAX_BODY
from webapp.errors import LogUnavailable
from webapp.log.database import driver_transaction
from webapp.log.insert import Insert
from webapp.log.tables import FailureRow, PredictionRow, failures, predictions

logger = logging.getLogger(__name__)


class _Entry:
    """The rows of one request, waiting to be committed."""

    def __init__(self, insert: Insert, rows: Sequence[Mapping[str, Any]]):
        self.sql = insert.sql
        self.values = [insert.values(row) for row in rows]
        self.tried = False
        self.stored = False


class LogWriter:
    """Commits rows in groups: the thread whose turn it is takes along the rows of all that wait.

    A commit costs far more than a row. Whoever gets `_turn` finds in `_waiting` what gathered during the commit
    before, and writes it all in one transaction; the others then find their work done. No thread of its own, so
    nothing to start after a fork and nothing to drain at the end.
    """

    def __init__(self, engine: sa.Engine):
        self.engine = engine
        self._waiting: deque[_Entry] = deque()
        self._turn = threading.Lock()
        self._predictions = Insert(predictions, engine.dialect)
        self._failures = Insert(failures, engine.dialect)

    def add_predictions(self, rows: Sequence[PredictionRow]) -> None:
        """Store predictions in one transaction; return once they are committed.

        Raises LogUnavailable when they are not: then none of them is stored.
        """
        self._write(_Entry(self._predictions, rows))

    def add_failure(self, row: FailureRow) -> None:
        """Store a failure; raises LogUnavailable."""
        self._write(_Entry(self._failures, [row]))

    def set_sender_report(self, prediction_id: str, report: str) -> bool:
        """Store what the sender said of a verdict; return whether there is such a prediction."""
        change = sa.update(predictions).where(predictions.c.id == prediction_id).values(sender_report=report)
        try:
            with self.engine.begin() as connection:
                return connection.execute(change).rowcount == 1
        except sa.exc.SQLAlchemyError as error:
            raise _unavailable() from error

    def check(self) -> None:
        """Write to the database without changing it; raises LogUnavailable, also where the largest request may not fit.

        On a full disk SQLite can still write what is small into what its files have to spare.
        """
        try:
            with self.engine.begin() as connection:  # SQLite would write nothing if nothing changed between
                connection.execute(sa.text("UPDATE schema_version SET version = version + 1"))
                connection.execute(sa.text("UPDATE schema_version SET version = version - 1"))
                if self.engine.dialect.name == "sqlite":
                    file = connection.execute(sa.text("PRAGMA database_list")).all()[0].file
                    if shutil.disk_usage(Path(file).parent).free < MAX_BODY:
                        raise OSError("its disk is full")
        except (sa.exc.SQLAlchemyError, OSError) as error:
            _say_why(error, 1)
            raise _unavailable() from error

    def _write(self, entry: _Entry) -> None:
        self._waiting.append(entry)
        with self._turn:
            if not entry.tried:
                self._commit_waiting()
        if not entry.stored:
            raise _unavailable()

    def _commit_waiting(self) -> None:
        group: list[_Entry] = []
        while self._waiting:
            group.append(self._waiting.popleft())
            group[-1].tried = True
        try:
            with driver_transaction(self.engine) as cursor:
                for sql in {entry.sql for entry in group}:
                    cursor.executemany(sql, [values for entry in group if entry.sql == sql for values in entry.values])
        except (sa.exc.SQLAlchemyError, self.engine.dialect.loaded_dbapi.Error) as error:
            _say_why(error, len(group))
            return
        for entry in group:
            entry.stored = True


def _say_why(error: Exception, requests: int) -> None:
    reason = str(getattr(error, "orig", error)).partition("\n")[0]  # what follows may quote a row
    logger.error("The log cannot be written, %d requests get status 503: %s", requests, reason)


def _unavailable() -> LogUnavailable:
    return LogUnavailable(
        "The prediction log cannot be written just now, so no verdict is given. Please try again in a moment."
    )

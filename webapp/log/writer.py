"""Writes rows so that answered means stored, many requests share one commit, and a repeated record is stored once."""

import datetime as dt
import shutil
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from webapp.config import MAX_BODY
from webapp.errors import LogUnavailable
from webapp.log.database import InsertConnection
from webapp.log.tables import Row, failures, idempotency_keys, new_id, predictions, schema_version
from webapp.waiting import WouldWait, is_on_loop

KEYS_AT_ONCE = 500  # parameters of one statement: databases allow only so many


class AlreadyStored(Exception):
    """Another process stored a prediction under one of these keys meanwhile: find_by_key returns it."""


class _Insert:
    """INSERT into a table, with what SQLAlchemy would do for each row done once."""

    def __init__(self, table: sa.Table, dialect: sa.Dialect):
        self.sql = str(sa.insert(table).compile(dialect=dialect))
        self._columns = [
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in table.columns
        ]

    def values(self, rows: Iterable[Row]) -> list[tuple[Any, ...]]:
        """Return rows as the driver takes them, in the order of the statement's placeholders."""
        return [tuple(to(row.get(name)) if to else row.get(name) for name, to in self._columns) for row in rows]


@dataclass
class _Entry:
    """The rows of one request, waiting to be committed."""

    sql: str
    values: list[tuple[Any, ...]]
    tried: bool = False
    error: LogUnavailable | None = None


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
        self._connection = InsertConnection(engine)
        self._predictions = _Insert(predictions, engine.dialect)
        self._failures = _Insert(failures, engine.dialect)
        self._keys = _Insert(idempotency_keys, engine.dialect)

    def add_predictions(self, rows: Sequence[Row], keys: Sequence[str] | None = None) -> None:
        """Give each row its id and time, and store all in one transaction; return once they are committed.

        Raises LogUnavailable, or AlreadyStored where keys are given: then none of them is stored.
        """
        _stamp(rows)
        if keys is None:
            self._write(_Entry(self._predictions.sql, self._predictions.values(rows)))
        elif rows:
            pairs = [{"key": key, "prediction_id": row["id"]} for key, row in zip(keys, rows, strict=True)]
            try:
                with self.engine.begin() as connection:  # the keys alone keep repeated records apart: no turns to take
                    connection.exec_driver_sql(self._keys.sql, self._keys.values(pairs))
                    connection.exec_driver_sql(self._predictions.sql, self._predictions.values(rows))
            except sa.exc.IntegrityError as error:
                raise AlreadyStored from error

    def find_by_key(self, keys: Sequence[str]) -> dict[str, Row]:
        """Return the stored prediction of each key that has one; raises LogUnavailable."""
        found: dict[str, Row] = {}
        joined = sa.select(idempotency_keys.c.key, predictions).join(
            predictions, predictions.c.id == idempotency_keys.c.prediction_id
        )
        with self.engine.connect() as connection:
            for start in range(0, len(keys), KEYS_AT_ONCE):
                asked = idempotency_keys.c.key.in_(keys[start : start + KEYS_AT_ONCE])
                for row in connection.execute(joined.where(asked)).mappings():
                    values = dict(row)
                    found[values.pop("key")] = values
        return found

    def add_failure(self, row: Row) -> None:
        """Give a failure its id and time and store it; raises LogUnavailable."""
        _stamp([row])
        self._write(_Entry(self._failures.sql, self._failures.values([row])))

    def set_sender_report(self, prediction_id: str, report: str) -> bool:
        """Store what the sender said of a verdict; return whether there is such a prediction."""
        change = sa.update(predictions).where(predictions.c.id == prediction_id).values(sender_report=report)
        with self.engine.begin() as connection:
            return connection.execute(change).rowcount == 1

    def check(self) -> None:
        """Write to the database without changing it; raises LogUnavailable, also where the largest request may not fit.

        On a full disk SQLite can still write what is small into what its files have to spare.
        """
        column = schema_version.c.version
        with self.engine.begin() as connection:  # SQLite would write nothing if nothing changed between
            connection.execute(sa.update(schema_version).values(version=column + 1))
            connection.execute(sa.update(schema_version).values(version=column - 1))
            if self.engine.dialect.name == "sqlite":
                file = connection.execute(sa.text("PRAGMA database_list")).all()[0].file
                try:
                    if shutil.disk_usage(Path(file).parent).free < MAX_BODY:
                        raise OSError("its disk is full")
                except OSError as error:
                    raise LogUnavailable.because(error) from error

    def _write(self, entry: _Entry) -> None:
        if is_on_loop():  # alone, and only if nobody else is writing
            if not self._turn.acquire(blocking=False):
                raise WouldWait
            try:
                self._connection.insert({entry.sql: entry.values})
            finally:
                self._turn.release()
            return
        self._waiting.append(entry)
        with self._turn:
            if not entry.tried:
                self._commit_waiting()
        if entry.error:
            raise entry.error

    def _commit_waiting(self) -> None:
        group: list[_Entry] = []
        statements: dict[str, list[tuple[Any, ...]]] = {}
        while self._waiting:
            entry = self._waiting.popleft()
            entry.tried = True
            group.append(entry)
            statements.setdefault(entry.sql, []).extend(entry.values)
        try:
            self._connection.insert(statements)
        except LogUnavailable as error:
            for entry in group:
                entry.error = error


def _stamp(rows: Iterable[Row]) -> None:
    """Give rows their ids and times as they are stored: the log relies on an id telling when that was."""
    for row in rows:
        row["id"], row["created_at"] = new_id(), dt.datetime.now(dt.UTC)

"""The log: answered means stored, many requests share one commit, and a repeated record is stored once."""

import datetime as dt
import hmac
import shutil
import sqlite3
import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from webapp.config import MAX_BODY
from webapp.errors import LogUnavailable, NotFound
from webapp.log.database import BUSY_TIMEOUT_S, TIMEOUTS, FileWatch
from webapp.log.tables import Row, failures, idempotency_keys, new_id, predictions, schema_version
from webapp.waiting import WouldWait, before_waiting

WRITTEN = (predictions, failures, idempotency_keys)
Values = list[tuple[Any, ...]]  # of rows, as the database's driver takes them
LOOP_TIMEOUT_S = 0.002  # of the event loop: no longer than another worker's commit takes
KEYS_AT_ONCE = 500  # parameters of one statement: databases allow only so many


class AlreadyStored(Exception):
    """Another process stored a prediction under one of these keys meanwhile: find_by_key returns it."""


class LogWriter:
    """Commits rows in groups: the thread whose turn it is takes along the rows of all that wait.

    A commit costs far more than a row, on PostgreSQL above all (docs/performance.md). The thread that gets `_turn`
    finds in `_waiting` what gathered during the commit before, and writes it all in one transaction; the other threads
    then find their work done. There is no writer thread, so nothing to start after a fork and nothing to drain at the
    end.

    It inserts by plain SQL on a connection of the database's driver (PEP 249), which it keeps with SQLite: every
    request waits for this insert, and SQLAlchemy's own work would be the greater part of it.

    With a hash_key (HAMLET_STORE_TEXT=false) it writes a keyed hash of each text, and nothing else of the message.
    """

    def __init__(self, engine: sa.Engine, hash_key: bytes | None = None):
        self.engine = engine
        self._hash_key = hash_key
        self._waiting: deque[tuple[sa.Table, Values, Future[None]]] = deque()
        self._turn = threading.Lock()
        self._connection: Any = None
        self._watch: FileWatch | None = engine.get_execution_options().get("watch")  # None on PostgreSQL
        self._sql: dict[sa.Table, str] = {}
        self._columns: dict[sa.Table, list[tuple[str, Any]]] = {}  # each with what turns its values into the driver's
        for table in WRITTEN:
            is_cut = table is predictions and hash_key is not None
            columns = [column for column in table.c if not is_cut or "public" in column.info]
            names = [column.name for column in columns]
            self._sql[table] = str(sa.insert(table).compile(dialect=engine.dialect, column_keys=names))
            types = [column.type.dialect_impl(engine.dialect) for column in columns]
            processors = [type_.bind_processor(engine.dialect) for type_ in types]
            self._columns[table] = list(zip(names, processors, strict=True))

    def add(self, table: sa.Table, rows: Sequence[Row], keys: Sequence[str] | None = None) -> None:
        """Give each row its id, and all one time, and store them in one transaction; return once they are committed.

        Raises LogUnavailable, or AlreadyStored where keys are given: then none of them is stored.
        """
        now = dt.datetime.now(dt.UTC)  # of the whole request: the monitor counts requests by it
        for row in rows:
            row["id"], row["created_at"] = new_id(), now
            if self._hash_key and table is predictions:
                row["text_hash"] = hmac.digest(self._hash_key, row["text"].encode(), "sha256").hex()
        values = [
            tuple(to(row.get(name)) if to else row.get(name) for name, to in self._columns[table]) for row in rows
        ]
        if keys is not None:
            pairs = [(key, row["id"]) for key, row in zip(keys, rows, strict=True)]
            with self._turn:
                self._insert({idempotency_keys: pairs, table: values})
        elif not self._waiting and self._turn.acquire(blocking=False):  # no other thread is writing
            try:
                self._insert({table: values})
            finally:
                self._turn.release()
        else:
            before_waiting()
            self._insert_in_group(table, values)

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

    def get_prediction(self, prediction_id: str) -> Row:
        """Return the stored prediction with this id; raises NotFound."""
        query = sa.select(predictions).where(predictions.c.id == prediction_id)
        with self.engine.connect() as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            advice = "Ids are given in each answer; old predictions may have been purged."
            raise NotFound(f"There is no prediction with this id. {advice}")
        return dict(row)

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
            if self._watch:
                try:
                    if shutil.disk_usage(Path(str(self.engine.url.database)).parent).free < MAX_BODY:
                        raise OSError("its disk is full")
                except OSError as error:
                    raise LogUnavailable.because(error) from error

    def close(self) -> None:
        """Close the connections; the last process to do so puts what is in SQLite's -wal into the log itself."""
        with self._turn:
            if self._connection:
                self._connection.close()
            self._connection = None
            self.engine.dispose()

    def _insert_in_group(self, table: sa.Table, values: Values) -> None:
        stored: Future[None] = Future()
        self._waiting.append((table, values, stored))
        with self._turn:
            if not stored.done():
                group = [self._waiting.popleft() for _ in range(len(self._waiting))]
                together = defaultdict[sa.Table, Values](list)
                for its_table, its_values, _ in group:
                    together[its_table] += its_values
                try:
                    self._insert(together)
                except BaseException as error:  # whatever it is, none of them is stored
                    for _, _, future in group:
                        future.set_exception(error)
                else:
                    for _, _, future in group:
                        future.set_result(None)
        stored.result()  # raises what went wrong

    def _insert(self, rows: Mapping[sa.Table, Values]) -> None:
        """Insert the rows of each table in one transaction."""
        driver = self.engine.dialect.loaded_dbapi
        try:
            if self._connection is None:
                self._connection = self.engine.raw_connection()
                if self._watch:
                    self._connection.cursor().execute("PRAGMA busy_timeout = 0")  # it is _begin that waits
            cursor = self._connection.cursor()
            if self._watch:
                self._watch.check()
                _begin(cursor)
            else:
                cursor.execute(TIMEOUTS)  # PostgreSQL's driver begins by itself
            for table, values in rows.items():
                cursor.executemany(self._sql[table], values)
            self._connection.commit()
        except WouldWait:  # nothing was begun
            raise
        except BaseException as error:
            connection, self._connection = self._connection, None
            if connection:
                with suppress(driver.Error):
                    connection.rollback()
                connection.invalidate()  # the pool shall not have it: it may be broken
            if isinstance(error, driver.IntegrityError):
                raise AlreadyStored from error
            if isinstance(error, (driver.Error, sa.exc.SQLAlchemyError)):
                raise LogUnavailable.because(error) from error
            raise
        if not self._watch:
            self._connection.close()  # gives it back to the pool
            self._connection = None


def _begin(cursor: Any) -> None:
    """Begin a transaction on a cursor of SQLite's once no other process writes; raises sqlite3's error, WouldWait."""
    start = time.monotonic()
    while True:
        try:
            cursor.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            waited = time.monotonic() - start
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or waited > BUSY_TIMEOUT_S:
                raise
        if waited > LOOP_TIMEOUT_S:
            before_waiting()
        time.sleep(0.00005 if waited < LOOP_TIMEOUT_S else 0.001)

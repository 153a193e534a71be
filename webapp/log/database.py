"""The connection to the log's database."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from webapp.errors import LogUnavailable

BUSY_TIMEOUT_S = 5  # how long a writer waits for another process before it gives up


def open_database(url: str | None, instance_folder: Path) -> sa.Engine:
    """Return the engine for a SQLAlchemy URL, by default for log.db in the instance folder."""
    engine = sa.create_engine(url or sa.URL.create("sqlite", database=str(instance_folder / "log.db")))
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", _begin)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin transactions on its own: _begin does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    # With a write-ahead log readers never wait for writers. A committed row survives the death of any process;
    # synchronous = NORMAL means that a power cut may take the last moments (README, "The log").
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: sa.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


@contextmanager
def write_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """One transaction that waits for its turn to write before it reads, so that what it read still holds.

    Raises LogUnavailable when it cannot be committed: then nothing of it is stored.
    """
    try:
        with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise LogUnavailable("The log cannot be written just now. Please try again in a moment.") from error


@contextmanager
def driver_transaction(engine: sa.Engine) -> Iterator[Any]:
    """One transaction of plain SQL on a cursor of the database's driver (PEP 249).

    It is for the insert that every request waits for, of which SQLAlchemy's own work would be the greater part.
    Raises the driver's errors, engine.dialect.loaded_dbapi.Error.
    """
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":  # other drivers begin by themselves
            cursor.execute("BEGIN IMMEDIATE")
        yield cursor
        connection.commit()
    finally:
        connection.close()  # gives it back to the pool, which rolls back what was not committed

"""The connection to the log's database: an SQLite file, or PostgreSQL where several hosts share one log."""

import os
import re
import sqlite3
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json

from webapp.config import PIP_INSTALL, ROOT, THREADS, in_shell
from webapp.errors import InvalidInput, LogUnavailable
from webapp.waiting import before_waiting

BUSY_TIMEOUT_S = 5  # how long a writer waits for another before it gives up
STATEMENT_TIMEOUT_S = 20  # on PostgreSQL, of one statement; rollups.py counts on it that no row waits for a minute
ENCODED = "@ as %40, : as %3A, / as %2F, # as %23, % as %25"
TIMEOUTS = f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S}s'; SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'"
NO_TIMEOUTS = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"
WRITERS = 0x48616D6C6574  # "Hamlet": PostgreSQL's name for the lock of those that take turns, any number will do
POSTGRESQL = {  # a server that is away, or that vanishes without a word, must be an error soon and not a wait for ever
    "connect_timeout": 5,  # seconds
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,  # seconds
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
PUT_BACK = "Stop Hamlet, then put the log or its backup back (docs/deploy.md)"


def _translate(context: sa.ExceptionContext) -> None:
    """Turn an error of the driver into one of Hamlet's; every statement's errors come through here."""
    match context.sqlalchemy_exception:
        case sa.exc.DataError():  # it is the value that is wrong, and trying again will not help
            raise InvalidInput("What was sent holds a character or a number that the log cannot hold.")
        case sa.exc.IntegrityError():  # a key that is taken: its callers know what that means
            return
        case sa.exc.DBAPIError() as error:
            raise LogUnavailable.because(error)


def open_database(url: str | None, instance_folder: Path) -> sa.Engine:
    """Return the engine for a SQLAlchemy URL, by default for log.db in the instance folder; raises LogUnavailable."""
    place = _parse(url) if url is not None else sa.URL.create("sqlite", database=str(instance_folder / "log.db"))
    # An error's words must not quote a message, and no thread waits for another's connection.
    options: dict[str, Any] = {"hide_parameters": True, "max_overflow": -1}
    options["json_serializer"] = lambda value: to_json(value).decode()
    match place.get_backend_name():
        case "sqlite":
            place = place.set(database=str(ROOT / (place.database or ":memory:")))  # wherever a command is typed
            if ":memory:" in str(place.database):
                raise LogUnavailable("each process would keep its own log in memory and forget it: name a file")
            if "?" in (url or ""):
                raise LogUnavailable("of the URL of a file, what follows its ? is not understood: leave it out")
            _make_file(str(place.database))
            engine = sa.create_engine(place, **options)
            sa.event.listen(engine, "connect", _set_up_sqlite)
            sa.event.listen(engine, "begin", _begin_sqlite)
            engine.update_execution_options(watch=FileWatch(engine, str(place.database)))
        case "postgresql":
            options |= {"paramstyle": "format", "pool_size": THREADS}  # rows are tuples, as for SQLite (writer.py)
            options["pool_pre_ping"] = True  # after a restart of PostgreSQL no request meets a dead connection
            options["connect_args"] = {name: value for name, value in POSTGRESQL.items() if name not in place.query}
            try:
                engine = sa.create_engine(place, **options)
            except ImportError as error:
                how = f"{PIP_INSTALL} -r {in_shell(ROOT / 'requirements-postgres.txt')}"
                raise LogUnavailable(f"PostgreSQL needs its driver: {how} ({error})") from error
            sa.event.listen(engine, "connect", _set_up_postgresql, insert=True)  # before SQLAlchemy looks around
            sa.event.listen(engine, "begin", _begin_postgresql)
        case other:
            raise LogUnavailable(f"{other} is no database that Hamlet knows: take sqlite or postgresql")
    for event in ("do_connect", "engine_connect"):
        sa.event.listen(engine, event, lambda *_: before_waiting())
    sa.event.listen(engine, "handle_error", _translate)
    return engine


def _parse(url: str) -> sa.URL:
    """Return a URL's parts; raises LogUnavailable, without the password, where it cannot be read."""
    user = url.partition("://")[2].rpartition("@")[0]
    if re.search(r"[@:/#?\[\]\s]|%(?![0-9A-Fa-f]{2})", user.partition(":")[2]):
        raise LogUnavailable(f"in a URL, a password is written encoded: {ENCODED}")
    kind, separator, rest = url.strip().partition("://")
    kind = kind.lower().partition("+")[0]  # the driver is ours, whichever others use
    try:
        return sa.make_url(("postgresql" if kind == "postgres" else kind) + separator + rest)
    except (sa.exc.ArgumentError, ValueError) as error:
        forms = "postgresql://USER:PASSWORD@HOST/NAME or sqlite:///FILE"
        raise LogUnavailable(f"the URL cannot be read: write it as {forms}") from error


def _make_file(path: str) -> None:
    """Make a new log that its owner alone can read, whatever its folder; SQLite gives its other files that mode.

    It appears when SQLite has written to it: so an empty file was emptied, and is not another process's new one.
    """
    if os.path.exists(path) or os.path.exists(f"{path}-wal"):
        return
    cannot_be = (OSError, sqlite3.Error)  # that is for SQLite to say, when it connects
    with suppress(*cannot_be), TemporaryDirectory(dir=os.path.dirname(path)) as folder:
        new = os.path.join(folder, "log.db")
        os.close(os.open(new, os.O_CREAT, 0o600))
        with closing(sqlite3.connect(new)) as connection:
            connection.execute("PRAGMA auto_vacuum = FULL")  # the place of what is deleted is given back
            connection.execute("PRAGMA journal_mode = WAL")
        os.link(new, path)  # fails where another process was quicker


def _set_up_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin transactions on its own: _begin_sqlite does
    connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    connection.execute("PRAGMA secure_delete = ON")
    # With a write-ahead log readers never wait for writers. A committed row survives the death of any process;
    # synchronous = NORMAL means that a power cut may take the last moments (docs/promises.md).
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")


def _set_up_postgresql(connection: Any, _record: Any) -> None:
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise LogUnavailable(
            f"The database is encoded as {encoding}, which cannot hold every message. Make one with: "
            "createdb --encoding UTF8 --locale C --template template0 NAME"
        )
    connection.prepare_threshold = None  # a pooler (pgbouncer) gives each transaction another session
    connection.commit()


def _begin_sqlite(connection: sa.Connection) -> None:
    to_write = connection.get_execution_options().get("transaction") == "write"
    connection.exec_driver_sql("BEGIN IMMEDIATE" if to_write else "BEGIN")


def _begin_postgresql(connection: sa.Connection) -> None:
    """Do what SQLite does by itself: writers take turns, and reads of one transaction see one moment.

    Only transactions that ask for it take turns, over all hosts. Adding predictions does not, and never waits.
    """
    options = connection.get_execution_options()
    connection.exec_driver_sql(NO_TIMEOUTS if options.get("no_timeout") else TIMEOUTS)
    match options.get("transaction"):
        case "write":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITERS})")
        case "snapshot":
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")


def write_transaction(engine: sa.Engine, no_timeout: bool = False) -> AbstractContextManager[sa.Connection]:
    """Begin a transaction that waits for its turn to write before it reads, so that what it read still holds.

    On PostgreSQL one with no_timeout may take as long as it likes. Raises LogUnavailable when it cannot be committed:
    then nothing of it is stored.
    """
    return engine.execution_options(transaction="write", no_timeout=no_timeout).begin()


def snapshot(engine: sa.Engine) -> sa.Connection:
    """Connect to read the log as it is at one moment, whatever is written meanwhile."""
    return engine.execution_options(transaction="snapshot").connect()


class FileWatch:
    """Refuses every connection to a log whose files are not the ones that Hamlet began with, or are damaged.

    SQLite does not look: it goes on writing into deleted files, which vanish when the last process closes them, and
    begins an empty log where the old one was. Looking costs 5 microseconds whenever a connection is used. A fault
    counts until Hamlet is started again: then all processes have the same files. The error is the one that SQLite
    raises when it cannot write.
    """

    def __init__(self, engine: sa.Engine, path: str):
        self._path = path
        self._file: tuple[int, int] | None = None  # the log that was seen first
        self._wal: tuple[int, int] | None = None  # it stays while this process has any connection
        self._connections: set[sqlite3.Connection] = set()
        self._fault = ""
        for event in ("do_connect", "checkout"):
            sa.event.listen(engine, event, lambda *_: self.check())
        sa.event.listen(engine, "connect", self._remember)
        sa.event.listen(engine, "close", self._forget)
        sa.event.listen(engine, "handle_error", self._after_an_error)

    def _remember(self, connection: sqlite3.Connection, _record: Any) -> None:
        self._connections.add(connection)
        self._wal = self._wal or _identity(f"{self._path}-wal")

    def _forget(self, connection: sqlite3.Connection, _record: Any) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._wal = None

    def check(self) -> None:
        """Raise what SQLite raises when it cannot write, unless the files are whole, and those that were seen first."""
        # In this order: another thread may connect meanwhile, and another process makes the log before its -wal.
        known, wal, file = self._wal, _identity(f"{self._path}-wal"), _identity(self._path, may_be_empty=False)
        self._file = self._file or file
        if wal != (known or wal) or (not wal and _lost_wal(self._path)):
            self._fault = f"lost its -wal, with the newest rows. {PUT_BACK}, or, to go on without, delete its -shm"
        if file != self._file or (not file and (wal or os.path.exists(self._path))):
            self._fault = f"was deleted, moved, replaced or emptied. {PUT_BACK}, or, to begin anew, delete what is left"
        if self._fault:
            raise self._error()

    def _after_an_error(self, context: sa.ExceptionContext) -> None:
        error = context.original_exception
        if getattr(error, "sqlite_errorcode", None) in DAMAGED:
            self._fault = f"is damaged ({error}). {PUT_BACK}"
            raise LogUnavailable.because(self._error())

    def _error(self) -> sqlite3.OperationalError:
        return sqlite3.OperationalError(f"{self._path} {self._fault}")


def _identity(path: str, may_be_empty: bool = True) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if may_be_empty or status.st_size else None


def _lost_wal(path: str) -> bool:
    """Say whether there is a -shm without a -wal: SQLite makes the -wal first and deletes it last."""
    shared = _identity(f"{path}-shm")
    return bool(shared and not os.path.exists(f"{path}-wal") and _identity(f"{path}-shm") == shared)

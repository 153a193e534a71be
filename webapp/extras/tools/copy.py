"""Copies the whole log into another database, say from SQLite to PostgreSQL.

The source is read as it is at one moment, whatever is written meanwhile. Only those rows are written that the target
lacks or has otherwise. So a copy that was interrupted goes on where it was, and one that is repeated takes what is new.
At the end the target is read again and compared.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from webapp.errors import BadData
from webapp.extras.monitor.rollups import recount
from webapp.log.database import snapshot
from webapp.log.tables import (
    create_tables,
    failed_sign_ins,
    hourly_predictions,
    hourly_requests,
    jobs,
    metadata,
    predictions,
    rolled_up,
    schema_version,
    sign_ins,
    stream_consumers,
)

CHUNK_ROWS = 1_000  # in memory at once, and in one transaction
# What is forgotten within days at most and belongs to one host or process, and sums that are made anew from the log.
NOT_COPIED = (
    *(failed_sign_ins, sign_ins, jobs, stream_consumers),
    *(hourly_predictions, hourly_requests, rolled_up, schema_version),
)


class Copied(NamedTuple):
    """What came of one table: its rows, how many of them had to be written, and the checksum of both sides."""

    table: str
    rows: int
    written: int
    checksum: str


class _Sum:
    """Count and checksum of rows in any order: databases sort texts differently."""

    def __init__(self) -> None:
        self.rows = self._sum = 0

    def add(self, rows: Iterable[sa.Row[Any]]) -> None:
        for row in rows:
            digest = hashlib.blake2b(repr(tuple(row)).encode(), digest_size=16).digest()
            self._sum = (self._sum + int.from_bytes(digest)) % 2**128
            self.rows += 1

    @property
    def checksum(self) -> str:
        return f"{self._sum:032x}"


def copy_log(source: sa.Engine, target: sa.Engine, progress: Callable[[str, int, int], None]) -> list[Copied]:
    """Make the target's log hold the source's rows; `progress` is told a table, its rows so far, and of how many.

    Raises BadData, before anything is written, if the target holds rows that the source does not have, and afterwards
    if it does not hold the same; and LogUnavailable and SQLAlchemyError.
    """
    if source.url == target.url:
        raise BadData("The log is in that database already.")
    create_tables(target)
    tables = [_plain(table) for table in metadata.sorted_tables if table not in NOT_COPIED]
    with snapshot(source) as connection:
        for table in tables:
            _refuse_others(connection, target, table)
        copied = [_copy(connection, target, table, progress) for table in tables]
    if any(one.written for one in copied):
        recount(target)
    return copied


def count_predictions(engine: sa.Engine) -> int:
    """Return how many predictions there are at this moment, without a look at the sums."""
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(predictions)).scalar_one()


def _plain(table: sa.Table) -> sa.Table:
    """Return a table whose values are read and written as they are stored, without a turn through JSON."""
    return sa.Table(
        table.name,
        sa.MetaData(),
        *(
            sa.Column(
                column.name,
                column.type.impl_instance if isinstance(column.type, sa.TypeDecorator) else column.type,
                primary_key=column.primary_key,
            )
            for column in table.columns
        ),
    )


def _read(connection: sa.Connection, table: sa.Table) -> sa.CursorResult[Any]:
    """Return all rows, of which partitions() gives so many at a time as CHUNK_ROWS says."""
    return connection.execute(sa.select(table), execution_options={"yield_per": CHUNK_ROWS})


def _key(table: sa.Table, row: sa.Row[Any]) -> tuple[Any, ...]:
    return tuple(row._mapping[column] for column in table.primary_key)


def _same_keys(connection: sa.Connection, table: sa.Table, rows: Sequence[sa.Row[Any]]) -> dict[Any, sa.Row[Any]]:
    """Return the rows that have the keys of other rows, by their keys."""
    wanted = sa.tuple_(*table.primary_key).in_([_key(table, row) for row in rows])
    return {_key(table, row): row for row in connection.execute(sa.select(table).where(wanted))}


def _refuse_others(source: sa.Connection, target: sa.Engine, table: sa.Table) -> None:
    with target.connect() as connection, _read(connection, table) as found:
        for rows in found.partitions():
            known = _same_keys(source, table, rows)
            others = sum(_key(table, row) not in known for row in rows)
            if others:
                raise BadData(
                    f"The target's table {table.name} has rows that this log does not have: it is in use, it is the "
                    "copy of another log, or they were deleted here since they were copied. Nothing was changed. "
                    "Give an empty database."
                )


def _copy(
    source: sa.Connection, target: sa.Engine, table: sa.Table, progress: Callable[[str, int, int], None]
) -> Copied:
    total = source.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    upsert, written, ours, theirs = _upsert(target, table), 0, _Sum(), _Sum()
    with _read(source, table) as found:
        for rows in found.partitions():
            with target.begin() as connection:
                known = _same_keys(connection, table, rows)
                new = [row._asdict() for row in rows if known.get(_key(table, row)) != row]
                if new:
                    connection.execute(upsert, new)
            written += len(new)
            ours.add(rows)
            progress(table.name, ours.rows, total)
    with target.connect() as connection, _read(connection, table) as found:
        for rows in found.partitions():
            theirs.add(rows)
    if (ours.rows, ours.checksum) != (theirs.rows, theirs.checksum):
        raise BadData(
            f"The copy of {table.name} is not the same: {ours.rows:,} rows with the checksum {ours.checksum} here, "
            f"{theirs.rows:,} with {theirs.checksum} there. Was the target written meanwhile?"
        )
    return Copied(table.name, ours.rows, written, ours.checksum)


def _upsert(target: sa.Engine, table: sa.Table) -> sa.Insert:
    insert: Any = (postgresql if target.dialect.name == "postgresql" else sqlite).insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    if not others:
        statement: sa.Insert = insert.on_conflict_do_nothing()
    else:
        statement = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=others)
    return statement

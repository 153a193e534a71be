"""Copies the whole log into another database, say from SQLite to PostgreSQL.

The source is read as it is at one moment, whatever is written meanwhile. Only those rows are written that the target
lacks or has otherwise. So a copy that was interrupted goes on where it was, and one that is repeated takes what is new.
At the end the rows of both are counted.
"""

from collections.abc import Sequence
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
    metadata,
    rolled_up,
    schema_version,
    sign_ins,
    stream_consumers,
)

CHUNK_ROWS = 1_000  # in memory at once, and in one transaction
# What is forgotten within days at most and belongs to one host or process, and sums that are made anew from the log.
NOT_COPIED = (
    *(failed_sign_ins, sign_ins, stream_consumers),
    *(hourly_predictions, hourly_requests, rolled_up, schema_version),
)


class Copied(NamedTuple):
    """What came of one table: its rows, and how many of them had to be written."""

    table: str
    rows: int
    written: int


def copy_log(source: sa.Engine, target: sa.Engine) -> list[Copied]:
    """Make the target's log hold the source's rows.

    Raises BadData, before anything is written, if the target holds rows that the source does not have, and afterwards
    if it does not hold as many; and LogUnavailable.
    """
    if source.url == target.url:
        raise BadData("The log is in that database already.")
    create_tables(target)
    tables = [_plain(table) for table in metadata.sorted_tables if table not in NOT_COPIED]
    with snapshot(source) as connection:
        for table in tables:
            _refuse_others(connection, target, table)
        copied = [_copy(connection, target, table) for table in tables]
    if any(one.written for one in copied):
        recount(target)
    return copied


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


def _copy(source: sa.Connection, target: sa.Engine, table: sa.Table) -> Copied:
    upsert, count, written = _upsert(target, table), 0, 0
    with _read(source, table) as found:
        for rows in found.partitions():
            with target.begin() as connection:
                known = _same_keys(connection, table, rows)
                new = [row._asdict() for row in rows if known.get(_key(table, row)) != row]
                if new:
                    connection.execute(upsert, new)
            count += len(rows)
            written += len(new)
    with target.connect() as connection:
        there = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
    if there != count:
        raise BadData(f"The copy of {table.name} has {there:,} rows, not {count:,}: was the target written meanwhile?")
    return Copied(table.name, count, written)


def _upsert(target: sa.Engine, table: sa.Table) -> sa.Insert:
    insert: Any = (postgresql if target.dialect.name == "postgresql" else sqlite).insert(table)
    others = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    if not others:
        statement: sa.Insert = insert.on_conflict_do_nothing()
    else:
        statement = insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=others)
    return statement

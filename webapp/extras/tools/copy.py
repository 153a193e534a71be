"""Copies the whole log into an empty database, say from SQLite to PostgreSQL: all of it, or nothing."""

import sqlalchemy as sa

from webapp.errors import BadData, LogUnavailable
from webapp.extras.monitor.rollups import recount
from webapp.log.database import snapshot, write_transaction
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

CHUNK_ROWS = 1_000  # in memory at once
# What is forgotten within days at most and belongs to one host or process, and sums that are made anew from the log.
NOT_COPIED = (
    *(failed_sign_ins, sign_ins, stream_consumers),
    *(hourly_predictions, hourly_requests, rolled_up, schema_version),
)


def copy_log(source: sa.Engine, target: sa.Engine) -> dict[str, int]:
    """Make the target hold the source's rows as they are at one moment; return how many each table has.

    Raises BadData if the target is not empty, and LogUnavailable; then nothing is written.
    """
    try:
        create_tables(target)
    except LogUnavailable as error:  # whose words are about this Hamlet's own log
        raise BadData(f"{target.url!r} cannot be used: {error.reason or error}") from error
    tables = [table for table in metadata.sorted_tables if table not in NOT_COPIED]
    counts = {}
    with snapshot(source) as reading, write_transaction(target, no_timeout=True) as writing:
        for table in tables:
            if writing.execute(sa.select(table).limit(1)).first():
                raise BadData(f"The target's table {table.name} has rows already. Give an empty database.")
            counts[table.name] = 0
            with reading.execute(sa.select(table), execution_options={"yield_per": CHUNK_ROWS}) as rows:
                for chunk in rows.partitions():
                    writing.execute(sa.insert(table), [row._asdict() for row in chunk])
                    counts[table.name] += len(chunk)
    recount(target)
    return counts

"""Which consumers of streams are at work, as each of them says every few seconds."""

import datetime as dt
from typing import Any, TypedDict, cast

import sqlalchemy as sa

from webapp.log.database import write_transaction
from webapp.log.tables import stream_consumers

SILENT_AFTER = dt.timedelta(seconds=30)  # it reports every 5 s
FORGOTTEN_AFTER = dt.timedelta(days=1)


class ConsumerRow(TypedDict):
    """What a consumer says of itself; counts are since it was started."""

    name: str
    topic: str
    consumer_group: str
    seen_at: dt.datetime
    lag: int | None  # records on its partitions that are not committed yet
    records: int
    dead_letters: int
    troubles: int  # how often it had to wait: for the broker, the log, the model
    records_per_second: float


def report_consumer(engine: sa.Engine, row: ConsumerRow) -> None:
    """Replace what is known of a consumer, and forget those that fell silent long ago; raises LogUnavailable."""
    gone = (stream_consumers.c.name == row["name"]) | (stream_consumers.c.seen_at < row["seen_at"] - FORGOTTEN_AFTER)
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(stream_consumers).where(gone))
        connection.execute(sa.insert(stream_consumers).values(**row))


def forget_consumer(engine: sa.Engine, name: str) -> None:
    """Forget a consumer that has stopped as it should; raises LogUnavailable."""
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(stream_consumers).where(stream_consumers.c.name == name))


def consumers(engine: sa.Engine, now: dt.datetime) -> list[dict[str, Any]]:
    """Return the consumers that were seen within a day, by name, each with whether it has fallen silent."""
    query = (
        sa.select(stream_consumers)
        .where(stream_consumers.c.seen_at >= now - FORGOTTEN_AFTER)
        .order_by(stream_consumers.c.name)
    )
    with engine.connect() as connection:
        rows = [cast(ConsumerRow, dict(row)) for row in connection.execute(query).mappings()]
    return [
        {**row, "seen_at": row["seen_at"].isoformat(), "silent": now - row["seen_at"] > SILENT_AFTER} for row in rows
    ]

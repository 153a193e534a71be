"""The log's tables, as SQLAlchemy sees them. They are created and changed by migrations.py alone."""

import datetime as dt
import json
import os
import time
from typing import Any, TypedDict

import sqlalchemy as sa


class UTCDateTime(sa.TypeDecorator[dt.datetime]):
    """A time that is UTC in Python and in the table; SQLite would drop the time zone without a word."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        return value and value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        return value and value.replace(tzinfo=dt.UTC)


class JSONText(sa.TypeDecorator[Any]):
    """A value kept as JSON in a text column, which every database has and every tool can read."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: sa.Dialect) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)


class TermContribution(TypedDict):
    """One line of an explanation: a term and what it adds to the log-odds of spam."""

    term: str
    contribution: float


class PredictionRow(TypedDict):
    """One prediction, as it is stored and as every door shows it."""

    id: str
    created_at: dt.datetime
    source: str  # form, api, batch, stream or cli
    text: str | None  # None where HAMLET_STORE_TEXT is false
    text_hash: str | None  # and this is None where it is true
    label: str
    spam_probability: float
    threshold: float
    model_version: str
    explanation: list[TermContribution] | None
    latency_ms: float
    request_id: str | None
    sender_report: str | None  # right, wrong or unsure: what the sender said of the verdict; not the truth


class FailureRow(TypedDict):
    """One request that was refused or went wrong."""

    id: str
    created_at: dt.datetime
    source: str
    status: int
    what: str
    request_id: str | None


metadata = sa.MetaData()

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("text", sa.Text),
    sa.Column("text_hash", sa.Text),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("spam_probability", sa.Double, nullable=False),
    sa.Column("threshold", sa.Double, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("explanation", JSONText),
    sa.Column("latency_ms", sa.Double, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("sender_report", sa.Text),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
)


def new_id() -> str:
    """Return an id that nobody can guess and that grows with time, so that the index is appended to.

    It is a UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, then 74 random bits.
    """
    random = int.from_bytes(os.urandom(10))
    value = (time.time_ns() // 1_000_000) << 80 | 7 << 76 | (random >> 68) << 64 | 2 << 62 | random & (1 << 62) - 1
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

"""The log's schema, said once: create_tables makes it, and each row goes in and comes out by these columns.

Ids tell their time: a range of time is a range of ids.
"""

import datetime as dt
import os
import time
from typing import Any

import sqlalchemy as sa

from webapp.errors import LogUnavailable
from webapp.log.database import write_transaction

Row = dict[str, Any]  # a row of any table, by the names of its columns


def first_id(moment: dt.datetime) -> str:
    """Return the smallest id that new_id can give at a time: ids from there on are of that time or later."""
    digits = f"{round(moment.timestamp() * 1e6) // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def moment_of(id_: str) -> dt.datetime:
    """Return the time at which new_id gave an id, to the millisecond."""
    return dt.datetime.fromtimestamp(int(id_[:8] + id_[9:13], 16) / 1000, dt.UTC)


def new_id() -> str:
    """Return an id that cannot be guessed and that grows with time, so that the index is appended to.

    It is a UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 bits of the fraction of one (section
    6.2, method 3), so that messages of the same millisecond keep their order too, then 62 random bits.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8)) >> 2
    value = milliseconds << 80 | 7 << 76 | (nanoseconds * 4096 // 1_000_000) << 64 | 2 << 62 | random
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class UTCDateTime(sa.TypeDecorator[dt.datetime]):
    """A time that is UTC in Python and in the table; SQLite would drop the time zone without a word."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        return value and value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: sa.Dialect) -> dt.datetime | None:
        return value and value.replace(tzinfo=dt.UTC)


metadata = sa.MetaData()
# Marks a column that says nothing of the message's words. All others stay empty where HAMLET_STORE_TEXT is false: a
# column added later does not give away by accident what was not to be kept.
PUBLIC = {"public": True}

predictions = sa.Table(
    "predictions",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True, info=PUBLIC),
    sa.Column("created_at", UTCDateTime, nullable=False, info=PUBLIC),
    sa.Column("source", sa.Text, nullable=False, info=PUBLIC),  # form, api, batch, stream or cli
    sa.Column("text", sa.Text),
    sa.Column("text_hash", sa.Text, info=PUBLIC),  # in place of the text; NULL where that is kept
    sa.Column("label", sa.Text, nullable=False, info=PUBLIC),  # spam or ham, whatever the model calls them
    sa.Column("spam_probability", sa.Double, nullable=False, info=PUBLIC),
    sa.Column("threshold", sa.Double, nullable=False, info=PUBLIC),
    sa.Column("model_version", sa.Text, nullable=False, info=PUBLIC),
    sa.Column("explanation", sa.JSON(none_as_null=True)),  # [{"term": ..., "contribution": ...}]
    sa.Column("latency_ms", sa.Double, nullable=False, info=PUBLIC),
    sa.Column("request_id", sa.Text, info=PUBLIC),
    sa.Column("sender_report", sa.Text, info=PUBLIC),  # right, wrong or unsure: what the sender said; not the truth
    # The version that is tried in the shadow of the served one, if one is, and what it says.
    sa.Column("challenger_version", sa.Text, info=PUBLIC),
    sa.Column("challenger_label", sa.Text, info=PUBLIC),
    sa.Column("challenger_probability", sa.Double, info=PUBLIC),
)


def _index(name: str, *columns: Any, where: Any = None) -> None:
    sa.Index(name, *columns, sqlite_where=where, postgresql_where=where)


_column = predictions.c
_index("predictions_reported", _column.sender_report, _column.id, where=_column.sender_report.is_not(None))
# An id ends in random digits, so these rows are a fair sixteenth of the log (extras/review/samples.py).
_index("predictions_sixteenth", _column.id, where=sa.text("substr(id, 36) = '0'"))
_index("predictions_challenged", _column.challenger_version, _column.id, where=_column.challenger_version.is_not(None))
_index("predictions_contested", _column.id, where=_column.challenger_label != _column.label)


def _table_with_id(name: str, *columns: sa.Column[Any]) -> sa.Table:
    """Return a table whose rows have an id by new_id, and the time that it tells."""
    id_, created_at = (
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("created_at", UTCDateTime, nullable=False),
    )
    return sa.Table(name, metadata, id_, created_at, *columns)


failures = _table_with_id(
    "failures",
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
)

reviews = _table_with_id(
    "reviews",
    sa.Column("prediction_id", sa.String(36), nullable=False),
    sa.Column("reviewer", sa.Text, nullable=False),  # web:SESSION, key:NAME or import
    sa.Column("true_label", sa.Text, nullable=False),  # spam, ham or unsure
    sa.Column("queue", sa.Text, nullable=False),  # why this message was looked at: random, uncertain, reported, ...
)
_index("reviews_prediction", reviews.c.prediction_id, reviews.c.id)  # of each prediction the newest counts
_index("reviews_reviewer", reviews.c.reviewer, reviews.c.id)

# Which record of a file or a stream became which prediction: "stream TOPIC/PARTITION/OFFSET" or "batch RUN/line LINE".
# A key is stored in the transaction that stores its prediction. So a program that does not know how far it came, after
# a crash say, just repeats its work, and nothing is logged twice.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("prediction_id", sa.String(36), nullable=False),
)
_index("idempotency_keys_prediction", idempotency_keys.c.prediction_id)  # else each step of a purge reads all keys

# Which version was served or tried from when on, by whom and why: see extras/lifecycle/switching.py.
switches = _table_with_id(
    "switches",
    sa.Column("kind", sa.Text, nullable=False),  # use, rollback or challenge
    sa.Column("from_version", sa.Text),
    sa.Column("to_version", sa.Text),
    sa.Column("who", sa.Text, nullable=False),  # web:SESSION or command:USER
    sa.Column("why", sa.Text, nullable=False),
)

samples = _table_with_id(
    "samples",
    sa.Column("seed", sa.Integer, nullable=False),
    sa.Column("since", UTCDateTime, nullable=False),
    sa.Column("until", UTCDateTime, nullable=False),
    sa.Column("rate", sa.Double, nullable=False),  # the share of the predictions of that time that was drawn
)

sample_members = sa.Table(
    "sample_members",
    metadata,
    sa.Column("sample_id", sa.String(36), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),  # from 0: the order, itself random, in which to review
    sa.Column("prediction_id", sa.String(36), nullable=False),
)
_index("sample_members_prediction", sample_members.c.prediction_id)

hourly_predictions = sa.Table(
    "hourly_predictions",
    metadata,
    sa.Column("hour", UTCDateTime, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("model_version", sa.Text, primary_key=True),
    sa.Column("label", sa.Text, primary_key=True),
    sa.Column("latency_bucket", sa.Integer, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

hourly_requests = sa.Table(  # those of form and API that were answered (status 200), and all that failed
    "hourly_requests",
    metadata,
    sa.Column("hour", UTCDateTime, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("status", sa.Integer, primary_key=True),
    sa.Column("what", sa.Text, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
)

rolled_up = sa.Table("rolled_up", metadata, sa.Column("before_id", sa.String(36), nullable=False))

drift_references = _table_with_id(
    "drift_references",
    sa.Column("since", UTCDateTime, nullable=False),
    sa.Column("until", UTCDateTime, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("created_at", UTCDateTime, nullable=False),
    sa.Column("key_hash", sa.Text, nullable=False, unique=True),
    sa.Column("revoked_at", UTCDateTime),
)

failed_sign_ins = sa.Table(
    "failed_sign_ins",
    metadata,
    sa.Column("address", sa.Text, primary_key=True),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("last_at", UTCDateTime, nullable=False),
)

sign_ins = sa.Table(
    "sign_ins", metadata, sa.Column("who", sa.Text, primary_key=True), sa.Column("until", UTCDateTime, nullable=False)
)

# The consumers of streams that are at work: see extras/stream/loop.py.
stream_consumers = sa.Table(
    "stream_consumers",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("topic", sa.Text, nullable=False),
    sa.Column("consumer_group", sa.Text, nullable=False),
    sa.Column("seen_at", UTCDateTime, nullable=False),
    sa.Column("lag", sa.BigInteger),
    sa.Column("records", sa.BigInteger, nullable=False),
    sa.Column("dead_letters", sa.BigInteger, nullable=False),
    sa.Column("troubles", sa.BigInteger, nullable=False),
    sa.Column("records_per_second", sa.Double, nullable=False),
)

schema_version = sa.Table("schema_version", metadata, sa.Column("version", sa.Integer, nullable=False))

# Statements that bring a log of version FIRST_VERSION + n to the next one: never change one that was released, add to
# the end. Versions below the first were those of development, before 0.1.0.
STEPS: list[list[str]] = []
FIRST_VERSION = 9


def _begin_with(table: sa.Table, **values: Any) -> None:
    """Let a table have a row from the start."""
    sa.event.listen(table, "after_create", lambda _, connection, **__: connection.execute(sa.insert(table), values))


_begin_with(rolled_up, before_id="")
_begin_with(schema_version, version=FIRST_VERSION + len(STEPS))


def create_tables(engine: sa.Engine, steps: list[list[str]] = STEPS) -> None:
    """Make the tables that are missing, and bring those of an older log to today's shape, in one transaction.

    Processes and hosts that start at the same moment take turns. Raises LogUnavailable for a log of development, or of
    a newer Hamlet.
    """
    latest, known = FIRST_VERSION + len(steps), sa.select(schema_version.c.version)
    with engine.connect() as connection:
        missing = set(metadata.tables) - set(sa.inspect(connection).get_table_names())
        if not missing and connection.execute(known).scalar() == latest:
            return  # nothing to do, so no need to wait for another's lock
    with write_transaction(engine, no_timeout=True) as connection:
        metadata.create_all(connection)
        version = connection.execute(known).scalar_one()
        if not FIRST_VERSION <= version <= latest:
            raise LogUnavailable(
                f"the log has version {version}, this Hamlet knows versions {FIRST_VERSION} to {latest}: use the "
                "Hamlet that wrote it, or move the log away, and a new one is begun"
            )
        for step in steps[version - FIRST_VERSION :]:
            for statement in step:
                connection.execute(sa.text(statement))
        connection.execute(sa.update(schema_version).values(version=latest))

"""Spans of the log, and its sums by the hour, so that figures over millions of rows take no time.

The sums hold nothing but the log's counts: `flask log recount` makes them again. Each question first brings them up to
date: rows older than a minute are added to their hour for good. Newer ones, some of which may not be committed yet, are
counted as they are.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from webapp.errors import InvalidInput
from webapp.log.database import snapshot, write_transaction
from webapp.log.tables import (
    UTCDateTime,
    failures,
    first_id,
    hourly_predictions,
    hourly_requests,
    moment_of,
    predictions,
    rolled_up,
)

RANGES = {"24h": dt.timedelta(hours=24), "7d": dt.timedelta(days=7), "30d": dt.timedelta(days=30), "all": None}
HOUR = dt.timedelta(hours=1)
# Longer than a row can wait for its commit after it got its id. The clocks of several hosts must not differ by more.
SETTLED = dt.timedelta(minutes=1)
ANSWERED = 200  # the status of requests that were answered with predictions
Hour = sa.Label[dt.datetime]  # as a column of a query
DECADES = range(-3, 5)  # of latencies in milliseconds: from .01 ms to 1,000 s


class Span(NamedTuple):
    """Whole hours of UTC, since <= time < until, of one model version or of all."""

    name: str
    since: dt.datetime
    until: dt.datetime
    model_version: str | None = None

    @property
    def step(self) -> str:
        """What one point of a chart is: "hour", or "day" where hours would be too many."""
        return "hour" if self.until - self.since <= dt.timedelta(days=3) else "day"

    def step_of(self, moment: dt.datetime) -> dt.datetime:
        """Return the beginning of the hour or day that a time is in."""
        return _hour_of(moment) if self.step == "hour" else _hour_of(moment).replace(hour=0)

    def steps(self) -> list[dt.datetime]:
        """Return the beginnings of all hours or days of the span."""
        first, length = self.step_of(self.since), HOUR if self.step == "hour" else dt.timedelta(days=1)
        return [first + i * length for i in range(-((first - self.until) // length))]


def span(engine: sa.Engine, name: str, model_version: str | None = None, now: dt.datetime | None = None) -> Span:
    """Return the span with a name of RANGES that ends with the current hour; raises InvalidInput.

    It does not begin before the log: a chart of seven days, six of them empty, would look broken.
    """
    if name not in RANGES:
        raise InvalidInput(f"range must be one of {', '.join(RANGES)}.")
    until = _hour_of(now or dt.datetime.now(dt.UTC)) + HOUR
    with engine.connect() as connection:
        first = _first_from(connection, "")
    begin = _hour_of(moment_of(first)) if first else until - HOUR
    length = RANGES[name]
    since = begin if length is None else max(begin, until - length)
    return Span(name, min(since, until - HOUR), until, model_version)


def _hour_of(moment: dt.datetime) -> dt.datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _first_from(connection: sa.Connection, start: str) -> str | None:
    """Return the first id from `start` on, of a prediction or a failure."""
    firsts = [
        connection.execute(sa.select(sa.func.min(table.c.id)).where(table.c.id >= start)).scalar()
        for table in (predictions, failures)
    ]
    return min(filter(None, firsts), default=None)


# As SQL, a latency to two digits as 100 * decade + digits: -60 is 4.0 ms, 40 is 40 ms, 110 is 100 ms.
_ms = predictions.c.latency_ms
LATENCY_BUCKET = sa.case(
    *((_ms < 99.5 * 10.0**d, 100 * d + sa.cast(sa.func.round(_ms / 10.0**d), sa.Integer)) for d in DECADES),
    else_=100 * DECADES[-1] + 99,
)


def bucket_ms(bucket: int) -> float:
    """Return the milliseconds that a latency bucket stands for."""
    decade, digits = divmod(bucket, 100)
    return round(digits * 10.0**decade, 4)


def _sum_predictions(hour: Hour, start: str, end: str) -> sa.Select[Any]:
    columns = predictions.c
    by = [columns.source, columns.model_version, columns.label, LATENCY_BUCKET.label("latency_bucket")]
    within = columns.id >= start, columns.id < end
    names = [column.name for column in by]  # by their names: PostgreSQL does not take two CASEs for one
    return sa.select(hour, *by, sa.func.count().label("count")).where(*within).group_by(*names)


def _sum_requests(hour: Hour, start: str, end: str) -> sa.Select[Any]:
    """Count the requests that failed, and those of form and API that were answered: these may hold many texts.

    The rows of a request have one id and one time, to the microsecond: some clients give all requests one id.
    """
    by = [failures.c.source, failures.c.status, failures.c.what]
    failed = sa.select(hour, *by, sa.func.count().label("count")).where(failures.c.id >= start, failures.c.id < end)
    columns = predictions.c
    request = sa.func.coalesce(columns.request_id + sa.cast(columns.created_at, sa.Text), columns.id)
    requests = sa.func.count(sa.distinct(request))
    answered = sa.select(hour, columns.source, sa.literal(ANSWERED), sa.literal(""), requests).where(
        columns.id >= start, columns.id < end, columns.source.in_(("form", "api"))
    )
    return sa.select(sa.union_all(failed.group_by(*by), answered.group_by(columns.source)).subquery())


SUMS: dict[sa.Table, Callable[[Hour, str, str], sa.Select[Any]]] = {
    hourly_predictions: _sum_predictions,
    hourly_requests: _sum_requests,
}


def count(
    engine: sa.Engine, sums: sa.Table, by: Sequence[str] = (), span: Span | None = None
) -> Counter[tuple[Any, ...]]:
    """Return the counts of a span, or of the whole log, by columns of a table of sums, or by "day"."""
    refresh_rollups(engine)
    with snapshot(engine) as connection:  # so that no row moves from the tail into the sums meanwhile
        before = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
        tail = [SUMS[sums](*hour) for hour in _hours(connection, before, None)]
        rows = sa.union_all(sa.select(sums), *tail).subquery()
        chosen = [sa.func.date(rows.c.hour) if name == "day" else rows.c[name] for name in by]
        total = sa.cast(sa.func.coalesce(sa.func.sum(rows.c.count), 0), sa.BigInteger)  # PostgreSQL makes it a Decimal
        query = sa.select(*chosen, total).group_by(*chosen)
        if span:
            query = query.where(rows.c.hour >= span.since, rows.c.hour < span.until)
        if span and span.model_version:
            query = query.where(rows.c.model_version == span.model_version)
        found = connection.execute(query).all()
    totals: Counter[tuple[Any, ...]] = Counter()
    for *key, number in found:
        totals[tuple(_midnight(part) if name == "day" else part for name, part in zip(by, key, strict=True))] = number
    return totals


def _midnight(day: object) -> dt.datetime:
    return dt.datetime.fromisoformat(str(day)).replace(tzinfo=dt.UTC)  # SQLite says a text, PostgreSQL a date


def count_predictions(engine: sa.Engine) -> int:
    """Return how many predictions the log holds."""
    return count(engine, hourly_predictions)[()]


def refresh_rollups(engine: sa.Engine, now: dt.datetime | None = None) -> None:
    """Add all rows up to a minute ago to their hour: the first time, this takes some seconds for each million rows."""
    now = now or dt.datetime.now(dt.UTC)
    settled = first_id(now - SETTLED)
    with engine.connect() as connection:
        was_set_back = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one() > first_id(now)
    if was_set_back:  # the clock, so new rows get ids between those that are summed up
        with write_transaction(engine) as connection:
            forget_sums(connection)
    while True:
        with engine.connect() as connection:  # reading alone: the server's writers need not wait for it
            before = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
            hour = next(_hours(connection, before, settled), None)
            if hour is None:
                return
            new = {sums: connection.execute(select(*hour)).mappings().all() for sums, select in SUMS.items()}
        with write_transaction(engine) as connection:
            move = sa.update(rolled_up).where(rolled_up.c.before_id == before).values(before_id=hour[2])
            if connection.execute(move).rowcount == 1:  # else another process did it meanwhile
                for sums, added in new.items():
                    if added:
                        connection.execute(_add(engine, sums), list(map(dict, added)))


def _add(engine: sa.Engine, sums: sa.Table) -> sa.Insert:
    """Return an INSERT that adds to a sum which exists already."""
    insert: Any = postgresql.insert(sums) if engine.dialect.name == "postgresql" else sqlite.insert(sums)
    total = sums.c.count + insert.excluded.count
    added: sa.Insert = insert.on_conflict_do_update(index_elements=sums.primary_key.columns, set_={"count": total})
    return added


def forget_sums(connection: sa.Connection) -> None:
    """Delete the sums; the next question makes them again from the log."""
    for sums in SUMS:
        connection.execute(sa.delete(sums))
    connection.execute(sa.update(rolled_up).values(before_id=""))


def recount(engine: sa.Engine) -> None:
    """Make the sums again."""
    with write_transaction(engine, no_timeout=True) as connection:
        forget_sums(connection)
    refresh_rollups(engine)


def _hours(connection: sa.Connection, start: str, end: str | None) -> Iterator[tuple[Hour, str, str]]:
    """Yield (hour, first id, end id) of each hour in which there are predictions or failures with start <= id < end."""
    while (first := _first_from(connection, start)) and (end is None or first < end):
        hour = _hour_of(moment_of(first))
        start = first_id(hour + HOUR)
        yield sa.literal(hour, UTCDateTime()).label("hour"), first, min(start, end) if end else start

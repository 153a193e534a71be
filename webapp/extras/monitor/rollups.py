"""Spans of the log, and its sums by the hour, so that figures over millions of rows take no time.

The sums hold nothing but the log's counts: `flask log recount` makes them again. Each question first brings them up to
date: rows older than a minute are added to their hour for good. Newer ones, some of which may not be committed yet, are
counted as they are.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from webapp.errors import InvalidInput
from webapp.log.database import snapshot, write_transaction
from webapp.log.tables import (
    failures,
    first_id,
    hourly_predictions,
    hourly_requests,
    moment_of,
    predictions,
    rolled_up,
)

RANGES = {"24h": dt.timedelta(hours=24), "7d": dt.timedelta(days=7), "30d": dt.timedelta(days=30), "all": None}
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)
# Longer than a row can wait for its commit after it got its id. The clocks of several hosts must not differ by more.
SETTLED = dt.timedelta(minutes=1)
ANSWERED = 200  # the status of requests that were answered with predictions
AT_ONCE = dt.timedelta(hours=6)  # of the log, that is added to the sums in one transaction
DECADES = range(-3, 5)  # of latencies in milliseconds: from .01 ms to 1,000 s


class Span(NamedTuple):
    """Whole hours of UTC, since <= time < until, of one model version or of all."""

    name: str
    since: dt.datetime
    until: dt.datetime
    model_version: str | None = None

    @property
    def step(self) -> str:
        """What one point of a chart is: "hour", or "day" or "month" where these would be too many."""
        length = self.until - self.since
        return "hour" if length <= 3 * DAY else "day" if length <= 366 * DAY else "month"

    def step_of(self, moment: dt.datetime) -> dt.datetime:
        """Return the beginning of the hour, day or month that a time is in."""
        begin = _hour_of(moment)
        return begin if self.step == "hour" else begin.replace(hour=0, day=1 if self.step == "month" else begin.day)

    def steps(self) -> list[dt.datetime]:
        """Return the beginnings of all hours, days or months of the span."""
        steps, length = [self.step_of(self.since)], {"hour": HOUR, "day": DAY, "month": 31 * DAY}[self.step]
        while (following := self.step_of(steps[-1] + length)) < self.until:
            steps.append(following)
        return steps


EVER = Span("all", dt.datetime.fromtimestamp(0, dt.UTC), dt.datetime.max.replace(tzinfo=dt.UTC))


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
    return Span(name, min(since, until - HOUR), until, model_version or None)


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


def _hour_of_rows(table: sa.Table) -> list[sa.Label[Any]]:
    """Return, as SQL, the day and the hour of each row."""
    return [sa.func.date(table.c.created_at).label("day"), sa.extract("hour", table.c.created_at).label("hour")]


def _sum_predictions(start: str, end: str) -> sa.Select[Any]:
    columns = predictions.c
    by = [columns.source, columns.model_version, columns.label, LATENCY_BUCKET.label("latency_bucket")]
    by += _hour_of_rows(predictions)
    within = columns.id >= start, columns.id < end
    names = [column.name for column in by]  # by their names: PostgreSQL does not take two CASEs for one
    return sa.select(*by, sa.func.count().label("count")).where(*within).group_by(*names)


def _sum_requests(start: str, end: str) -> sa.Select[Any]:
    """Count the requests that failed, and those of form and API that were answered: these may hold many texts.

    The rows of a request have one id and one time, to the microsecond: some clients give all requests one id.
    """
    by = [failures.c.source, failures.c.status, failures.c.what, *_hour_of_rows(failures)]
    failed = sa.select(*by, sa.func.count().label("count")).where(failures.c.id >= start, failures.c.id < end)
    columns, hour = predictions.c, _hour_of_rows(predictions)
    request = sa.func.coalesce(columns.request_id + sa.cast(columns.created_at, sa.Text), columns.id)
    requests = sa.func.count(sa.distinct(request))
    answered = sa.select(columns.source, sa.literal(ANSWERED), sa.literal(""), *hour, requests).where(
        columns.id >= start, columns.id < end, columns.source.in_(("form", "api"))
    )
    names = [column.name for column in by]
    return sa.select(sa.union_all(failed.group_by(*names), answered.group_by("source", "day", "hour")).subquery())


SUMS: dict[sa.Table, Callable[[str, str], sa.Select[Any]]] = {
    hourly_predictions: _sum_predictions,
    hourly_requests: _sum_requests,
}


def _new_sums(connection: sa.Connection, sums: sa.Table, start: str, end: str) -> list[dict[str, Any]]:
    """Return what is to be added to a table of sums for the rows with start <= id < end."""
    names = [column.name for column in sums.c]
    return [
        {name: row[name] for name in names} | {"hour": _time(row["day"]) + int(row["hour"]) * HOUR}
        for row in connection.execute(SUMS[sums](start, end)).mappings()
    ]


def count(engine: sa.Engine, sums: sa.Table, by: Sequence[str] = (), span: Span = EVER) -> Counter[tuple[Any, ...]]:
    """Return the counts of a span by columns of a table of sums, or by "step" of the span."""
    refresh_rollups(engine)
    step = sums.c.hour if span.step == "hour" else sa.func.date(sums.c.hour)  # days are far fewer rows than hours
    chosen = [step if name == "step" else sums.c[name] for name in by]
    total = sa.cast(sa.func.coalesce(sa.func.sum(sums.c.count), 0), sa.BigInteger)  # PostgreSQL makes it a Decimal
    named = (column.label(name) for name, column in zip((*by, "count"), (*chosen, total), strict=True))
    query = sa.select(*named).group_by(*chosen).where(sums.c.hour >= span.since, sums.c.hour < span.until)
    if version := span.model_version:
        query = query.where(sums.c.model_version == version)
    totals: Counter[tuple[Any, ...]] = Counter()
    with snapshot(engine) as connection:  # so that no row moves from the newest ones into the sums meanwhile
        before = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
        newest = _new_sums(connection, sums, before, first_id(span.until))
        newest = [row | {"step": row["hour"]} for row in newest if version in (None, row.get("model_version"))]
        for row in (*connection.execute(query).mappings(), *newest):
            keys = (span.step_of(_time(row[name])) if name == "step" else row[name] for name in by)
            totals[tuple(keys)] += row["count"]
    return totals


def _time(value: object) -> dt.datetime:
    """Return a time, or the beginning of a day, which SQLite gives as a text and PostgreSQL as a date."""
    return dt.datetime.fromisoformat(str(value)).replace(tzinfo=dt.UTC)


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
            first = _first_from(connection, before)
            if first is None or first >= settled:
                return
            end = min(first_id(moment_of(first) + AT_ONCE), settled)
            new = {sums: _new_sums(connection, sums, first, end) for sums in SUMS}
        with write_transaction(engine) as connection:
            move = sa.update(rolled_up).where(rolled_up.c.before_id == before).values(before_id=end)
            if connection.execute(move).rowcount == 1:  # else another process did it meanwhile
                for sums, added in new.items():
                    if added:
                        connection.execute(_add(engine, sums), added)


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

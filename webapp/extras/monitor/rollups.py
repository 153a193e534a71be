"""Sums by the hour, kept beside the log, so that figures over millions of rows take no time.

They can be made anew from the log at any moment (`flask log recount`), and nothing else is in them. Whoever asks for
counts brings the sums up to date first: rows of the last minute, some of which may not be committed yet, are counted
as they are, all older ones are added to their hour once and for all.
"""

import datetime as dt
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa

from webapp.config import FLASK
from webapp.errors import NotReady
from webapp.log.database import snapshot, write_transaction
from webapp.log.ids import first_id, moment_of
from webapp.log.tables import failures, hourly_predictions, hourly_requests, predictions, rolled_up

HOUR = dt.timedelta(hours=1)
HOURS_AT_ONCE = 24  # in one transaction
PATIENCE_S = 15.0  # nobody waits longer for a page
# Longer than a row can wait for its commit after it got its id. The clocks of several hosts must not differ by more.
SETTLED = dt.timedelta(minutes=1)
ANSWERED = 200  # the status of requests that were answered with predictions
DECADES = range(-3, 5)  # of latencies in milliseconds: from .01 ms to 1,000 s


def _latency_bucket(ms: sa.ColumnElement[float]) -> sa.Case[int]:
    """Return, as SQL, a latency to two digits as 100 * decade + digits: -60 is 4.0 ms, 40 is 40 ms, 110 is 100 ms."""
    whens = [(ms < 99.5 * 10.0**d, 100 * d + sa.cast(sa.func.round(ms / 10.0**d), sa.Integer)) for d in DECADES]
    return sa.case(*whens, else_=100 * DECADES[-1] + 99)


LATENCY_BUCKET = _latency_bucket(predictions.c.latency_ms)


def bucket_ms(bucket: int) -> float:
    """Return the milliseconds that a latency bucket stands for."""
    decade, digits = divmod(bucket, 100)
    return round(digits * 10.0**decade, 4)


def _sum_predictions(start: str, end: str) -> list[sa.Select[Any]]:
    columns = predictions.c
    by = [columns.source, columns.model_version, columns.label, LATENCY_BUCKET.label("latency_bucket")]
    within = columns.id >= start, columns.id < end
    names = [column.name for column in by]  # by their names: PostgreSQL does not take two CASEs for one
    return [sa.select(*by, sa.func.count().label("count")).where(*within).group_by(*names)]


def _sum_requests(start: str, end: str) -> list[sa.Select[Any]]:
    """Count those that failed, and those of form and API that were answered: one of these may hold many texts."""
    by = [failures.c.source, failures.c.status, failures.c.what]
    failed = sa.select(*by, sa.func.count().label("count")).where(failures.c.id >= start, failures.c.id < end)
    columns = predictions.c
    requests = sa.func.count(sa.distinct(sa.func.coalesce(columns.request_id, columns.id)))
    answered = sa.select(
        columns.source, sa.literal(ANSWERED).label("status"), sa.literal("").label("what"), requests.label("count")
    ).where(columns.id >= start, columns.id < end, columns.source.in_(("form", "api")))
    return [failed.group_by(*by), answered.group_by(columns.source)]


PREDICTIONS, REQUESTS = hourly_predictions, hourly_requests
SUMS = {PREDICTIONS: _sum_predictions, REQUESTS: _sum_requests}


def count(
    engine: sa.Engine,
    sums: sa.Table,
    by: Sequence[str] = (),
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    model_version: str | None = None,
) -> Counter[tuple[Any, ...]]:
    """Return what a table of sums holds from since <= hour < until, by the given columns.

    These are those of the table, "hour" and "day"; both come as the time at which they begin.
    """
    refresh_rollups(engine)
    totals: Counter[tuple[Any, ...]] = Counter()
    within = [sums.c.hour >= since] if since else []
    within += [sums.c.hour < until] if until else []
    within += [sums.c.model_version == model_version] if model_version else []
    chosen = [sa.func.date(sums.c.hour) if name == "day" else sums.c[name] for name in by]
    with snapshot(engine) as connection:  # so that no row moves from the tail into the sums meanwhile
        before = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
        summed = sa.select(*chosen, sa.func.sum(sums.c.count)).where(*within).group_by(*chosen)
        for *key, number in connection.execute(summed):
            totals[tuple(_midnight(part) if name == "day" else part for name, part in zip(by, key, strict=True))] += (
                number or 0
            )
        for hour, start, end in _hours(connection, before, None):
            if (since and hour < since) or (until and hour >= until):
                continue
            for query in SUMS[sums](start, end):
                for row in connection.execute(query).mappings():
                    if model_version in (None, row.get("model_version")):
                        values = {**row, "hour": hour, "day": hour.replace(hour=0)}
                        totals[tuple(values[name] for name in by)] += row["count"]
    return +totals


def _midnight(day: object) -> dt.datetime:
    return dt.datetime.fromisoformat(str(day)).replace(tzinfo=dt.UTC)  # SQLite says a text, PostgreSQL a date


def count_predictions(engine: sa.Engine) -> int:
    """Return how many predictions the log holds."""
    return count(engine, PREDICTIONS)[()]


def refresh_rollups(engine: sa.Engine, now: dt.datetime | None = None, patience_s: float = PATIENCE_S) -> None:
    """Add all rows up to a minute ago to their hour.

    The first time this takes some seconds for each million rows. Raises NotReady when it takes longer than
    `patience_s`: what was summed up until then stays, and the next call goes on from there; and LogUnavailable.
    """
    now = now or dt.datetime.now(dt.UTC)
    settled = first_id(now - SETTLED)
    give_up_at = time.monotonic() + patience_s
    _reset_after_clock_change(engine, now)
    while True:
        with engine.connect() as connection:  # reading alone: the server's writers need not wait for it
            before = end = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
            new: dict[sa.Table, list[dict[str, Any]]] = {sums: [] for sums in SUMS}
            for hour, start, end in islice(_hours(connection, before, settled), HOURS_AT_ONCE):
                for sums, select in SUMS.items():
                    for query in select(start, end):
                        new[sums] += [{**row, "hour": hour} for row in connection.execute(query).mappings()]
                if time.monotonic() > give_up_at:
                    break
        if end == before:
            return
        with write_transaction(engine) as connection:
            move = sa.update(rolled_up).where(rolled_up.c.before_id == before).values(before_id=end)
            if connection.execute(move).rowcount == 1:  # else somebody else did it meanwhile
                for sums, added in new.items():
                    if added:
                        connection.execute(_add(sums), added)
        if time.monotonic() > give_up_at:
            raise NotReady(
                f"The log is being summed up; this has got to {hour:%d %B %Y %H:%M} UTC. Please try again in a moment, "
                f"or run: {FLASK} log recount"
            )


def _reset_after_clock_change(engine: sa.Engine, now: dt.datetime) -> None:
    """If the clock was set back, forget the sums from then on: new rows get ids between those that are summed up."""
    with engine.connect() as connection:
        if connection.execute(sa.select(rolled_up.c.before_id)).scalar_one() <= first_id(now):
            return
    hour = (now - SETTLED).replace(minute=0, second=0, microsecond=0)
    with write_transaction(engine) as connection:
        for sums in SUMS:
            connection.execute(sa.delete(sums).where(sums.c.hour >= hour))
        connection.execute(sa.update(rolled_up).values(before_id=first_id(hour)))


def forget_sums(connection: sa.Connection) -> None:
    """Throw the sums away; the next look makes them anew from the log."""
    for sums in SUMS:
        connection.execute(sa.delete(sums))
    connection.execute(sa.update(rolled_up).values(before_id=""))


def recount(engine: sa.Engine) -> None:
    """Make the sums anew; raises LogUnavailable."""
    with write_transaction(engine, no_timeout=True) as connection:
        forget_sums(connection)
    refresh_rollups(engine, patience_s=float("inf"))


def _hours(connection: sa.Connection, start: str, end: str | None) -> Iterator[tuple[dt.datetime, str, str]]:
    """Yield (hour, first id, end id) of each hour in which there are predictions or failures with start <= id < end."""
    while True:
        firsts = [
            connection.execute(sa.select(sa.func.min(table.c.id)).where(table.c.id >= start)).scalar()
            for table in (predictions, failures)
        ]
        first = min((one for one in firsts if one is not None), default=None)
        if first is None or (end is not None and first >= end):
            return
        hour = moment_of(first).replace(minute=0, second=0, microsecond=0)
        start = first_id(hour + HOUR)
        yield hour, first, min(start, end) if end else start


def _add(sums: sa.Table) -> Any:
    """Return an INSERT that adds to a sum which exists already; SQLite and PostgreSQL know it alike."""
    names = [column.name for column in sums.columns]
    keys = ", ".join(names[:-1])
    values = ", ".join(f":{name}" for name in names)
    return sa.text(  # the names of tables and columns are ours; values are bound
        f"INSERT INTO {sums.name} ({keys}, count) VALUES ({values}) "  # noqa: S608
        f"ON CONFLICT ({keys}) DO UPDATE SET count = {sums.name}.count + excluded.count"
    ).bindparams(*[sa.bindparam(column.name, type_=column.type) for column in sums.columns])

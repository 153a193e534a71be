"""Sums by the hour, kept beside the log, so that figures over millions of rows take no time.

They can be made anew from the log at any moment (`flask log recount`), and nothing else is in them. Whoever asks for
counts brings the sums up to date first: rows of the last minute, some of which may not be committed yet, are counted
as they are, all older ones are added to their hour once and for all.
"""

import datetime as dt
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from webapp.log.database import snapshot, write_transaction
from webapp.log.tables import failures, first_id, hourly_predictions, hourly_requests, moment_of, predictions, rolled_up

HOUR = dt.timedelta(hours=1)
HOURS_AT_ONCE = 24  # in one transaction
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


def _sum_predictions(start: str, end: str) -> sa.Select[Any]:
    columns = predictions.c
    by = [columns.source, columns.model_version, columns.label, LATENCY_BUCKET.label("latency_bucket")]
    within = columns.id >= start, columns.id < end
    names = [column.name for column in by]  # by their names: PostgreSQL does not take two CASEs for one
    return sa.select(*by, sa.func.count().label("count")).where(*within).group_by(*names)


def _sum_requests(start: str, end: str) -> sa.CompoundSelect[Any]:
    """Count those that failed, and those of form and API that were answered: one of these may hold many texts.

    Its rows have its id and nearly one time, to a quarter of a second here: some clients give all requests one id.
    """
    by = [failures.c.source, failures.c.status, failures.c.what]
    failed = sa.select(*by, sa.func.count().label("count")).where(failures.c.id >= start, failures.c.id < end)
    columns = predictions.c
    request = sa.func.coalesce(columns.request_id + sa.func.substr(columns.id, 1, 11), columns.id)
    requests = sa.func.count(sa.distinct(request))
    answered = sa.select(columns.source, sa.literal(ANSWERED), sa.literal(""), requests).where(
        columns.id >= start, columns.id < end, columns.source.in_(("form", "api"))
    )
    return sa.union_all(failed.group_by(*by), answered.group_by(columns.source))


PREDICTIONS, REQUESTS = hourly_predictions, hourly_requests
SUMS: dict[sa.Table, Callable[[str, str], sa.Executable]] = {PREDICTIONS: _sum_predictions, REQUESTS: _sum_requests}


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
            for row in connection.execute(SUMS[sums](start, end)).mappings():
                if model_version in (None, row.get("model_version")):
                    values = {**row, "hour": hour, "day": hour.replace(hour=0)}
                    totals[tuple(values[name] for name in by)] += row["count"]
    return +totals


def _midnight(day: object) -> dt.datetime:
    return dt.datetime.fromisoformat(str(day)).replace(tzinfo=dt.UTC)  # SQLite says a text, PostgreSQL a date


def count_predictions(engine: sa.Engine) -> int:
    """Return how many predictions the log holds."""
    return count(engine, PREDICTIONS)[()]


def refresh_rollups(engine: sa.Engine, now: dt.datetime | None = None) -> None:
    """Add all rows up to a minute ago to their hour; raises LogUnavailable.

    The first time this takes some seconds for each million rows. What was summed up stays, whoever gives up waiting.
    """
    now = now or dt.datetime.now(dt.UTC)
    settled = first_id(now - SETTLED)
    _reset_after_clock_change(engine, now)
    while True:
        with engine.connect() as connection:  # reading alone: the server's writers need not wait for it
            before = end = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
            new: dict[sa.Table, list[dict[str, Any]]] = {sums: [] for sums in SUMS}
            for hour, start, end in islice(_hours(connection, before, settled), HOURS_AT_ONCE):
                for sums, select in SUMS.items():
                    new[sums] += [{**row, "hour": hour} for row in connection.execute(select(start, end)).mappings()]
        if end == before:
            return
        with write_transaction(engine) as connection:
            move = sa.update(rolled_up).where(rolled_up.c.before_id == before).values(before_id=end)
            if connection.execute(move).rowcount == 1:  # else somebody else did it meanwhile
                for sums, added in new.items():
                    if added:
                        connection.execute(_add(engine, sums), added)


def _add(engine: sa.Engine, sums: sa.Table) -> sa.Insert:
    """Return an INSERT that adds to a sum which exists already."""
    insert: Any = postgresql.insert(sums) if engine.dialect.name == "postgresql" else sqlite.insert(sums)
    total = sums.c.count + insert.excluded.count
    added: sa.Insert = insert.on_conflict_do_update(index_elements=sums.primary_key.columns, set_={"count": total})
    return added


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
    refresh_rollups(engine)


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

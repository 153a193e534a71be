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
from webapp.log.tables import failures, hourly_failures, hourly_predictions, predictions, rolled_up

HOUR = dt.timedelta(hours=1)
HOURS_AT_ONCE = 24  # in one transaction
PATIENCE_S = 15.0  # nobody waits longer for a page
# Longer than a row can wait for its commit after it got its id. The clocks of several hosts must not differ by more.
SETTLED = dt.timedelta(minutes=1)


def _latency_bucket(ms: sa.ColumnElement[float]) -> sa.Case[int]:
    """Return, as SQL, a latency right to 5 % as 100 * decade + digits: 340 is 40 ms, 215 is 1.5 ms.

    The digits are those from 10 to 19, then every second, from 50 on every fifth: 35 for each factor of ten.
    """
    whens = []
    for decade in range(6):
        unit = 10.0 ** (decade - 3)
        for end, step in ((20, 1), (50, 2), (100, 5)):
            digits = step * sa.cast(sa.func.round(ms / (unit * step)), sa.Integer)
            whens.append((ms < (end - step / 2) * unit, 100 * decade + digits))
    return sa.case(*whens, else_=595)


LATENCY_BUCKET = _latency_bucket(predictions.c.latency_ms)


def bucket_ms(bucket: int) -> float:
    """Return the milliseconds that a latency bucket stands for."""
    decade, digits = divmod(bucket, 100)
    return round(digits * 10.0 ** (decade - 3), 4)


# (the rows, the sums by the hour, what else they are summed by)
_Sums = tuple[sa.Table, sa.Table, dict[str, Any]]
PREDICTIONS: _Sums = (
    predictions,
    hourly_predictions,
    {
        "source": predictions.c.source,
        "model_version": predictions.c.model_version,
        "label": predictions.c.label,
        "latency_bucket": LATENCY_BUCKET,
    },
)
FAILURES: _Sums = (
    failures,
    hourly_failures,
    {"source": failures.c.source, "status": failures.c.status, "what": failures.c.what},
)


def count(
    engine: sa.Engine,
    sums: _Sums,
    by: Sequence[str] = (),
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
    model_version: str | None = None,
) -> Counter[tuple[Any, ...]]:
    """Return how many rows there are from since <= hour < until, by the given columns.

    These are those of `sums`, "hour" and "day"; both come as the time at which they begin.
    """
    bring_up_to_date(engine)
    rows, hourly, columns = sums
    totals: Counter[tuple[Any, ...]] = Counter()
    within = [hourly.c.hour >= since] if since else []
    within += [hourly.c.hour < until] if until else []
    within += [hourly.c.model_version == model_version] if model_version else []
    chosen = [sa.func.date(hourly.c.hour) if name == "day" else hourly.c[name] for name in by]
    with snapshot(engine) as connection:  # so that no row moves from the tail into the sums meanwhile
        before = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
        summed = sa.select(*chosen, sa.func.sum(hourly.c.count)).where(*within).group_by(*chosen)
        for *key, number in connection.execute(summed):
            totals[tuple(_midnight(part) if name == "day" else part for name, part in zip(by, key, strict=True))] += (
                number or 0
            )
        for hour, start, end in _hours(connection, [rows], before, None):
            if (since and hour < since) or (until and hour >= until):
                continue
            for row in connection.execute(_sum(sums, start, end)).mappings():
                if model_version in (None, row.get("model_version")):
                    all_columns = {**row, "hour": hour, "day": hour.replace(hour=0)}
                    totals[tuple(all_columns[name] for name in by)] += row["count"]
    return +totals


def _midnight(day: object) -> dt.datetime:
    return dt.datetime.fromisoformat(str(day)).replace(tzinfo=dt.UTC)  # SQLite says a text, PostgreSQL a date


def count_predictions(engine: sa.Engine) -> int:
    """Return how many predictions the log holds."""
    return count(engine, PREDICTIONS)[()]


def bring_up_to_date(engine: sa.Engine, now: dt.datetime | None = None, patience_s: float = PATIENCE_S) -> None:
    """Add all rows up to a minute ago to their hour.

    The first time this takes some seconds for each million rows. Raises NotReady when it takes longer than
    `patience_s`: what was summed up until then stays, and the next call goes on from there; and LogUnavailable.
    """
    now = now or dt.datetime.now(dt.UTC)
    settled = first_id(now - SETTLED)
    give_up_at = time.monotonic() + patience_s
    _make_room(engine, now)
    while True:
        with engine.connect() as connection:  # reading alone: the server's writers need not wait for it
            before = end = connection.execute(sa.select(rolled_up.c.before_id)).scalar_one()
            new: dict[sa.Table, list[dict[str, Any]]] = {hourly_predictions: [], hourly_failures: []}
            for hour, start, end in islice(_hours(connection, (predictions, failures), before, settled), HOURS_AT_ONCE):
                for sums in (PREDICTIONS, FAILURES):
                    rows = connection.execute(_sum(sums, start, end)).mappings()
                    new[sums[1]] += [{**row, "hour": hour} for row in rows]
                if time.monotonic() > give_up_at:
                    break
        if end == before:
            return
        with write_transaction(engine) as connection:
            move = sa.update(rolled_up).where(rolled_up.c.before_id == before).values(before_id=end)
            if connection.execute(move).rowcount == 1:  # else somebody else did it meanwhile
                for hourly, added in new.items():
                    if added:
                        connection.execute(_add(hourly), added)
        if time.monotonic() > give_up_at:
            raise NotReady(
                f"The log is being summed up; this has got to {hour:%d %B %Y %H:%M} UTC. Please try again in a moment, "
                f"or run: {FLASK} log recount"
            )


def _make_room(engine: sa.Engine, now: dt.datetime) -> None:
    """If the clock was set back, forget the sums from then on: new rows get ids between those that are summed up."""
    with engine.connect() as connection:
        if connection.execute(sa.select(rolled_up.c.before_id)).scalar_one() <= first_id(now):
            return
    hour = (now - SETTLED).replace(minute=0, second=0, microsecond=0)
    with write_transaction(engine) as connection:
        for hourly in (hourly_predictions, hourly_failures):
            connection.execute(sa.delete(hourly).where(hourly.c.hour >= hour))
        connection.execute(sa.update(rolled_up).values(before_id=first_id(hour)))


def forget_sums(connection: sa.Connection) -> None:
    """Throw the sums away; the next look makes them anew from the log."""
    connection.execute(sa.delete(hourly_predictions))
    connection.execute(sa.delete(hourly_failures))
    connection.execute(sa.update(rolled_up).values(before_id=""))


def recount(engine: sa.Engine) -> None:
    """Make the sums anew; raises LogUnavailable."""
    with write_transaction(engine, no_timeout=True) as connection:
        forget_sums(connection)
    bring_up_to_date(engine, patience_s=float("inf"))


def _hours(
    connection: sa.Connection, tables: Sequence[sa.Table], start: str, end: str | None
) -> Iterator[tuple[dt.datetime, str, str]]:
    """Yield (hour, first id, end id) of each hour in which a table has rows with start <= id < end."""
    while True:
        firsts = []
        for table in tables:
            query = sa.select(sa.func.min(table.c.id)).where(table.c.id >= start)
            first = connection.execute(query).scalar()
            if first is not None and (end is None or first < end):
                firsts.append(first)
        if not firsts:
            return
        hour = moment_of(min(firsts)).replace(minute=0, second=0, microsecond=0)
        start = first_id(hour + HOUR)
        yield hour, min(firsts), min(start, end) if end else start


def _sum(sums: _Sums, start: str, end: str) -> sa.Select[Any]:
    rows, _, columns = sums
    named = [column.label(name) for name, column in columns.items()]
    counted = sa.func.count().label("count")
    return sa.select(*named, counted).where(rows.c.id >= start, rows.c.id < end).group_by(*columns)  # by their names


def _add(hourly: sa.Table) -> Any:
    """Return an INSERT that adds to a sum which exists already; SQLite and PostgreSQL know it alike."""
    names = [column.name for column in hourly.columns]
    keys = ", ".join(names[:-1])
    values = ", ".join(f":{name}" for name in names)
    return sa.text(  # the names of tables and columns are ours; values are bound
        f"INSERT INTO {hourly.name} ({keys}, count) VALUES ({values}) "  # noqa: S608
        f"ON CONFLICT ({keys}) DO UPDATE SET count = {hourly.name}.count + excluded.count"
    ).bindparams(*[sa.bindparam(column.name, type_=column.type) for column in hourly.columns])

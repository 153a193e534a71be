"""The span of time that figures are about, and the one before it."""

import datetime as dt
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.monitor.rollups import HOUR
from webapp.log.ids import moment_of
from webapp.log.tables import failures, predictions

RANGES = {"24h": dt.timedelta(hours=24), "7d": dt.timedelta(days=7), "30d": dt.timedelta(days=30), "all": None}


class Span(NamedTuple):
    """Whole hours of UTC, since <= time < until, of one model version or of all."""

    name: str
    since: dt.datetime
    until: dt.datetime
    model_version: str | None = None

    @property
    def before(self) -> "Span":
        """The span of the same length that ended when this one began."""
        return self._replace(since=self.since - (self.until - self.since), until=self.since)

    @property
    def by_hour(self) -> bool:
        """Whether a chart shows hours; days where hours would be too many."""
        return self.until - self.since <= dt.timedelta(days=3)

    @property
    def step(self) -> str:
        """What one point of a chart is, by the log's name for it: "hour" or "day"."""
        return "hour" if self.by_hour else "day"

    def steps(self) -> list[dt.datetime]:
        """Return the beginnings of all hours or days of the span."""
        first = self.since if self.by_hour else self.since.replace(hour=0)
        length = HOUR if self.by_hour else dt.timedelta(days=1)
        return [first + i * length for i in range(-((first - self.until) // length))]


def span(engine: sa.Engine, name: str, model_version: str | None = None, now: dt.datetime | None = None) -> Span:
    """Return the span with a name of RANGES that ends with the current hour; raises InvalidInput.

    It does not begin before the log: a chart of seven days of which six are empty would look broken.
    """
    if name not in RANGES:
        message = f"must be one of {', '.join(RANGES)}"
        raise InvalidInput(f"range {message}.", [{"field": "range", "message": message}])
    until = (now or dt.datetime.now(dt.UTC)).replace(minute=0, second=0, microsecond=0) + HOUR
    with engine.connect() as connection:
        firsts = [connection.execute(sa.select(sa.func.min(table.c.id))).scalar() for table in (predictions, failures)]
    first = min((one for one in firsts if one), default=None)
    begin = moment_of(first).replace(minute=0, second=0, microsecond=0) if first else until - HOUR
    length = RANGES[name]
    since = begin if length is None else max(begin, until - length)
    return Span(name, min(since, until - HOUR), until, model_version)

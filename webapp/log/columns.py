"""Column types of our own, so that every database gives back what it was given."""

import datetime as dt
import json
from typing import Any

import sqlalchemy as sa
from pydantic_core import to_json


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
        return None if value is None else to_json(value).decode()

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Any:
        return None if value is None else json.loads(value)

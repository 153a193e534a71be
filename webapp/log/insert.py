"""INSERT into a table, with what SQLAlchemy would do anew for each row done once."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa


class Insert:
    """The statement for a table, and rows as the database's driver takes them."""

    def __init__(self, table: sa.Table, dialect: sa.Dialect):
        self.sql = str(sa.insert(table).compile(dialect=dialect))
        self._columns = [
            (column.name, column.type.dialect_impl(dialect).bind_processor(dialect)) for column in table.columns
        ]

    def values(self, row: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return a row as the driver takes it, in the order of the statement's placeholders."""
        return tuple(convert(row[name]) if convert else row[name] for name, convert in self._columns)

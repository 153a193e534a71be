"""The row by which the monitor page shows a consumer: it reports every few seconds."""

import datetime as dt
import os
import socket
import time
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from webapp.errors import LogUnavailable
from webapp.log.database import write_transaction
from webapp.log.tables import stream_consumers

REPORT_EVERY_S = 5
FORGOTTEN_AFTER = dt.timedelta(days=1)


class Status:
    """Counts since the start of this consumer; where the log cannot be written, the page does without."""

    def __init__(self, engine: sa.Engine, topic: str, group: str):
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.records = self.dead_letters = self.troubles = 0
        self._engine, self._topic, self._group = engine, topic, group
        self._reported_at, self._reported = time.monotonic(), 0

    def report(self, lag: int) -> None:
        """Write how things stand, if it is time to; `lag` is how many records are left."""
        seconds = time.monotonic() - self._reported_at
        if seconds > REPORT_EVERY_S:
            rate = round((self.records - self._reported) / seconds, 1)
            self._reported_at, self._reported = time.monotonic(), self.records
            self._replace(
                name=self.name,
                topic=self._topic,
                consumer_group=self._group,
                seen_at=dt.datetime.now(dt.UTC),
                lag=lag,
                records=self.records,
                dead_letters=self.dead_letters,
                troubles=self.troubles,
                records_per_second=rate,
            )

    def forget(self) -> None:
        """Take this consumer off the page."""
        self._replace()

    def _replace(self, **row: Any) -> None:
        """Replace the row of this consumer, and delete those of consumers that fell silent long ago."""
        shown, silent_since = stream_consumers.c, dt.datetime.now(dt.UTC) - FORGOTTEN_AFTER
        gone = (shown.name == self.name) | (shown.seen_at < silent_since)
        with suppress(LogUnavailable), write_transaction(self._engine) as connection:
            connection.execute(sa.delete(stream_consumers).where(gone))
            if row:
                connection.execute(sa.insert(stream_consumers).values(**row))

"""What the peers that log have in common: Hamlet's table, its ids, and one committed row for each prediction.

    DATABASE=... PYTHONPATH=<repository> python _log.py        # first: makes the empty log

The peers do not make it themselves: when two workers turn a new file to WAL at the same moment, one of them fails.
"""

import datetime as dt
import os
import sqlite3
from pathlib import Path

from webapp.log.database import open_database
from webapp.log.tables import create_tables, new_id

INSERT = f"INSERT INTO predictions VALUES ({', '.join('?' * 16)})"


def connect() -> sqlite3.Connection:
    """Return a connection on which every statement commits itself, as safely as Hamlet's log does."""
    connection = sqlite3.connect(os.environ["DATABASE"], isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    return connection


def add(
    connection: sqlite3.Connection,
    text: str,
    label: str,
    spam_probability: float,
    threshold: float,
    model_version: str,
    latency_ms: float,
    explanation: str | None = None,
) -> str:
    """Commit one prediction and return its id."""
    id_ = new_id()
    created_at = dt.datetime.now(dt.UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    connection.execute(
        INSERT,
        (
            id_,
            created_at,
            "api",
            text,
            None,
            label,
            spam_probability,
            threshold,
            model_version,
            explanation,
            latency_ms,
            new_id(),  # the request's id, which Hamlet makes too
            *[None] * 4,  # nobody's report, and no challenger
        ),
    )
    return id_


if __name__ == "__main__":
    create_tables(open_database(f"sqlite:///{os.environ['DATABASE']}", Path()))

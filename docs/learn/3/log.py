"""The log: one row for each prediction, in an SQLite file that all workers share."""

import sqlite3
from contextlib import closing

TABLE = """CREATE TABLE IF NOT EXISTS predictions (
    id TEXT PRIMARY KEY,
    created_at TEXT,
    text TEXT,
    label TEXT,
    spam_probability REAL,
    model_version TEXT,
    latency_ms REAL
)"""
COUNTS = """SELECT date(created_at) AS day, model_version, count(*) AS messages,
    sum(label = 'spam') AS spam, round(avg(latency_ms), 1) AS latency_ms
    FROM predictions GROUP BY day, model_version ORDER BY day"""


def connect():
    connection = sqlite3.connect("log.db", timeout=1)  # seconds to wait while another worker writes
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")  # those who read do not wait for those who write
    connection.execute(TABLE)
    return closing(connection)


def add(row):
    """Store a row; raise sqlite3.Error if that fails."""
    with connect() as connection, connection:  # the second one commits, or takes everything back
        connection.execute(
            "INSERT INTO predictions VALUES"
            " (:id, :created_at, :text, :label, :spam_probability, :model_version, :latency_ms)",
            row,
        )


def find(prediction_id):
    with connect() as connection:
        return connection.execute("SELECT * FROM predictions WHERE id = ?", [prediction_id]).fetchone()


def counts():
    with connect() as connection:
        return connection.execute(COUNTS).fetchall()

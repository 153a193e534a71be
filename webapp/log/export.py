"""Takes rows out of the log: to a file, or away for good when they are too old to keep."""

import csv
import datetime as dt
import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TextIO

import sqlalchemy as sa

from webapp.errors import LogUnavailable, counted
from webapp.log.database import BUSY_TIMEOUT_S, write_transaction
from webapp.log.tables import failures, first_id, metadata, predictions

FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # what begins with one of these is a formula to a spreadsheet
PurgeHook = Callable[[sa.Connection, dt.datetime], None]
PURGED_AT_ONCE = 500  # predictions; a writer waits for so many at most
PAUSE_S = 0.05
CHECKPOINT_S = 60  # readers come and go: sooner or later there is a moment without any
CHUNK_ROWS = 10_000  # so that memory stays the same, however long the log is


def export(
    engine: sa.Engine,
    file: TextIO,
    file_format: str,
    since: dt.datetime | None,
    word: Callable[[str, str], str],
    bom: bool = False,
) -> None:
    """Write the predictions made at or after `since`, oldest first, as "csv" or "jsonl".

    `word(version, label)` is what that version calls a label. CSV is what spreadsheets open: a text that would be a
    formula there gets a ' before it, and with a byte-order mark Excel takes it for UTF-8. JSON Lines change no text.
    """
    query = sa.select(predictions).order_by(predictions.c.id)
    if since:
        query = query.where(predictions.c.id >= first_id(since))
    table = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")  # each text: it may hold a line's end
    if file_format == "csv":
        file.write("\ufeff" if bom else "")
        table.writerow(predictions.c.keys())
    with engine.connect() as connection:
        for found in connection.execute(query, execution_options={"yield_per": CHUNK_ROWS}).mappings():
            row = dict(found)
            row["created_at"] = row["created_at"].isoformat(timespec="microseconds")  # of a whole second too
            row["label"] = word(row["model_version"], row["label"])
            row["challenger_label"] = word(row["challenger_version"], row["challenger_label"])
            if file_format == "csv":
                row["explanation"] = row["explanation"] and json.dumps(row["explanation"])
                table.writerow(_no_formula(value) if isinstance(value, str) else value for value in row.values())
            else:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _no_formula(text: str) -> str:
    # Also before those that begin with a ' already, so that taking one away gives the text back.
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def purge(engine: sa.Engine, before: dt.datetime, hooks: Sequence[PurgeHook] = ()) -> int:
    """Delete all that is known of the time before for good, reviews included; return how many predictions there were.

    It goes in small steps, so that writers need not wait; if it is interrupted, run it again. The hooks are called in
    the last step's transaction. Raises LogUnavailable where readers keep SQLite from removing the last traces.
    """
    end, count, upto = first_id(before), 0, ""
    while upto != end:
        started = time.monotonic()
        with write_transaction(engine, no_timeout=True) as connection:
            oldest = sa.select(predictions.c.id).where(predictions.c.id < end).order_by(predictions.c.id)
            upto = connection.execute(oldest.limit(1).offset(PURGED_AT_ONCE)).scalar() or end
            for table in metadata.sorted_tables:
                if "prediction_id" in table.c:
                    connection.execute(sa.delete(table).where(table.c.prediction_id < upto))
            connection.execute(sa.delete(failures).where(failures.c.id < upto))
            count += connection.execute(sa.delete(predictions).where(predictions.c.id < upto)).rowcount
            if upto == end:
                for hook in hooks:
                    hook(connection, before)
        time.sleep(time.monotonic() - started)  # the turn of those who write
    if engine.dialect.name == "sqlite" and not _empty_wal(engine):
        raise LogUnavailable(
            f"{counted(count, 'prediction')} deleted, but something has read the log for a minute (an export?), so "
            "traces of them are left in log.db-wal. Run this again when it has finished."
        )
    return count


def _empty_wal(engine: sa.Engine) -> bool:
    """Put all of SQLite's write-ahead log into the database; return whether there was a moment without readers."""
    with closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        end = time.monotonic() + CHECKPOINT_S
        cursor.execute("PRAGMA busy_timeout = 100")  # milliseconds: while it waits for readers, writers wait
        try:
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > end:
                    return False
                time.sleep(PAUSE_S)
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    return True

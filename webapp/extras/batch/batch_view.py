"""A run of the batch as its page shows it: the histogram, and the first rows of the result."""

import csv
import datetime as dt
import gzip
import itertools
import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from webapp.config import MAX_UNPACKED
from webapp.errors import BadData, NotFound
from webapp.extras.batch.csv_rows import DELIMITERS
from webapp.extras.batch.formats import ENDINGS, open_rows
from webapp.extras.batch.lines import Lines
from webapp.extras.batch.rows import COLUMNS
from webapp.extras.monitor.charts import Chart, Series, chart
from webapp.web.check import how_long_ago
from webapp.web.words import labels, worded

ROWS = 20
TEXT_LENGTH = 300  # characters of a message that are shown


class Row(NamedTuple):
    """A row of the result: its message, and the verdict or why there is none."""

    text: str
    label: str
    spam_probability: float | None
    error: str


def input_name(name: str) -> str:
    """Return what an uploaded file is called here: nothing of its own name but what says how to read it."""
    endings = [ending for ending in Path(name.lower()).suffixes[-2:] if ending in ENDINGS or ending == ".gz"]
    return "".join(["input", *endings])


def look(path: Path, name: str, text_column: str | None) -> tuple[str, str]:
    """Return what the result of an uploaded file is called, and the column of its messages; raises BadData.

    The error is for people who see a form, not the server's folders and a command's options.
    """
    try:
        found, rows = open_rows(path, text_column)
        rows.close()
        with closing(Lines(path, name)) as lines:
            lines.check_size(MAX_UNPACKED)
    except BadData as error:
        words = str(error).replace(str(path), name).replace("--text-column", "the field below")
        raise BadData(words) from error
    ending = next(ending for ending, kind in ENDINGS.items() if kind == found)
    return f"result{ending}{'.gz' if path.suffix == '.gz' else ''}", rows.text_column


def preview(path: Path, text_column: str) -> list[Row]:
    """Return the first rows of a result; raises NotFound where it is gone."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as file:
            if ".jsonl" in path.suffixes:
                rows = [json.loads(line) for line in itertools.islice(file, ROWS) if line.strip()]
                return [_row(str(row.get(text_column, "")), list(row.values())) for row in rows]
            if ".parquet" in path.suffixes:
                return []
            head = next(file)
            delimiter = max(DELIMITERS, key=head.count)
            names = [name.strip() for name in next(csv.reader([head], delimiter=delimiter))]
            at = names.index(text_column)
            return [
                _row(cells[at], cells)
                for cells in itertools.islice(csv.reader(file, delimiter=delimiter), ROWS)
                if cells
            ]
    except FileNotFoundError as error:
        raise NotFound("The files of this run are gone.") from error


def _row(text: str, cells: Sequence[Any]) -> Row:
    label, spam_probability, _, _, error = cells[-len(COLUMNS) :]
    return Row(text[:TEXT_LENGTH], labels().label(label) or label, float(spam_probability) if label else None, error)


def histogram(counts: Sequence[int]) -> Chart:
    """Lay out how many messages got which spam probability, in tenths."""
    return chart(
        worded("How likely spam the messages are"),
        [{"label": f"{10 * tenth} to {10 * tenth + 10} %", "count": count} for tenth, count in enumerate(counts)],
        along=worded("spam probability"),
        bars=[Series("count", "messages", "accent")],
        help=worded("How many messages got which spam probability. ")
        + "Where the model is sure, the bars stand at the two ends; those in the middle are worth a look.",
    )


def shown_ago(moment: dt.datetime) -> str:
    """Return how long ago a time is, in words."""
    return how_long_ago(dt.datetime.now(dt.UTC) - moment)

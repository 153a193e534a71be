"""A run of the batch as its page shows it: the histogram, and the first rows of the result."""

import datetime as dt
import itertools
import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from webapp.config import MAX_UNPACKED
from webapp.errors import BadData
from webapp.extras.batch.output import COLUMNS
from webapp.extras.monitor.charts import Chart, Series, chart
from webapp.model.files import ENDINGS, open_table
from webapp.web.check import how_long_ago
from webapp.web.words import labels

ROWS = 20
TEXT_LENGTH = 300  # characters of a message that are shown

logger = logging.getLogger(__name__)


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


def check_upload(path: Path, name: str, text_column: str | None) -> tuple[str, str]:
    """Return what the result of an uploaded file is called, and the column of its messages; raises BadData.

    The error is for people who see a form, not the server's folders and a command's options.
    """
    try:
        with closing(open_table(path, text_column)) as table:
            column = table.columns[table.find_text(text_column)]
            table.check_size(MAX_UNPACKED)
    except BadData as error:
        words = str(error).replace(str(path), name).replace("--text-column", "the field below")
        raise BadData(words) from error
    ending = next(ending for ending, kind in ENDINGS.items() if kind == table.format)
    return f"result{ending}{'.gz' if path.suffix == '.gz' and table.can_append else ''}", column


def preview(path: Path, text_column: str) -> list[Row] | None:
    """Return the first rows of a result, None where they cannot be shown."""
    try:
        with closing(open_table(path, text_column)) as table:
            count = len(table.columns)
            positions = [table.find_text(text_column), *range(count - len(COLUMNS), count)]
            rows = list(itertools.islice(table.read(positions), ROWS))
            if table.format == "JSON Lines":  # each object may have its own names for what was added
                return [_row(row.values[0], list(row.raw[1].values())) for row in rows]
            return [_row(row.values[0], row.values) for row in rows if not row.error]
    except Exception:  # a page without a preview is better than none
        logger.exception("no preview of %s", path)
        return None


def _row(text: Any, cells: Sequence[Any]) -> Row:
    label, spam_probability, _, _, error = cells[-len(COLUMNS) :]
    shown = ("" if text is None else str(text))[:TEXT_LENGTH].encode(errors="replace").decode()
    return Row(shown, labels().label(label) or label, float(spam_probability) if label else None, error or "")


def histogram(counts: Sequence[int]) -> Chart:
    """Lay out how many messages got which spam probability, in tenths."""
    return chart(
        f"How likely {labels().spam} the messages are",
        [{"label": f"{10 * tenth} to {10 * tenth + 10} %", "count": count} for tenth, count in enumerate(counts)],
        along=f"{labels().spam} probability",
        bars=[Series("count", "messages", "accent")],
        help=f"How many messages got which {labels().spam} probability. "
        "Where the model is sure, the bars stand at the two ends; those in the middle are worth a look.",
    )


def shown_ago(moment: dt.datetime) -> str:
    """Return how long ago a time is, in words."""
    return how_long_ago(dt.datetime.now(dt.UTC) - moment)

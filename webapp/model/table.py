"""A file of messages as a table: its columns, which of them hold texts and labels, and its rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from webapp.errors import BadData
from webapp.model.labels import normalise
from webapp.model.lines import LONGEST_ROW, Lines, reading, shown

# Usual names of the columns, as `normalise` gives them; where a file has several of them, the first one here counts.
TEXT_COLUMNS = ("text", "message", "content", "body", "sms", "v2", "msg", "comment", "email text", "transformed text")
LABEL_COLUMNS = ("label", "v1", "class", "category", "target", "spam", "is spam", "spam/ham", "email type")
INVISIBLE = " \t\r\n\ufeff\u200b"
MOST_COLUMNS = 1_000  # a row with too few cells is filled up, so many columns make much of little


class Row(NamedTuple):
    """One row: the values of the columns that were asked for, or what is wrong with it."""

    line: int  # where it begins, from 1; in Parquet the row's number
    values: Sequence[Any]
    error: str | None  # then the values are not to be used
    raw: Any  # the whole row, to be written again: cells, (object as text, object), or an Arrow batch


class Table:
    """A file with named columns; `read` goes through it once."""

    format = ""
    columns: Sequence[str] = ()  # as the file names them
    by_content: Mapping[str, int] = {}  # where text and label are, in a file that does not name them
    can_append = True  # whether output in this format can go on behind what was written before
    note = ""  # what else people should know of what was taken for the header

    def __init__(self, lines: Lines):
        self.name, self.lines = lines.name, lines

    def _name_columns(self, names: Iterable[str]) -> None:
        self.columns = [name.strip(INVISIBLE) for name in names]
        if len(self.columns) == 1:
            self.by_content = {"text": 0}
        if len(self.columns) > MOST_COLUMNS:
            raise BadData(f"{self.name} has {len(self.columns):,} columns, and at most {MOST_COLUMNS:,} are read")

    def find(self, names: Iterable[str]) -> int | None:
        """Return the position of the first of these columns that there is; raises BadData where it is there twice."""
        alike = [normalise(column) for column in self.columns]
        for name in map(normalise, names):
            if alike.count(name) > 1:
                raise BadData(f"{self.name} names the column {shown(name)} twice")
            if name in alike:
                return alike.index(name)
        return None

    def find_column(self, wanted: str | None, kind: str = "text") -> int:
        """Return the position of the column with the messages, or where kind is "label" the labels; raises BadData."""
        names = [wanted] if wanted else TEXT_COLUMNS if kind == "text" else LABEL_COLUMNS
        if wanted and self.columns.count(wanted.strip()) == 1:  # though others may be nearly alike
            return self.columns.index(wanted.strip())
        at = self.find(names)
        if at is None and not wanted:
            at = self.by_content.get(kind)
        if at is None or (kind == "text" and not wanted and normalise(self.columns[at]) in LABEL_COLUMNS):
            columns = ", ".join(shown(column) for column in self.columns[:10])
            raise BadData(f"{self.name}: no column {' or '.join(names)} among {columns}; name it with --{kind}-column")
        return at

    def notices(self, text_at: int, label_at: int | None = None) -> list[str]:
        """Return what the file was taken for, and what was odd in what was read so far."""
        label = "" if label_at is None else f', labels in "{shown(self.columns[label_at])}"'
        about = f'{self.name}: {self.format}, messages in "{shown(self.columns[text_at])}"{label}{self.note}'
        return [about, *self.lines.notices()]

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        """Yield each row with the values of the columns at these positions; raises BadData."""
        raise NotImplementedError

    def done(self) -> float | None:
        """Return how much of it was read, 0 to 1; None for a pipe."""
        return self.lines.done()

    def check_size(self, limit: int) -> None:
        """Raise BadData if it unpacks to more bytes, or breaks off. It is spent then."""
        if any(size > limit for size in accumulate(self._sizes(limit))):
            raise BadData(f"{self.name} unpacks to more than {limit // 1024**2} MB")

    def _sizes(self, _limit: int) -> Iterator[int]:
        """Yield how many bytes each piece unpacks to."""
        with reading(self.name):
            while piece := self.lines.stream.read(LONGEST_ROW):
                yield len(piece)

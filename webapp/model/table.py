"""A file of messages as a table: its columns, which of them hold texts and labels, and its rows. CSV and TSV are here.

The first lines show the delimiter, the header, and whether quotation marks are text.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from webapp.errors import BadData, counted
from webapp.model import lines as limits
from webapp.model.labels import LABEL_WORDS, ZERO_AND_ONE, normalise
from webapp.model.lines import Lines, reading, shown

# Usual names of the columns, as `normalise` gives them; where a file has several of them, the first one here counts.
TEXT_COLUMNS = ("text", "message", "content", "body", "sms", "v2", "msg", "comment", "email text", "transformed text")
LABEL_COLUMNS = ("label", "v1", "class", "category", "target", "spam", "is spam", "spam/ham", "email type")
MOST_COLUMNS = 1_000  # short rows are filled up, so that many columns would make a large output of a small file

SEP = re.compile(r'"?sep=([^\w\s"]|\t|\\t)"?\s*', re.IGNORECASE)  # a first line as Excel understands it
UNDIVIDED = "\x1f"  # divides the lines of a list of messages, in which commas are text
ENCLOSED = re.compile(r'(?<![^\t\r\n])"((?:[^"]|"")*+)("(?![^\t\r\n])|\Z)')  # a cell of TSV; the last may be cut off
BLANK_BEFORE_MARK = re.compile(r'[,;|\t] +"(?!")')
DIGITS = re.compile(r"\d+")  # in numbers and dates, which are alike but for these
BAD_MARK = "The row has a quotation mark that is not closed, has text behind it, or swallows the rows behind it."

csv.field_size_limit(2 * limits.LONGEST_ROW)


class Row(NamedTuple):
    """A row: the values of the requested columns, or what is wrong with it."""

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
        self.columns = list(names)
        if len(self.columns) == 1:
            self.by_content = {"text": 0}
        if len(self.columns) > MOST_COLUMNS:
            raise BadData(f"{self.name} has {len(self.columns):,} columns, and at most {MOST_COLUMNS:,} are read")

    def find(self, names: Iterable[str]) -> int | None:
        """Return the position of the first name that is a column; raises BadData if two columns have it."""
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
        if wanted and self.columns.count(wanted) == 1:  # though others may be nearly alike
            return self.columns.index(wanted)
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
            while piece := self.lines.stream.read(limits.LONGEST_ROW):
                yield len(piece)


class CsvTable(Table):
    """CSV or TSV, with a header, or in UCI's form without one."""

    def __init__(self, lines: Lines, head: Sequence[str], wanted: str | None, words: Collection[str]):
        super().__init__(lines)
        words = frozenset({*words, *LABEL_WORDS})  # a list without header may have either
        usual = {normalise(wanted)} if wanted else {*TEXT_COLUMNS, *LABEL_COLUMNS}
        if sep := SEP.fullmatch(head[0]):
            while not SEP.fullmatch(lines.next()):
                pass
            head = head[1:] or [""]
        delimiter = sep[1].replace("\\t", "\t") if sep else _find_delimiter(head, usual)
        self.delimiter = "," if delimiter == UNDIVIDED else delimiter  # in what is written
        self.format = "TSV" if delimiter == "\t" else "CSV"
        self.is_quoted = delimiter not in ("\t", UNDIVIDED) or _is_quoted(head)  # else quotation marks are text
        is_spaced = any(map(BLANK_BEFORE_MARK.search, head))
        self._dialect = csv.reader([], delimiter=delimiter, skipinitialspace=is_spaced, strict=True).dialect
        rows = _split(head, delimiter)
        is_numbered = all(name.isdecimal() or not name for name in rows[0])  # by pandas, its index has no name
        if not wanted and (usual - words).isdisjoint(map(normalise, rows[0])):  # spam may be a name, or a label
            self.by_content = _by_content(rows[is_numbered:], words)
        if self.by_content and not is_numbered:
            names_of = {at: name for name, at in self.by_content.items()}
            self._name_columns(names_of.get(at, f"column {at + 1}") for at in range(len(rows[0])))
            self.note = ", no header line"
        else:
            line, header, error = next(self._records(), (1, [], "There is no header."))
            if error:
                raise BadData(f"{self.name}, line {line}: {error}")
            self._name_columns(header)
        names = [normalise(name) for name in self.columns]
        if len(names) == 1 and names[0] not in usual:
            parts = {normalise(part) for part in re.split(r"[^\w\s/]|\s\s+", self.columns[0])}
            if parts.intersection(TEXT_COLUMNS) and parts.intersection(LABEL_COLUMNS):
                divide = "divide it by commas, semicolons, tabs or |, outside quotation marks"
                raise BadData(f"{self.name}: the first line, {shown(self.columns[0])}, is one column; {divide}")
            self.note = "; if that is a message, write a first line with text in it"
        # A line within quotation marks looks like a row of its own by its label, or by what stands beside the text.
        is_text_first = len(names) > 1 and names[0] in ({normalise(wanted)} if wanted else TEXT_COLUMNS)
        label_at = next((at for at, name in enumerate(names) if name in LABEL_COLUMNS), int(is_text_first))
        self._known_at = self.by_content.get("label", label_at)
        seen = Counter(row[self._known_at] for row in rows[1:] if len(row) == len(self.columns))
        self._known = words.union(value for value, count in seen.items() if count > 1)

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        width = len(self.columns)
        for line, cells, error in self._records():
            if not any(cells[width:]):
                del cells[width:]  # a delimiter ends the row
            if not error and width > 1 and cells == self.columns:
                error = "The row is the header again."  # where files were joined
            elif error is None and len(cells) == width:
                yield Row(line, [cells[at] for at in positions], None, cells)
                continue
            elif error is None:
                error = f"The row has {counted(len(cells), 'field')} where the header has {width}."
            if surplus := cells[width:]:
                error += f" What is too much: {self.delimiter.join(surplus)}"
            yield Row(line, (), error, (cells + [""] * width)[:width])

    def _records(self) -> Iterator[tuple[int, list[str], str | None]]:
        """Yield the line of each record that is not empty, its cells, and what is wrong with it."""
        while line := self.lines.next():
            number, error = self.lines.number, None
            cells = line.rstrip("\r\n").split(self._dialect.delimiter)
            if len(line) > limits.LONGEST_ROW:
                cells, error = [], limits.TOO_LONG
            elif self.is_quoted and '"' in line:
                cells, error = self._read_quoted(line, cells)
            # In a file with one column, "" is a row.
            if error or any(map(str.strip, cells)) or (len(cells) == len(self.columns) == 1 and line.strip()):
                yield number, cells, error

    def _read_quoted(self, line: str, as_text: list[str]) -> tuple[list[str], str | None]:
        """Return the cells of the record that begins with a line, and what is wrong with them.

        Where the marks are not as in RFC 4180, that line alone is the row, its marks text, and the next a new row.
        """
        taken = [line]
        try:
            cells = next(csv.reader(self._feed(taken), self._dialect))
        except csv.Error:  # not closed, or something stands behind a closing mark
            cells = []
        if cells and not (len(taken) > 1 and self._swallows(cells, taken)):
            return cells, None
        self.lines.put_back(taken[1:])
        return as_text, BAD_MARK + (' (Within quotation marks one is written "", not \\".)' if "\\" in line else "")

    def _feed(self, taken: list[str]) -> Iterator[str]:
        """Yield the line in `taken` and those behind it, noting them there; end where a row becomes too long."""
        yield taken[0]
        size = 0
        while size <= limits.LONGEST_ROW and (line := self.lines.next()):
            size += len(line)
            taken.append(line)
            yield line

    def _swallows(self, cells: Sequence[str], taken: Sequence[str]) -> bool:
        """Return whether most lines of a record are rows between stray marks, and no line breaks in a cell."""
        if not 1 < len(cells) == len(self.columns):
            return False
        at, own = self._known_at, cells[self._known_at]
        is_own_first = '"' in "".join(taken[0].split(self.delimiter)[at + 1 :])
        others = [line for line in (taken[1:] if is_own_first else taken[:-1]) if line.strip()]
        split = (line.rstrip("\r\n").split(self.delimiter) for line in others)
        keys = [row[at] for row in split if len(row) == len(cells)]
        rows = sum(key in self._known or DIGITS.sub("0", key) == DIGITS.sub("0", own) for key in keys)
        return 2 * rows > len(others)


def _find_delimiter(head: Sequence[str], usual: Collection[str]) -> str:
    """Return the delimiter that gives columns with usual names, or else the most even rows.

    Below one usual name alone there is a list of messages, which may hold commas.
    """

    def fitness(delimiter: str) -> tuple[bool, float, int]:
        rows = _split(head, delimiter)
        is_known = any(normalise(name) in usual for name in rows[0])
        even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        return is_known, even, len(rows[0])

    alone = UNDIVIDED if normalise(_split(head, UNDIVIDED)[0][0]) in usual else ","
    return max((each for each in "\t,;|" if len(_split(head, each)[0]) > 1), key=fitness, default=alone)


def _split(head: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the cells of the first lines."""
    return [row for row in csv.reader(head, delimiter=delimiter) if row] or [[""]]


def _is_quoted(head: Sequence[str]) -> bool:
    """Return whether a program has put quotation marks around cells of TSV or of a list: else they are text."""
    text = "".join(head)
    cells = [cell for cell, end in ENCLOSED.findall(text) if end]
    with_commas = [line for line in head if "," in line] or head
    # pandas encloses tabs and line breaks and doubles marks, Excel encloses commas too, R all. With a tab and a line
    # break it may be rows between stray marks.
    is_needed = any('""' in cell or ("\t" in cell) != ("\n" in cell or "\r" in cell) for cell in cells)
    is_needed = is_needed or (bool(cells) and all('"' in line for line in with_commas))
    return is_needed and '"' not in ENCLOSED.sub("", text)


def _by_content(rows: Sequence[Sequence[str]], words: Collection[str]) -> dict[str, int]:
    """Return where label and text are in rows without names, {} unless the first row and most others have a label."""
    width = len(rows[0]) if rows else 0
    even = [row for row in rows if len(row) == width]
    labels = {}
    for at in range(width):
        values = [normalise(row[at]) for row in even]
        # The word spam above numbers is a name.
        labels_here = set(words) - (ZERO_AND_ONE.keys() if values[0] in LABEL_COLUMNS else set())
        if values[0] in labels_here and sum(value in labels_here for value in values) > 0.8 * len(values):
            labels[at] = sum(value.isalpha() for value in values)  # of an index and 0 or 1, words are the labels
    if not labels or width < 2:
        return {}
    label_at = max(labels, key=lambda at: labels[at])
    text_at = max((at for at in range(width) if at != label_at), key=lambda at: sum(len(row[at]) for row in even))
    return {"label": label_at, "text": text_at}

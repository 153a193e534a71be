"""CSV and TSV for the one reader: which delimiter, which header, and which quotation marks are none."""

import csv
import re
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from inspect import GEN_CLOSED, getgeneratorstate
from typing import Any

from webapp.errors import BadData
from webapp.model import lines as limits
from webapp.model.files import (
    LABEL_COLUMNS,
    LABEL_WORDS,
    TEXT_COLUMNS,
    Row,
    Table,
    fault_of_header,
    normalise,
    too_long,
)
from webapp.model.lines import Lines, Source

FEW_VALUES, SEEN_LINES = 20, 5_000  # of a column, in the first lines: by these a row is known that a mark swallowed

csv.field_size_limit(2 * limits.LONGEST_ROW)


class CsvTable(Table):
    """CSV or TSV, with a header, or in UCI's form without one."""

    def __init__(self, source: Source, is_tsv: bool, wanted: str | None, words: Collection[str]):
        super().__init__(source)
        self._lines = lines = source.lines()
        head = lines.peek()
        sep = re.fullmatch(r"sep=(.)\s*", head[0])  # as Excel writes it
        if sep:
            while not lines.next().startswith("sep="):
                pass
            head = head[1:] or [""]
        self.delimiter = sep[1] if sep else "\t" if is_tsv and "\t" in head[0] else _delimiter(head, wanted)
        self.format = "TSV" if self.delimiter == "\t" else "CSV"
        self.line_end = head[0][len(head[0].rstrip("\r\n")) :] or "\n"
        self._seen: list[set[str]] = []  # values of each column, as long as they are few
        self._rows = 0  # that were looked at for that
        first = [cells for cells in _parse(head, self.delimiter) if cells]
        if not first:
            raise BadData(f"{self.name} is empty")
        is_numbered = first[0] == [str(at) for at in range(len(first[0]))]  # by pandas
        names = {name.strip().lower() for name in first[0]}
        if not wanted and names.isdisjoint((*TEXT_COLUMNS, *LABEL_COLUMNS)):
            self.by_content = _by_content(first[is_numbered:], words)
        if self.by_content and not is_numbered:
            names_of = {at: name for name, at in self.by_content.items()}
            self.columns = [names_of.get(at, f"column {at + 1}") for at in range(len(first[0]))]
            self.note = ", no header line"
        else:
            self.columns = self._read_header()
        self._seen = [set() for _ in self.columns]

    def _read_header(self) -> list[str]:
        line, cells, error = next(self._records(), (1, [], "There is no header."))
        columns = [name.strip() for name in cells]
        if error := error or fault_of_header(columns):
            raise BadData(f"{self.name}, line {line}: {error}")
        return columns

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        width = len(self.columns)
        for line, cells, error in self._records():
            if error is None and len(cells) == width:
                yield Row(line, [cells[at] for at in positions], None, cells, sum(map(len, cells)) + width)
                continue
            if error is None:
                error = f"The row has {len(cells)} fields where the header has {width}."
                if "\\" in "".join(cells):
                    error += ' (Within quotation marks one is written "", not \\".)'
            if surplus := cells[width:]:
                error += f" What is too much: {self.delimiter.join(surplus)}"
            cells = (cells + [""] * width)[:width]
            yield Row(line, (), error, cells, sum(map(len, cells)) + width + len(error))

    def _records(self) -> Iterator[tuple[int, list[str], str | None]]:
        """Yield the line of each record that is not empty, its cells, and what is wrong with it."""
        lines = self._lines or self._source.lines()
        taken: list[str] = []  # the lines of the record that is being read
        feed = _feed(lines, taken)
        reader = _parse(feed, self.delimiter)
        while True:
            taken.clear()
            cells, error = next(reader, None), None
            if not taken:
                return
            line = lines.number - len(taken) + 1
            broken_off = getgeneratorstate(feed) == GEN_CLOSED
            if broken_off:  # the reader wanted more lines than there are, or than a row may have
                feed = _feed(lines, taken)
                reader = _parse(feed, self.delimiter)
            if len(taken[0]) > limits.LONGEST_ROW:
                cells, error = [], too_long()
            elif cells is None or broken_off or (len(taken) > 1 and self._swallows(cells, taken)):
                error = "The row has a quotation mark that is not closed, or that swallows the rows behind it."
                lines.put_back(taken[1:])  # only its first line is the bad row, and the next one a new row
                cells = taken[0].rstrip("\r\n").split(self.delimiter)
            elif line < SEEN_LINES and len(cells) == len(self._seen):
                self._rows += 1
                for seen, cell in zip(self._seen, cells, strict=True):
                    if len(seen) <= FEW_VALUES:
                        seen.add(cell.strip().lower())
            if error or any(map(str.strip, cells)):
                yield line, cells, error

    def _swallows(self, cells: Sequence[str], taken: Sequence[str]) -> bool:
        """Return whether a record of several lines is no cell with line breaks, but rows between stray marks."""
        try:
            next(csv.reader(iter(taken), delimiter=self.delimiter, strict=True))
        except csv.Error:  # something stands behind a closing mark
            return True
        for after, line in enumerate(taken[1:], start=1):
            row = next(_parse([line.rstrip("\r\n")], self.delimiter), [])
            # In the last line the record's own mark is closed: what stands before it may be another row's.
            end = next((at for at, cell in enumerate(row) if '"' in cell), None) if line is taken[-1] else None
            if len(row) == len(self._seen) and self._looks_like_a_row(row[:end], cells, after):
                return True
        return False

    def _looks_like_a_row(self, row: Sequence[str], before: Sequence[str], after: int) -> bool:
        """Return whether a line has in all telling columns what rows have there: a usual value, the next number."""
        matches = []
        for own, cell, seen in zip(before, row, self._seen, strict=False):
            value = cell.strip().lower()
            if seen <= LABEL_WORDS.keys() or (len(seen) <= FEW_VALUES and 2 * len(seen) <= self._rows):
                matches.append(value in seen)
            elif all(map(str.isdecimal, seen)):
                matches.append(own.isdecimal() and value.isdecimal() and int(value) == int(own) + after)
        return bool(matches) and all(matches)


def _feed(lines: Lines, taken: list[str]) -> Generator[str, None, None]:
    """Yield lines and note them in `taken`, which whoever reads them empties; end where a row becomes too long."""
    size = 0
    while (not taken or size <= limits.LONGEST_ROW) and (line := lines.next()):
        size = len(line) + (size if taken else 0)
        taken.append(line)
        yield line


def _parse(lines: Iterable[str], delimiter: str) -> Iterator[list[str]]:
    quoting: Any = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL  # in TSV a quotation mark is text
    return csv.reader(lines, delimiter=delimiter, quoting=quoting)


def _delimiter(head: Sequence[str], wanted: str | None) -> str:
    """Return the delimiter that gives columns with usual names, or else the most even rows."""

    def fitness(delimiter: str) -> tuple[bool, float, int]:
        rows = [row for row in _parse(head, delimiter) if row]
        names = {name.strip().lower() for name in rows[0]}
        known = not names.isdisjoint([wanted.strip().lower()] if wanted else (*TEXT_COLUMNS, *LABEL_COLUMNS))
        return len(rows[0]) > 1 and known, sum(len(row) == len(rows[0]) for row in rows) / len(rows), len(rows[0])

    found = [delimiter for delimiter in "\t,;|" if delimiter in head[0]]
    return max(found, key=fitness, default=",")


def _by_content(rows: Sequence[Sequence[str]], words: Collection[str]) -> dict[str, int]:
    """Return where label and text are in rows without names, {} unless the first row and most others have a label."""
    width = len(rows[0]) if rows else 0
    even = [row for row in rows if len(row) == width]
    labels = {}
    for at in range(width):
        values = [normalise(row[at]) for row in even]
        if values[0] in words and sum(value in words for value in values) > 0.8 * len(values):
            labels[at] = sum(value.isalpha() for value in values)  # of an index and 0 or 1, words are the labels
    if not labels or width < 2:
        return {}
    label_at = max(labels, key=lambda at: labels[at])
    text_at = max((at for at in range(width) if at != label_at), key=lambda at: sum(len(row[at]) for row in even))
    return {"label": label_at, "text": text_at}

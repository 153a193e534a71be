"""CSV and TSV for the one reader: which delimiter, which header, and which quotation marks are none."""

import csv
import re
from collections.abc import Collection, Iterator, Sequence

from webapp.errors import BadData
from webapp.model import lines as limits
from webapp.model.files import LABEL_COLUMNS, LABEL_WORDS, TEXT_COLUMNS, ZERO_AND_ONE, Row, Table, normalise
from webapp.model.lines import Lines, shown

FEW_VALUES = 20  # of a column, in the first lines: by these a row is known that a mark swallowed
LONGEST_NUMBER = 20  # digits of an index; Python makes no number of thousands
SEP = re.compile(r'"?sep=([^\w\s"]|\t|\\t)"?\s*', re.IGNORECASE)  # a first line as Excel understands it
ENCLOSED = re.compile(r'(?<![^\t\r\n])"((?:[^"]|"")*+)(?:"(?![^\t\r\n])|\Z)')  # a cell of TSV; the last may be cut off
BLANK_BEFORE_MARK = re.compile(r'([,;|\t]) +"(?!")')
BAD_MARK = "The row has a quotation mark that is not closed, has text behind it, or swallows the rows behind it."

csv.field_size_limit(2 * limits.LONGEST_ROW)


class CsvTable(Table):
    """CSV or TSV, with a header, or in UCI's form without one."""

    def __init__(self, lines: Lines, head: Sequence[str], is_tsv: bool, wanted: str | None, words: Collection[str]):
        super().__init__(lines)
        words = {*words, *LABEL_WORDS}  # a list without header may have either
        if sep := SEP.fullmatch(head[0]):
            while not SEP.fullmatch(lines.next()):
                pass
            head = head[1:] or [""]
        usual = {normalise(wanted)} if wanted else {*TEXT_COLUMNS, *LABEL_COLUMNS}
        self.delimiter = sep[1].replace("\\t", "\t") if sep else _find_delimiter(head, usual, is_tsv)
        self.has_marks, rows = _split(head, self.delimiter)
        self.format = "TSV" if self.delimiter == "\t" else "CSV"
        self.line_end = head[0][len(head[0].rstrip("\r\n")) :] or "\n"
        # Whoever puts a blank behind each delimiter of the header, or before marks, puts one before values, too.
        marked = [line for line in head[1:] if self.delimiter in BLANK_BEFORE_MARK.findall(line)]
        is_spaced = len(rows[0]) > 1 and all(name[:1] == " " for name in rows[0][1:])
        has_blanks = is_spaced or 2 * len(marked) >= len(head)
        parser = csv.reader([], delimiter=self.delimiter, skipinitialspace=has_blanks, strict=True)
        self._dialect = parser.dialect  # ready-made, as a record with a quotation mark has a parser of its own
        named = rows[0][rows[0][0] == "" :]
        # By pandas, with its index or without, some of the columns, in any order.
        is_numbered = len(set(named)) == len(named) and all(len(name) == 1 and name.isdecimal() for name in named)
        if not wanted and (usual - words).isdisjoint(map(normalise, rows[0])):  # spam may be a name, or a label
            self.by_content = _by_content(rows[is_numbered:], words)
        self._header: list[str] = []
        self._usual: list[Collection[str]] = []  # values of each column
        if self.by_content and not is_numbered:
            names_of = {at: name for name, at in self.by_content.items()}
            self._name_columns(names_of.get(at, f"column {at + 1}") for at in range(len(rows[0])))
            self.note = ", no header line"
        else:
            line, self._header, error = next(self._records(), (1, [], "There is no header."))
            if error:
                raise BadData(f"{self.name}, line {line}: {error}")
            surplus = [row[len(rows[0]) :] for row in rows[1:]]
            all_empty = surplus and all(cells and not any(cells) for cells in surplus)  # a delimiter ends each row
            self._name_columns(self._header + (surplus[0] if all_empty else []))
            if len(self.columns) == 1 and usual.isdisjoint(map(normalise, self.columns)):
                names = {normalise(name) for name in re.split(r"[^\w\s/]|\s\s+", self.columns[0])}
                if names.intersection(TEXT_COLUMNS) and names.intersection(LABEL_COLUMNS):
                    divide = "divide it by commas, semicolons, tabs or |, outside quotation marks"
                    raise BadData(f"{self.name}: the first line, {shown(self.columns[0])}, is one column; {divide}")
                self.by_content = {"text": 0}
                self.note = "; if that is a message, write a first line with text in it"
            elif len(self.columns) == 1:  # a list of messages: commas are text, and marks that enclose no line
                self.has_marks = '"' not in ENCLOSED.sub("", "".join(head))
                self._dialect = csv.reader([], delimiter="\x1f", strict=True).dialect
        parsed = csv.reader(head, self._dialect, strict=False)
        even = [row for row in parsed if len(row) == len(self.columns) and row != self._header]
        self._usual = [_usual_values([row[at] for row in even], words) for at in range(len(self.columns))]

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        width = len(self.columns)
        for line, cells, error in self._records():
            if not error and width > 1 and cells == self._header:
                error = "The row is the header again."  # where files were joined
            elif error is None and len(cells) == width:
                yield Row(line, [cells[at] for at in positions], None, cells, sum(map(len, cells)) + width)
                continue
            elif error is None:
                error = f"The row has {len(cells)} fields where the header has {width}."
            if any(surplus := cells[width:]):
                error += f" What is too much: {self.delimiter.join(surplus)}"
            cells = (cells + [""] * width)[:width]
            yield Row(line, (), error, cells, sum(map(len, cells)) + width + len(error))

    def _records(self) -> Iterator[tuple[int, list[str], str | None]]:
        """Yield the line of each record that is not empty, its cells, and what is wrong with it."""
        while line := self._lines.next():
            number, error = self._lines.number, None
            cells = line.rstrip("\r\n").split(self._dialect.delimiter)
            if len(line) > limits.LONGEST_ROW:
                cells, error = [], limits.TOO_LONG
            elif self.has_marks and ('"' in line or self._dialect.skipinitialspace):
                cells, error = self._read_quoted(line, cells)
            # In a file with one column, "" is a row.
            if error or any(map(str.strip, cells)) or (len(cells) == len(self.columns) == 1 and line.strip()):
                yield number, cells, error

    def _read_quoted(self, line: str, as_text: list[str]) -> tuple[list[str], str | None]:
        """Return the cells of the record that begins with a line, and what is wrong with them.

        Where the marks are not as in RFC 4180 that line alone is the bad row, its marks text, and the next a new row.
        """
        taken = [line]
        try:
            cells = next(csv.reader(self._feed(taken), self._dialect))
        except csv.Error:  # not closed, or something stands behind a closing mark
            cells = []
        if cells and not (len(taken) > 1 and self._swallows(cells, taken)):
            return cells, None
        self._lines.put_back(taken[1:])
        return as_text, BAD_MARK + (' (Within quotation marks one is written "", not \\".)' if "\\" in line else "")

    def _feed(self, taken: list[str]) -> Iterator[str]:
        """Yield the line in `taken` and those behind it, noting them there; end where a row becomes too long."""
        yield taken[0]
        size = 0
        while size <= limits.LONGEST_ROW and (line := self._lines.next()):
            size += len(line)
            taken.append(line)
            yield line

    def _swallows(self, cells: Sequence[str], taken: Sequence[str]) -> bool:
        """Return whether most lines of a record are rows between stray marks, and no line breaks in a cell."""
        rows = others = 0
        for after, line in enumerate(taken):
            row = line.rstrip("\r\n").split(self.delimiter)
            if len(row) != len(self._usual):  # with more, it may be a row whose text has delimiters
                others += bool(line.strip()) and len(row) < len(self._usual)
                continue
            marks = [at for at, cell in enumerate(row) if '"' in cell]
            # Of the first and the last line only what is outside the record's own marks can be another row's.
            start = marks[-1] + 1 if after == 0 else 0
            end = marks[0] if after == len(taken) - 1 else len(row)
            told = [self._is_usual(at, row[at], cells[at], after) for at in range(start, min(end, len(cells)))]
            rows += True in told and False not in told
            others += False in told and True not in told
        return rows > others

    def _is_usual(self, at: int, cell: str, before: str, after: int) -> bool | None:
        """Return whether a cell is what rows have in its column, a usual value or the next number; None if any may."""
        value, usual = normalise(cell), self._usual[at]
        if not value:
            return None
        if usual:
            return value in usual or value == normalise(before)  # in a file that is sorted by it, one may come late
        if before.isdecimal() and max(len(before), len(value)) <= LONGEST_NUMBER:
            return value.isdecimal() and int(value) == int(before) + after
        return None


def _usual_values(cells: Sequence[str], words: Collection[str]) -> Collection[str]:
    """Return by which values a column is known, labels or a few others; none where its cells may be anything."""
    values = [normalise(cell) for cell in cells]
    if 2 * sum(value in words for value in values) > len(values):
        return words
    few = set(values)
    return few if len(few) <= FEW_VALUES and 2 * len(few) <= len(values) else ()


def _find_delimiter(head: Sequence[str], usual: Collection[str], is_tsv: bool) -> str:
    """Return the delimiter that gives columns with usual names, or else the most even rows."""

    def fitness(delimiter: str) -> tuple[bool, bool, float, int]:
        _, rows = _split(head, delimiter)
        is_known = any(normalise(name) in usual for name in rows[0])
        even = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        return len(rows[0]) > 1 and is_known, is_tsv and delimiter == "\t", even, len(rows[0])

    return max((each for each in "\t,;|" if len(_split(head, each)[1][0]) > 1), key=fitness, default=",")


def _split(head: Sequence[str], delimiter: str) -> tuple[bool, list[list[str]]]:
    """Return whether quotation marks enclose cells, and the cells of the first lines."""
    cells = head[0].strip("\r\n").split(delimiter)
    # In TSV they are text, unless the first row has them everywhere or all are where Excel and pandas put them.
    is_marked = all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in cells)
    has_marks = delimiter != "\t" or is_marked or _are_marked_as_needed(head)
    rows = csv.reader(head, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if has_marks else csv.QUOTE_NONE)
    return has_marks, [row for row in rows if row] or [[""]]


def _are_marked_as_needed(head: Sequence[str]) -> bool:
    """Return whether the cells of TSV that have quotation marks are those that a program must enclose."""
    text = "".join(head)
    enclosed, others = ENCLOSED.findall(text), ENCLOSED.sub("", text)
    if not enclosed or '"' in others:
        return False
    widths, true_widths = (
        {line.count("\t") for line in lines} for lines in (head, re.split("[\r\n]+", others.strip("\r\n")))
    )
    by_excel = "," not in others and all(re.fullmatch(r"[^\r\n]*,[^\r\n]*", cell) for cell in enclosed)
    return any('""' in cell for cell in enclosed) or len(true_widths) == 1 < len(widths) or by_excel


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

"""The one reader of files: CSV, TSV, JSON Lines or Parquet, plain or gzip'd, from a path or a pipe, in constant memory.

Text is UTF-8, or UTF-16 with its mark; a line with other bytes is taken for Windows-1252. Everything that reads a file
goes through `open_table`, so that all commands take the same files and say the same of them.
"""

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData

LONGEST_ROW = 1024 * 1024  # characters; far above any message, and it bounds the memory
MOST_COLUMNS = 1_000  # a row with too few cells is filled up, so many columns make much of little
SNIFFED_LINES, SNIFFED_SIZE = 50, 256 * 1024  # at the beginning, which tell delimiter and header
FEW_VALUES, SEEN_LINES = 20, 5_000  # of a column, in the first lines: by these a row is known that a mark swallowed
ENDINGS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".tab": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".json": "JSON Lines",
    ".parquet": "Parquet",
}
# Usual names of the columns, in any case; where a file has several of them, the first one here counts.
TEXT_COLUMNS = ("text", "message", "content", "body", "sms", "v2", "msg", "comment", "email text", "transformed_text")
LABEL_COLUMNS = ("label", "v1", "class", "category", "target", "spam", "is_spam", "spam/ham", "email type")
ZERO_AND_ONE = {"0": False, "1": True, "0.0": False, "1.0": True, "false": False, "true": True}
LABEL_WORDS = {"ham": False, "spam": True, "not spam": False, **ZERO_AND_ONE}  # which of them mean spam

GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")
FOREIGN = {
    b"PK\x03\x04": "a ZIP archive: unpack it first",
    b"\xd0\xcf\x11\xe0": "an Excel file: save it as CSV",
    b"\x80\x04": "a Python pickle, which could do anything when opened: save it as CSV or Parquet",
    b"\x80\x05": "a Python pickle, which could do anything when opened: save it as CSV or Parquet",
    b"SQLite format 3": "an SQLite database: save the table as CSV",
    b"%PDF": "a PDF file: save the table as CSV",
    b"BZh": "compressed by bzip2: unpack it first, or compress it by gzip",
    b"\xfd7zXZ": "compressed by xz: unpack it first, or compress it by gzip",
    b"(\xb5/\xfd": "compressed by zstd: unpack it first, or compress it by gzip",
}
_NO_UTF8 = re.compile("[\udc80-\udcff]+")  # what surrogateescape makes of it

csv.field_size_limit(2 * LONGEST_ROW)


class Row(NamedTuple):
    """One row: the values of the columns that were asked for, or what is wrong with it."""

    line: int  # where it begins, from 1; in Parquet the row's number
    values: Sequence[Any]
    error: str | None  # then the values are not to be used
    raw: Any  # the whole row, for whoever writes it again: cells, (object as text, object), or (Arrow batch, place)
    size: int  # about how many characters it is written with


def shown(text: object, most: int = 50) -> str:
    """Return a piece of a file as it can be shown in one line of a terminal, whatever is in it."""
    letters = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    return letters if len(letters) <= most else letters[:most] + "..."


class Lines:
    """Gives out lines with their ends; `number` is that of the last one, from 1."""

    def __init__(self, file: Any, name: str, encoding: str = "utf-8-sig"):
        self.name = name
        self.number = 0
        self.recoded: list[int] = []  # the first lines that were no UTF-8
        self.recoded_count = 0
        errors = "replace" if encoding == "utf-16" else "surrogateescape"
        self._text = io.TextIOWrapper(file, encoding, errors, newline="")  # all line ends, as they are
        self._waiting: deque[str] = deque()
        self._read = 0

    def next(self) -> str:
        """Return the next line, "" at the end; of one that is too long LONGEST_ROW + 1 characters. Raises BadData."""
        line = self._waiting.popleft() if self._waiting else self._next()
        self.number += bool(line)
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        """Have these lines, the last that were given out, given out again."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    def _next(self) -> str:
        try:
            line = self._text.readline(LONGEST_ROW + 1)
            rest = line if len(line) > LONGEST_ROW else ""
            while rest and not rest.endswith(("\n", "\r")):
                rest = self._text.readline(LONGEST_ROW)
        except (OSError, EOFError, zlib.error) as error:
            raise BadData(f"{self.name} cannot be read to its end ({error}): is it complete?") from error
        self._read += 1
        if not line.isascii() and _NO_UTF8.search(line):
            self.recoded_count += 1
            if len(self.recoded) < 5:
                self.recoded.append(self._read)
            line = _NO_UTF8.sub(_windows_1252, line)
        return line

    def notice(self) -> list[str]:
        """Return what is to be said of the encoding of what was read, in at most one line."""
        if not self.recoded:
            return []
        more = self.recoded_count - len(self.recoded)
        which = ", ".join(map(str, self.recoded)) + (f" and {more:,} more" if more else "")
        lines = "line" if self.recoded_count == 1 else "lines"
        return [f"{self.name}: {lines} {which} not UTF-8, read as Windows-1252"]


def _windows_1252(found: re.Match[str]) -> str:
    raw = found[0].encode("ascii", "surrogateescape")
    return "".join(bytes([byte]).decode("cp1252" if byte not in b"\x81\x8d\x8f\x90\x9d" else "latin-1") for byte in raw)


class Table:
    """A file with named columns; `read` goes through it once."""

    format = ""
    columns: Sequence[str] = ()  # as the file names them
    by_content: Mapping[str, int] = {}  # where text and label are, in a file that does not name them
    can_append = True  # whether output in this format can go on behind what was written before
    note = ""  # what else people should know of what was taken for the header

    def __init__(self, name: str):
        self.name = name

    def find(self, wanted: str | None, known: Sequence[str], option: str) -> int | None:
        """Return the position of the wanted column, or of a usual one; raises BadData where the wanted is missing."""
        lowered = [column.lower() for column in self.columns]
        for name in [wanted.strip().lower()] if wanted else known:
            if name in lowered:
                return lowered.index(name)
        if wanted:
            raise self.no_column((wanted,), option)
        return None

    def no_column(self, known: Sequence[str], option: str) -> BadData:
        """Return the error that says what to do."""
        columns = ", ".join(shown(column) for column in self.columns[:10])
        return BadData(f"{self.name}: no column {' or '.join(known)} among {columns}; name it with {option}")

    def find_text(self, wanted: str | None) -> int:
        """Return the position of the column with the messages; raises BadData."""
        at = self.find(wanted, TEXT_COLUMNS, "--text-column")
        at = self.by_content.get("text") if at is None else at
        if at is None and len(self.columns) == 1:
            at = 0
            self.note = "; if that is a message, write a first line with text in it"
        if at is None:
            raise self.no_column(TEXT_COLUMNS, "--text-column")
        return at

    def find_label(self, wanted: str | None) -> int:
        """Return the position of the column with the labels; raises BadData."""
        at = self.find(wanted, LABEL_COLUMNS, "--label-column")
        at = self.by_content.get("label") if at is None else at
        if at is None:
            raise self.no_column(LABEL_COLUMNS, "--label-column")
        return at

    def about(self, text_at: int, label_at: int | None = None) -> str:
        """Return what it was taken for, in one line."""
        label = "" if label_at is None else f', labels in "{shown(self.columns[label_at])}"'
        return f'{self.name}: {self.format}, messages in "{shown(self.columns[text_at])}"{label}{self.note}'

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        """Yield each row with the values of the columns at these positions; raises BadData."""
        raise NotImplementedError

    def notices(self) -> list[str]:
        """Return what is to be said of what was read so far."""
        return []

    def done(self) -> float | None:
        """Return how much of it was read, 0 to 1; None for a pipe."""
        return None

    def check_size(self, limit: int) -> None:
        """Raise BadData if it unpacks to more bytes, or breaks off. It is spent then."""

    def close(self) -> None:
        """Close what was opened."""


class TextTable(Table):
    """What CSV and JSON Lines have in common."""

    def __init__(self, source: "Source", lines: Lines):
        super().__init__(source.name)
        self._source, self._lines = source, lines
        self.has_mark = source.has_mark

    def notices(self) -> list[str]:
        return self._lines.notice()

    def done(self) -> float | None:
        return self._source.done()

    def check_size(self, limit: int) -> None:
        self._source.check_size(limit)

    def close(self) -> None:
        self._source.close()


class CsvTable(TextTable):
    """CSV or TSV, with a header, or in UCI's form without one."""

    def __init__(self, source: "Source", lines: Lines, is_tsv: bool, wanted: str | None, words: Collection[str]):
        super().__init__(source, lines)
        head = _head(lines)
        sep = re.fullmatch(r"sep=(.)\s*", head[0])  # as Excel writes it
        if sep:
            while not lines.next().startswith("sep="):
                pass
            head = head[1:] or [""]
        self.delimiter = sep[1] if sep else "\t" if is_tsv and "\t" in head[0] else _delimiter(head, wanted)
        self.format = "TSV" if self.delimiter == "\t" else "CSV"
        self.line_end = line_end(head[0]) or "\n"
        self._seen: list[set[str]] = []  # values of the columns that have few of them
        first = [cells for cells in _parse(head, self.delimiter) if cells]
        is_numbered = first[0] == [str(at) for at in range(len(first[0]))]  # by pandas
        names = {name.strip().lower() for name in first[0]}
        if not wanted and names.isdisjoint((*TEXT_COLUMNS, *LABEL_COLUMNS)):
            self.by_content = _by_content(first[is_numbered:], words)
        if self.by_content and not is_numbered:
            names_of = {at: name for name, at in self.by_content.items()}
            self.columns = [names_of.get(at, f"column {at + 1}") for at in range(len(first[0]))]
            self.note = ", no header line"
        else:
            line, cells, error = next(self._records(), (1, [], "There is no header."))
            if len(cells) > MOST_COLUMNS:
                error = f"The header has {len(cells):,} columns, and at most {MOST_COLUMNS:,} are read."
            self.columns = [name.strip() for name in cells]
            lowered = [name.lower() for name in self.columns if name]
            if twice := {name for name in lowered if lowered.count(name) > 1}:
                error = f"The header names the column {shown(min(twice))} twice."
            if error:
                raise BadData(f"{self.name}, line {line}: {error}")
        self._seen = [set() for _ in self.columns]

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
        feed = _Feed(self._lines)
        reader = csv.reader(feed, delimiter=self.delimiter, quoting=_quoting(self.delimiter))
        while True:
            feed.begin()
            cells, error = next(reader, None), None
            taken, line = feed.taken, self._lines.number - len(feed.taken) + 1
            if not taken:
                return
            if len(taken[0]) > LONGEST_ROW:
                cells, error = [], f"The row has more than {LONGEST_ROW:,} characters and was left out."
            elif cells is None or feed.broken_off or (len(taken) > 1 and self._swallows(cells, taken)):
                error = "The row has a quotation mark that is not closed"
                error += "." if cells is None or feed.broken_off else ", or that swallows the rows behind it."
                self._lines.put_back(taken[1:])  # only its first line is the bad row, and the next one a new row
                cells = taken[0].rstrip("\r\n").split(self.delimiter)
            elif line < SEEN_LINES:
                for seen, cell in zip(self._seen, cells, strict=False):
                    if len(seen) <= FEW_VALUES:
                        seen.add(cell.strip())
            if error or any(map(str.strip, cells)):
                yield line, cells, error

    def _swallows(self, cells: Sequence[str], taken: Sequence[str]) -> bool:
        """Return whether a record of several lines is no cell with line breaks, but rows between stray marks."""
        try:
            next(csv.reader(iter(taken), delimiter=self.delimiter, strict=True))
        except csv.Error:  # something stands behind a closing mark
            return True
        inner = list(_parse(taken[1:], self.delimiter))
        if len(inner) == len(taken) - 1:  # each line by itself
            for after, row in enumerate(inner, start=1):
                if len(row) == len(self._seen) > 1 and self._is_like(row, cells, after):
                    return True
        return False

    def _is_like(self, row: Sequence[str], before: Sequence[str], after: int) -> bool:
        """Return whether a line is like other rows: a label, a word of a small column, or the next number."""
        for own, cell, seen in zip(before, map(str.strip, row), self._seen, strict=True):
            few = cell in seen and len(seen) <= FEW_VALUES
            follows = own.isdecimal() and cell.isdecimal() and int(cell) == int(own) + after
            if cell and (few or follows or cell.lower() in ("ham", "spam")):
                return True
        return False


class _Feed:
    """Gives lines to csv.reader and remembers those of the record that it is reading."""

    def __init__(self, lines: Lines):
        self._lines = lines
        self.begin()

    def begin(self) -> None:
        self.taken: list[str] = []
        self.size = 0
        self.broken_off = False  # the reader wanted more lines than there are, or than a row may have

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._lines.next() if self.size <= LONGEST_ROW else ""
        if not line:
            self.broken_off = bool(self.taken)
            raise StopIteration
        self.taken.append(line)
        self.size += len(line)
        return line


def line_end(line: str) -> str:
    """Return the characters that end a line: those of Windows, Unix, old Macs, or none."""
    return "\r\n" if line.endswith("\r\n") else line[-1:] if line.endswith(("\n", "\r")) else ""


def _head(lines: Lines) -> list[str]:
    """Return the first lines that are not blank, without taking them."""
    taken: list[str] = []
    while len(taken) < SNIFFED_LINES and sum(map(len, taken)) < SNIFFED_SIZE and (line := lines.next()):
        taken.append(line)
    lines.put_back(taken)
    head = [line for line in taken if line.strip()]
    if not head:
        raise BadData(f"{lines.name} is empty")
    return head


def _quoting(delimiter: str) -> Any:
    return csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL  # in TSV a quotation mark is text


def _parse(lines: Sequence[str], delimiter: str) -> Iterator[list[str]]:
    return csv.reader(iter(lines), delimiter=delimiter, quoting=_quoting(delimiter))


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


def normalise(label: object) -> str:
    """Return a label without regard to case, blanks and dashes: what counts as the same word."""
    return " ".join(as_text(label).lower().replace("_", " ").replace("not-", "not ").split())


def as_text(value: object) -> str:
    """Return a value as text, "" for none."""
    return "" if value is None else value if isinstance(value, str) else str(value)


class JsonTable(TextTable):
    """A file with one JSON object a line."""

    format = "JSON Lines"

    def __init__(self, source: "Source", lines: Lines):
        super().__init__(source, lines)
        head = _head(lines)
        if head[0].lstrip().startswith("["):
            raise BadData(f"{self.name}: this is one JSON array; make it one object a line: jq -c '.[]'")
        objects = (value for value, _ in map(_object, head) if value)
        first = next(objects, None)
        if first is None:
            raise BadData(f"{self.name}: no JSON object in its first lines: JSON Lines have one in each")
        if all(isinstance(value, dict) for value in first.values()):
            raise BadData(f"{self.name}: this is one JSON object; in pandas: to_json(orient='records', lines=True)")
        self.columns = [name for name in first if name == name.encode(errors="ignore").decode()]

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        names = [self.columns[at] for at in positions]
        while line := self._lines.next():
            if line.isspace():
                continue
            raw, number = line.strip(), self._lines.number
            value, error = _object(raw)
            if len(line) > LONGEST_ROW:
                value, error, raw = None, f"The row has more than {LONGEST_ROW:,} characters and was left out.", "{}"
            if value is None:
                members = {} if raw == "{}" else {"line": raw}
                yield Row(number, (), error, (json.dumps(members, ensure_ascii=False), members), len(raw))
            else:
                yield Row(number, [value.get(name) for name in names], None, (raw, value), len(raw))


def _object(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """Return the JSON object in a line, or what is wrong with it."""
    try:
        value = json.loads(line, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        return None, f"The row is not valid JSON ({error})."
    return (value, None) if isinstance(value, dict) else (None, "The row is not a JSON object.")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("it names a member twice")
    return members


class Source:
    """The bytes of a file or pipe, unzipped."""

    def __init__(self, source: Path | BinaryIO):
        self.name = str(source) if isinstance(source, Path) else "standard input"
        self.path = source if isinstance(source, Path) else None
        try:
            self._raw: Any = source.open("rb") if isinstance(source, Path) else io.BufferedReader(source)
            self._size = source.stat().st_size if isinstance(source, Path) else 0
            self.stream: Any = gzip.GzipFile(fileobj=self._raw) if self._raw.peek(2)[:2] == GZIP else self._raw
            self.head: bytes = self.stream.peek(4096)[:4096]
        except (OSError, EOFError, zlib.error) as error:
            words = getattr(error, "strerror", None) or "not a complete gzip file"
            raise BadData(f"{self.name} cannot be read: {words}") from error
        self.has_mark = self.head.startswith((codecs.BOM_UTF8, *UTF16))

    def lines(self) -> Lines:
        """Return it as lines; raises BadData where it is no text."""
        for mark, words in FOREIGN.items():
            if self.head.startswith(mark):
                office = mark == b"PK\x03\x04" and (b"[Content_Types]" in self.head or b"mimetype" in self.head)
                raise BadData(f"{self.name} is {'an Excel file: save it as CSV' if office else words}")
        is_utf16 = self.head.startswith(UTF16)
        if not is_utf16 and self.head.count(0) > len(self.head) / 10:
            raise BadData(f"{self.name} is no text file; if it is UTF-16, save it as UTF-8")
        return Lines(self.stream, self.name, "utf-16" if is_utf16 else "utf-8-sig")

    def check_size(self, limit: int) -> None:
        """Raise BadData if there are more bytes left, or if it breaks off."""
        size = 0
        try:
            while piece := self.stream.read(LONGEST_ROW):
                size += len(piece)
                if size > limit:
                    raise BadData(f"{self.name} unpacks to more than {limit // 1024**2} MB")
        except (OSError, EOFError, zlib.error) as error:
            raise BadData(f"{self.name} cannot be read to its end ({error}): is it complete?") from error

    def done(self) -> float | None:
        """Return how much of it was read, 0 to 1; None for a pipe."""
        return min(1.0, self._raw.tell() / self._size) if self._size else None

    def close(self) -> None:
        """Close the file; a pipe belongs to somebody else."""
        if self.path:
            self._raw.close()


def open_table(source: Path | BinaryIO, text_column: str | None = None, words: Collection[str] = LABEL_WORDS) -> Table:
    """Open a file or pipe. `text_column`, and `words` for labels, help to understand it. Raises BadData."""
    opened = Source(source)
    try:
        ending = ending_format(opened.path) if opened.path else None
        if opened.head.startswith(b"PAR1") or (ending == "Parquet" and not opened.head.startswith(tuple(FOREIGN))):
            return _parquet(opened)
        lines = opened.lines()
        first = opened.head.lstrip(codecs.BOM_UTF8 + b" \t\r\n")[:1]
        if ending == "JSON Lines" or first == b"{" or (first == b"[" and ending is None):
            return JsonTable(opened, lines)
        return CsvTable(opened, lines, ending == "TSV", text_column, words)
    except BadData:
        opened.close()
        raise


def ending_format(path: Path) -> str | None:
    """Return the format that a file's name tells, gzip'd or not."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return ENDINGS.get(plain.suffix.lower())


def _parquet(source: Source) -> Table:
    if source.path is None:
        raise BadData("Parquet cannot be read from a pipe, because its table of contents is at its end: give a file")
    source.close()
    try:
        from webapp.model.parquet import ParquetTable
    except ImportError as error:
        raise BadData(
            f"{source.name} is Parquet, which needs pyarrow: pip install -r requirements-parquet.txt"
        ) from error
    return ParquetTable(source.path)

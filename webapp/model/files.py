"""The one reader of files: CSV, TSV, JSON Lines or Parquet, plain or gzip'd, from a path or a pipe, in constant memory.

Text is UTF-8, or UTF-16 with its mark; a line with other bytes is taken for Windows-1252. Everything that reads a file
goes through `open_table`, so that all commands take the same files and describe them in the same words.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData
from webapp.model import lines as limits
from webapp.model.lines import Lines, reading, shown

ENDINGS = {".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".parquet": "Parquet"}
ENDINGS |= dict.fromkeys((".jsonl", ".ndjson", ".json"), "JSON Lines")
# Usual names of the columns, as `normalise` gives them; where a file has several of them, the first one here counts.
TEXT_COLUMNS = ("text", "message", "content", "body", "sms", "v2", "msg", "comment", "email text", "transformed text")
LABEL_COLUMNS = ("label", "v1", "class", "category", "target", "spam", "is spam", "spam/ham", "email type")
ZERO_AND_ONE = dict.fromkeys(("0", "0.0", "0,0", "false"), False) | dict.fromkeys(("1", "1.0", "1,0", "true"), True)
LABEL_WORDS = {"ham": False, "spam": True, "not spam": False, **ZERO_AND_ONE}  # which of them mean spam
BEGINS_JSON = re.compile(r"\s*(\{|\[\s*(\{|$))")  # also an array, to be refused as that
INVISIBLE = " \t\r\n\ufeff\u200b"
MOST_COLUMNS = 1_000  # a row with too few cells is filled up, so many columns make much of little
PARQUET_ROWS = 2_000  # at once


class Row(NamedTuple):
    """One row: the values of the columns that were asked for, or what is wrong with it."""

    line: int  # where it begins, from 1; in Parquet the row's number
    values: Sequence[Any]
    error: str | None  # then the values are not to be used
    raw: Any  # the whole row, to be written again: cells, (object as text, object), or (Arrow batch, place)


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
        self.lines.check_size(limit)

    def close(self) -> None:
        """Close what was opened."""
        self.lines.close()


def normalise(word: object) -> str:
    """Return a label or a column's name without regard to case, blanks and dashes: what counts as the same word."""
    text = unicodedata.normalize("NFKC", as_text(word)).lower()
    if not text.isascii():  # marks of direction, say, are none
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(text.replace("_", " ").replace("not-", "not ").split())


def as_text(value: object) -> str:
    """Return a value as text, "" for none."""
    return "" if value is None or value != value else str(value)  # the number NaN is none, and not equal to itself


def open_table(
    source: Path | BinaryIO,
    text_column: str | None = None,
    words: Collection[str] = LABEL_WORDS,
    name: str | None = None,
) -> Table:
    """Open a file or pipe; raises BadData.

    `text_column`, and `words` for labels, help to understand it; `name` is what people call it, if not by its path.
    """
    from webapp.model.csv_table import CsvTable

    lines = Lines(source, name)
    try:
        if lines.is_parquet:
            return ParquetTable(lines)
        head = lines.peek()
        if ending_format(Path(lines.name)) == "JSON Lines" or BEGINS_JSON.match(head[0]):
            return JsonTable(lines, head)
        return CsvTable(lines, head, text_column, words)
    except BadData:
        lines.close()
        raise


def ending_format(path: Path) -> str | None:
    """Return the format that a file's name tells, gzip'd or not."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return ENDINGS.get(plain.suffix.lower())


class JsonTable(Table):
    """A file with one JSON object a line."""

    format = "JSON Lines"

    def __init__(self, lines: Lines, head: Sequence[str]):
        super().__init__(lines)
        objects = [value for value, _ in map(_json_object, head) if value]
        if 2 * len(objects) < len(head) or all(isinstance(value, (dict, list)) for value in objects[0].values()):
            raise BadData(
                f"{self.name}: no JSON object in its first lines: JSON Lines have one in each. jq -c '.[]' makes them "
                "of an array, to_json(orient='records', lines=True) of a pandas table"
            )
        self._names = list(dict.fromkeys(name for value in objects for name in value))
        self._name_columns(self._names)

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        names = [self._names[at] for at in positions]
        while line := self.lines.next():
            raw, number, is_long = line.strip(), self.lines.number, len(line) > limits.LONGEST_ROW
            value, error = (None, limits.TOO_LONG) if is_long else _json_object(raw)
            if value is not None:
                yield Row(number, [value.get(name) for name in names], None, (raw, value))
            elif raw:
                members = {} if is_long else {"line": raw}
                yield Row(number, (), error, (json.dumps(members, ensure_ascii=False), members))


def _json_object(line: str) -> tuple[dict[str, Any] | None, str | None]:
    """Return the JSON object in a line, or what is wrong with it."""
    try:
        value = json.loads(line, object_pairs_hook=unique_members)
    except (ValueError, RecursionError) as error:
        return None, f"The row is not valid JSON ({error})."
    return (value, None) if isinstance(value, dict) else (None, "The row is not a JSON object.")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the members of a JSON object; raises ValueError where two have one name."""
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("it names a member twice")
    return members


class ParquetTable(Table):
    """A Parquet file; `schema` is Arrow's."""

    format = "Parquet"
    can_append = False  # its table of contents is written at the end

    def __init__(self, lines: Lines):
        super().__init__(lines)
        if lines.path is None:
            raise BadData("Parquet cannot be read from a pipe, as its table of contents is at its end: give a file")
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise BadData(f"{self.name} is Parquet: pip install -r requirements-parquet.txt") from error
        self._reading = partial(reading, self.name, pa.ArrowException)
        with self._reading():
            self._file = pq.ParquetFile(lines.path)
        self.schema = self._file.schema_arrow
        self._name_columns(self.schema.names)
        self._done = 0  # rows

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        for batch in self._batches(PARQUET_ROWS):
            values = [self._values(batch.column(at)) for at in positions]
            size = batch.nbytes // max(len(batch), 1)
            for number in range(len(batch)):
                self.lines.taken += size
                yield Row(self._done + number + 1, [column[number] for column in values], None, (batch, number))
            self._done += len(batch)

    def _values(self, column: Any) -> list[Any]:
        """Return the next values of a column, whose text may be no UTF-8: not all that write Parquet see to that."""
        try:
            values = column.to_pylist()
        except UnicodeDecodeError:
            values = column.cast("large_binary").to_pylist()
        return [
            self.lines.recode(value.decode("utf-8", "surrogateescape"), number) if isinstance(value, bytes) else value
            for number, value in enumerate(values, start=self._done + 1)
        ]

    def _batches(self, rows: int) -> Iterator[Any]:
        with self._reading():
            yield from self._file.iter_batches(rows)

    def done(self) -> float | None:
        return self._done / max(int(self._file.metadata.num_rows), 1)

    def check_size(self, limit: int) -> None:
        """Unpack it in pieces: a dictionary makes much of little, and its table of contents does not say so."""
        about = self._file.metadata
        largest = max((about.row_group(at).total_byte_size for at in range(about.num_row_groups)), default=0)
        size = 0
        for batch in self._batches(max(1, min(PARQUET_ROWS, limit // 8 // max(largest, 1)))):
            size += batch.nbytes
            if size > limit:
                raise BadData(f"{self.name} unpacks to more than {limit // 1024**2} MB")

    def close(self) -> None:
        self._file.close()
        super().close()

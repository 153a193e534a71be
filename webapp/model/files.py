"""The one reader of files: CSV, TSV, JSON Lines or Parquet, plain or gzip'd, from a path or a pipe, in constant memory.

Text is UTF-8, or UTF-16 with its mark; a line with other bytes is taken for Windows-1252. Everything that reads a file
goes through `open_table`, so that all commands take the same files and describe them in the same words.
"""

import json
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any

from webapp.errors import BadData
from webapp.model import lines as limits
from webapp.model.labels import LABEL_WORDS
from webapp.model.lines import Lines, reading, shown
from webapp.model.table import CsvTable, Row, Table

PIPE = Path("-")  # standard input or output
ENDINGS = {".csv": "CSV", ".tsv": "TSV", ".tab": "TSV", ".parquet": "Parquet"}
ENDINGS |= dict.fromkeys((".jsonl", ".ndjson", ".json"), "JSON Lines")
BEGINS_JSON = re.compile(r"\s*(\{|\[\s*(\{|$))")  # also an array, to be refused as that
PARQUET_ROWS = 2_000  # at once


@contextmanager
def open_table(source: Path, text_column: str | None = None, words: Collection[str] = LABEL_WORDS) -> Iterator[Table]:
    """Open a file or PIPE, and close it; raises BadData. `text_column` and `words`, for labels, help to read it."""
    name = "standard input" if source == PIPE else shown(source.name, 255)
    with reading(str(source)):
        raw: Any = BufferedReader(sys.stdin.buffer) if source == PIPE else source.open("rb")
    with raw:
        lines = Lines(raw, name, 0 if source == PIPE else source.stat().st_size)
        if lines.is_parquet:
            yield ParquetTable(lines)
            return
        head = lines.peek()
        is_json = ending_format(Path(name)) == "JSON Lines" or BEGINS_JSON.match(head[0])
        yield JsonTable(lines, head) if is_json else CsvTable(lines, head, text_column, words)


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
        self._name_columns(dict.fromkeys(name for value in objects for name in value))

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        names = [self.columns[at] for at in positions]
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
    """Return the members of a JSON object; raises ValueError if two have the same name."""
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
        if not lines.raw.seekable():
            raise BadData("Parquet cannot be read from a pipe, as its table of contents is at its end: give a file")
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise BadData(f"{self.name} is Parquet: pip install -r requirements-parquet.txt") from error
        self._reading = partial(reading, self.name, pa.ArrowException)
        with self._reading():
            self._file = pq.ParquetFile(lines.raw)
        self.schema = self._file.schema_arrow
        self._name_columns(self.schema.names)
        self._done = 0  # rows

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        for batch in self._batches(PARQUET_ROWS):
            values = [self._values(batch.column(at)) for at in positions]
            size = batch.nbytes // max(len(batch), 1)
            for number in range(len(batch)):
                self.lines.taken += size
                yield Row(self._done + number + 1, [column[number] for column in values], None, batch.slice(number, 1))
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

    def _sizes(self, limit: int) -> Iterator[int]:
        """Unpack it in pieces: a dictionary stores repeated values in few bytes, and the metadata does not say so."""
        about = self._file.metadata
        largest = max((about.row_group(at).total_byte_size for at in range(about.num_row_groups)), default=0)
        for batch in self._batches(max(1, min(PARQUET_ROWS, limit // 8 // max(largest, 1)))):
            yield batch.nbytes

"""Parquet: all columns are passed on with their types, five are added. Needs pyarrow."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from webapp.errors import BadData
from webapp.extras.batch.rows import CHUNK_ROWS, KNOWN_TEXT_COLUMNS, Answer, Chunk, Record, free_names
from webapp.model.datasets import find_column

GROUP_ROWS = 50_000
GROUP_BYTES = 16 * 1024 * 1024


class ParquetRows:
    """A Parquet file."""

    resumable = False  # its table of contents is written at the end
    head = ""

    def __init__(self, path: Path, name: str, text_column: str | None):
        try:
            self._file = pq.ParquetFile(path)
        except (OSError, pa.ArrowInvalid) as error:
            raise BadData(f"{name} is not a Parquet file that can be read ({error})") from error
        self._name = name
        schema = self._file.schema_arrow
        lowered = [column.lower() for column in schema.names]
        texts = [
            column for column in schema if pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
        ]
        if len(texts) == 1 and not text_column:
            self.text_column = texts[0].name
        else:
            self.text_column = schema.names[
                find_column(name, lowered, text_column, KNOWN_TEXT_COLUMNS, "--text-column")
            ]
        if self.text_column not in [column.name for column in texts]:
            raise BadData(f"{name}: the column {self.text_column} holds no text")
        self._at = schema.names.index(self.text_column)
        types = (pa.string(), pa.float64(), pa.string(), pa.string(), pa.string())
        self._added = [pa.field(*field) for field in zip(free_names(lowered), types, strict=True)]
        self._schema = pa.schema([*schema, *self._added], metadata=schema.metadata)

    def seek(self, position: int) -> None:
        """Only the beginning can be asked for: see `resumable`."""

    def chunks(self) -> Iterator[Chunk]:
        done, total = 0, self._file.metadata.num_rows
        try:
            for batch in self._file.iter_batches(batch_size=CHUNK_ROWS):
                done += batch.num_rows
                records = [
                    Record("", "", text, None if text is not None else f"The {self.text_column} is missing.")
                    for text in batch.column(self._at).to_pylist()
                ]
                yield Chunk(records, done, done / total, batch)
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise BadData(f"{self._name} cannot be read behind row {done:,} ({error})") from error

    def render(self, chunk: Chunk, answers: Sequence[Answer]) -> pa.Table:
        columns = zip(*answers, strict=True)
        arrays = [
            pa.array([None if value == "" else value for value in column], field.type)
            for field, column in zip(self._added, columns, strict=True)
        ]
        return pa.Table.from_arrays([*chunk.table.columns, *arrays], schema=self._schema)

    def writer(self, path: Path) -> "GroupWriter":
        """Return what writes rendered tables to a file."""
        return GroupWriter(path, self._schema)

    def close(self) -> None:
        self._file.close()


class GroupWriter:
    """Writes tables to a file in groups of many rows, as readers of Parquet like them."""

    def __init__(self, path: Path, schema: pa.Schema):
        self._writer = pq.ParquetWriter(path, schema)
        self._waiting: list[pa.Table] = []

    def write(self, table: pa.Table) -> None:
        """Add rows; raises OSError."""
        self._waiting.append(table)
        if sum(len(t) for t in self._waiting) >= GROUP_ROWS or sum(t.nbytes for t in self._waiting) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting))
            self._waiting.clear()

    def finish(self) -> None:
        """Write what is left, and the table of contents; raises OSError."""
        self._flush()
        self._writer.close()

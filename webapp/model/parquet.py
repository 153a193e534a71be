"""Parquet for the one reader. Needs pyarrow."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from webapp.errors import BadData
from webapp.model.files import Row, Table
from webapp.model.lines import Source, shown

ROWS_AT_ONCE = 2_000
TEXT_TYPES = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view", "null")


class ParquetTable(Table):
    """A Parquet file; `file` is pyarrow's."""

    format = "Parquet"
    can_append = False  # its table of contents is written at the end

    def __init__(self, source: Source, path: Path):
        super().__init__(source)
        try:
            self.file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise BadData(f"{self.name} is not a Parquet file that can be read ({shown(error, 200)})") from error
        self.schema = self.file.schema_arrow
        self.columns = self.schema.names
        lowered = [name.lower() for name in self.columns]
        if twice := [name for name in lowered if lowered.count(name) > 1]:
            raise BadData(f"{self.name} names the column {shown(twice[0])} twice")
        texts = [at for at, type_ in enumerate(self.schema.types) if _is_text(type_)]
        if len(texts) == 1:
            self.by_content = {"text": texts[0]}
        self._done = 0  # rows

    def find_text(self, wanted: str | None) -> int:
        at = super().find_text(wanted)
        if not _is_text(self.schema.types[at]):
            raise BadData(
                f"{self.name}: the column {shown(self.columns[at])} holds no text; name it with --text-column"
            )
        return at

    def read(self, positions: Sequence[int]) -> Iterator[Row]:
        total = self.file.metadata.num_rows
        try:
            for batch in self.file.iter_batches(ROWS_AT_ONCE):
                values = [[_text(value) for value in batch.column(at).to_pylist()] for at in positions]
                size = batch.nbytes // max(len(batch), 1)
                for number in range(len(batch)):
                    row = [column[number] for column in values]
                    yield Row(self._done + number + 1, row, None, (batch, number), size)
                self._done += len(batch)
        except (OSError, pa.ArrowException) as error:
            raise BadData(
                f"{self.name} cannot be read behind row {self._done:,} of {total:,} ({shown(error, 200)})"
            ) from error

    def done(self) -> float | None:
        return self._done / max(int(self.file.metadata.num_rows), 1)

    def check_size(self, limit: int) -> None:
        """Unpack it in pieces: a dictionary makes much of little, and its table of contents does not say so."""
        groups = [self.file.metadata.row_group(number) for number in range(self.file.metadata.num_row_groups)]
        largest = max((group.total_byte_size for group in groups), default=0)  # which one value may have
        size = 0
        try:
            for batch in self.file.iter_batches(max(1, min(ROWS_AT_ONCE, limit // 8 // max(largest, 1)))):
                size += batch.nbytes
                if size > limit:
                    raise BadData(f"{self.name} unpacks to more than {limit // 1024**2} MB")
        except (OSError, pa.ArrowException) as error:
            raise BadData(f"{self.name} cannot be read to its end ({shown(error, 200)}): is it complete?") from error

    def close(self) -> None:
        self.file.close()


def _is_text(type_: Any) -> bool:
    if pa.types.is_dictionary(type_):
        type_ = type_.value_type
    return str(type_) in TEXT_TYPES


def _text(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value

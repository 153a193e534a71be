"""Where the results go: the rows as they were, with five columns added, in a file that appears when it is complete."""

import csv
import gzip
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData, NotReady
from webapp.model.csv_table import CsvTable
from webapp.model.files import Row, Table

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs from writing to the same file there
    fcntl = None  # type: ignore[assignment]

COLUMNS = ("label", "spam_probability", "model_version", "prediction_id", "error")
LOCK_PATIENCE_S = 3
GROUP_ROWS, GROUP_BYTES = 50_000, 16 * 1024 * 1024  # of Parquet: its readers like many rows together


class Answer(NamedTuple):
    """What is added to a row, in the order of COLUMNS; empty where there is nothing to say."""

    label: str = ""
    spam_probability: float | None = None
    model_version: str = ""
    prediction_id: str = ""
    error: str = ""


def partial(target: Path) -> Path:
    """Return where the output grows."""
    return target.with_name(target.name + ".partial")


def free_names(taken: Iterable[str]) -> list[str]:
    """Return the names of the added columns; one that the input has already, such as label, becomes hamlet_label."""
    names, taken = [], set(taken)
    for name in COLUMNS:
        while name in taken:
            name = f"hamlet_{name}"
        names.append(name)
    return names


class CsvFormat:
    """Cells keep their values, not their quotation marks; the text is UTF-8."""

    def __init__(self, table: CsvTable):
        self._end = table.line_end
        self._is_tsv = table.delimiter == "\t"
        self._writer = csv.writer(self, delimiter=table.delimiter)
        names = free_names(name.lower() for name in table.columns)
        self.head = ("\ufeff" if table.has_mark else "") + self._line([*table.columns, *names])

    def write(self, line: str) -> str:
        """Give csv.writer its own line back."""
        return line

    def render(self, rows: Sequence[Row], answers: Sequence[Answer]) -> str:
        """Return rows as they are written."""
        return "".join(
            self._line([*row.raw, *("" if value is None else value for value in answer)])
            for row, answer in zip(rows, answers, strict=True)
        )

    def _line(self, cells: list[Any]) -> str:
        if self._is_tsv:  # which has no quotation marks
            return "\t".join(" ".join(str(cell).splitlines()).replace("\t", " ") for cell in cells) + self._end
        line: str = self._writer.writerow(cells)  # it quotes what its own line end, \r\n, is made of
        return line[:-2] + self._end


class JsonFormat:
    """An object keeps its text; five members are added before its closing brace."""

    head = ""

    def render(self, rows: Sequence[Row], answers: Sequence[Answer]) -> str:
        """Return rows as they are written."""
        parts = []
        for (text, members), answer in zip((row.raw for row in rows), answers, strict=True):
            names = free_names(members)
            added = json.dumps(
                {name: None if value == "" else value for name, value in zip(names, answer, strict=True)}
            )
            parts.append(f"{text[:-1].rstrip()}{', ' if members else ''}{added[1:]}\n")
        return "".join(parts)


class TextOutput:
    """OUT.partial, or an open pipe; what writes to it may raise OSError."""

    def __init__(self, format: CsvFormat | JsonFormat, target: Path | BinaryIO):
        self._format = format
        self._is_zipped = isinstance(target, Path) and target.suffix.lower() == ".gz"
        self._is_file = isinstance(target, Path)
        self._file = _open_locked(target) if isinstance(target, Path) else target

    def start(self, size: int) -> None:
        """Cut off what is behind so many bytes, or begin with the header."""
        if self._is_file:
            self._file.truncate(size)
        if not size:
            self._write(self._format.head)

    def write(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Add rows."""
        self._write(self._format.render(rows, answers))

    def _write(self, text: str) -> None:
        content = text.encode()
        # A gzip file may have many members, so one that was cut off behind a member can be added to.
        self._file.write(gzip.compress(content, 6, mtime=0) if self._is_zipped and content else content)
        if not self._is_file:
            self._file.flush()

    def sync(self) -> int:
        """See that all of it is on the disk; return how many bytes it has."""
        if not self._is_file:
            return 0
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def finish(self) -> None:
        """Add what must stand at the end."""

    def close(self) -> None:
        """Let go of it; a pipe is for whoever opened it to close."""
        if self._is_file:
            with suppress(OSError):  # what could not be written is not counted on anyway
                self._file.close()


class ParquetOutput:
    """OUT.partial as Parquet: good for nothing before it is complete, so a run that goes on begins again."""

    def __init__(self, table: Any, target: Path):
        import pyarrow as pa

        self._pa, self._path = pa, partial(target)
        self._guard = _open_locked(target)
        types = (pa.string(), pa.float64(), pa.string(), pa.string(), pa.string())
        names = free_names(name.lower() for name in table.columns)
        self._added = [pa.field(name, type_) for name, type_ in zip(names, types, strict=True)]
        self._schema = pa.schema([*table.schema, *self._added], metadata=table.schema.metadata)
        self._waiting: list[Any] = []

    def start(self, _size: int) -> None:
        """Begin."""
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(self._path, self._schema)

    def write(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Add rows."""
        pairs = zip(rows, answers, strict=True)
        for _, group in groupby(pairs, lambda pair: id(pair[0].raw[0])):
            found = list(group)
            batch, first = found[0][0].raw
            arrays = [
                self._pa.array([None if value == "" else value for value in column], field.type)
                for field, column in zip(self._added, zip(*(answer for _, answer in found), strict=True), strict=True)
            ]
            columns = [*batch.slice(first, len(found)).columns, *arrays]
            self._waiting.append(self._pa.Table.from_arrays(columns, schema=self._schema))
        if sum(map(len, self._waiting)) >= GROUP_ROWS or sum(one.nbytes for one in self._waiting) >= GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(self._pa.concat_tables(self._waiting))
            self._waiting.clear()

    def sync(self) -> int:
        """See that all of it is on the disk; return how many bytes it has."""
        os.fsync(self._guard.fileno())
        return os.fstat(self._guard.fileno()).st_size

    def finish(self) -> None:
        """Write what is left, and the table of contents."""
        self._flush()
        self._writer.close()

    def close(self) -> None:
        """Let go of it."""
        self._guard.close()


Output = TextOutput | ParquetOutput


def _open_locked(target: Path) -> BinaryIO:
    file = partial(target).open("ab")
    for _ in range(LOCK_PATIENCE_S * 10):
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            time.sleep(0.1)  # the workers of a run that was killed take a moment to notice
    file.close()
    raise BadData(f"Another run is writing {target} just now.")


@contextmanager
def open_output(target: Path | BinaryIO, table: Table, keep: bool) -> Iterator[Output]:
    """Open OUT.partial, which becomes OUT once everything went well and else is kept or removed, or use a pipe.

    Raises BadData when another run is writing to it, NotReady when it cannot be written: the disk is full, say.
    """
    name, advice = (str(target), "") if isinstance(target, Path) else ("The output", "")
    if keep:
        advice = " What was done is kept: mend that, then go on with --resume."
    output: Output | None = None
    try:
        if isinstance(target, Path) and not table.can_append:
            output = ParquetOutput(table, target)
        else:
            output = TextOutput(CsvFormat(table) if isinstance(table, CsvTable) else JsonFormat(), target)
        yield output
        if isinstance(target, Path):
            _appear(target)
    except BrokenPipeError:
        raise  # whoever closed the pipe knows why
    except OSError as error:
        raise NotReady(f"{name} cannot be written ({error.strerror or error}).{advice}") from error
    finally:
        if output:
            output.close()
            if isinstance(target, Path) and not keep:
                partial(target).unlink(missing_ok=True)


def _appear(target: Path) -> None:
    partial(target).replace(target)
    with suppress(OSError):  # Windows cannot open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

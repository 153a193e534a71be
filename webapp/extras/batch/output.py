"""Where the results go: the rows as they were, with five columns added, in a file that appears when it is complete."""

import csv
import gzip
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData, NotReady
from webapp.model.csv_table import CsvTable
from webapp.model.files import INVISIBLE, Row, Table

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs from writing to the same file there
    fcntl = None  # type: ignore[assignment]

LOCK_PATIENCE_S = 1


class Answer(NamedTuple):
    """What is added to a row; None where there is nothing to say."""

    label: str | None = None
    spam_probability: float | None = None
    model_version: str | None = None
    prediction_id: str | None = None
    error: str | None = None


Render = Callable[[Row, Answer], str]  # gives a row as it is written


def take_lock(file: BinaryIO, is_shared: bool = False) -> bool:
    """Take a file's lock, which the kernel lets go when the process and its workers are gone; return if it was free.

    It is waited for a moment: the workers of a process that was killed have to notice.
    """
    until = time.monotonic() + (0 if is_shared else LOCK_PATIENCE_S)
    while fcntl:
        try:
            fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.03)
    return True


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file in one step."""
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(content))
    new.replace(path)


def partial(target: Path) -> Path:
    """Return where the output grows."""
    return target.with_name(target.name + ".partial")


def free_names(taken: Iterable[str]) -> list[str]:
    """Return the names of the added columns; one that the input has, such as label or Label, becomes hamlet_label."""
    names, taken = [], {name.strip(INVISIBLE).lower() for name in taken}
    for name in Answer._fields:
        while name in taken:
            name = f"hamlet_{name}"
        names.append(name)
    return names


def _csv(table: CsvTable) -> tuple[str, Render]:
    """Return the header, and how a row is written: cells keep their values, not their quotation marks; UTF-8."""
    style: Any = {}
    if not table.has_marks:  # nor line breaks or tabs in cells
        style = {"quoting": csv.QUOTE_NONE, "quotechar": None}
    echo: Any = SimpleNamespace(write=str)  # a writer gives back what its file's `write` does: here, the line
    writer = csv.writer(echo, delimiter=table.delimiter, **style)

    def line(cells: Sequence[Any]) -> str:
        text: str = writer.writerow(cells)  # it quotes cells with what its own line end, \r\n, is made of
        return text[:-2] + table.line_end

    header = line([*table.columns, *free_names(table.columns)])
    return ("\ufeff" if table.has_mark else "") + header, lambda row, answer: line([*row.raw, *answer])


def _json(table: Table) -> tuple[str, Render]:
    """Return how an object is written: it keeps its text; five members are added before its closing brace."""

    def line(row: Row, answer: Answer) -> str:
        text, members = row.raw
        added = json.dumps(dict(zip(free_names([*table.columns, *members]), answer, strict=True)))
        return f"{text[:-1].rstrip()}{', ' if members else ''}{added[1:]}\n"

    return "", line


class Output:
    """Writes rows to an open file as text, in the format of the input; `head` is what comes first."""

    def __init__(self, table: Table, file: BinaryIO, is_zipped: bool):
        self._file, self._is_zipped = file, is_zipped
        self.head, self._render = _csv(table) if isinstance(table, CsvTable) else _json(table)

    def write(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        """Add rows."""
        self.add("".join(map(self._render, rows, answers)))

    def add(self, text: str) -> None:
        """Add what was rendered."""
        content = text.encode()
        # A gzip file may have many members, so one that was cut off behind a member can be added to.
        self._file.write(gzip.compress(content, 6, mtime=0) if self._is_zipped and content else content)
        self._file.flush()

    def sync(self) -> int:
        """See that all of it is on the disk; return how many bytes it has."""
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def finish(self) -> None:
        """Write what has to stand at the end."""


class ParquetOutput(Output):
    """Parquet: good for nothing before it is complete, so a run that goes on begins again."""

    def __init__(self, table: Any, file: BinaryIO, is_zipped: bool):
        import pyarrow as pa
        import pyarrow.parquet as pq

        super().__init__(table, file, is_zipped)
        self._pa, self._types = pa, (pa.string(), pa.float64(), pa.string(), pa.string(), pa.string())
        names = free_names(table.columns)
        added = [pa.field(name, type_) for name, type_ in zip(names, self._types, strict=True)]
        self._schema = pa.schema([*table.schema, *added], metadata=table.schema.metadata)
        self._writer = pq.ParquetWriter(self._file.name, self._schema)  # closes itself after an error

    def write(self, rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        batches = []
        for _, group in groupby(rows, lambda row: id(row.raw[0])):
            found = list(group)
            batch, first = found[0].raw
            batches.append(batch.slice(first, len(found)))
        kept = self._pa.Table.from_batches(batches).columns
        added = list(map(self._pa.array, zip(*answers, strict=True), self._types))
        self._writer.write_table(self._pa.Table.from_arrays([*kept, *added], schema=self._schema))

    def finish(self) -> None:
        self._writer.close()


@contextmanager
def open_output(target: Path | BinaryIO, table: Table, size: int) -> Iterator[Output]:
    """Open OUT.partial, cut off behind so many bytes, or a pipe; OUT appears once everything went well.

    Raises BadData when another run is writing to it, NotReady when it cannot be written: the disk is full, say.
    """
    path = target if isinstance(target, Path) else None
    kind = Output if table.can_append else ParquetOutput
    try:
        with partial(target).open("ab") if isinstance(target, Path) else nullcontext(target) as file:
            if path:
                _claim(file, path, size)
            output = kind(table, file, path is not None and path.suffix.lower() == ".gz")
            if not size:
                output.add(output.head)
            yield output
            output.finish()
            if path:
                output.sync()
                partial(path).replace(path)
    except BrokenPipeError:
        raise  # whoever closed the pipe knows why
    except OSError as error:
        advice = " What was done is kept: go on with --resume." if path and partial(path).exists() else ""
        raise NotReady(f"{path or 'The output'} cannot be written ({error.strerror or error}).{advice}") from error


def _claim(file: BinaryIO, path: Path, size: int) -> None:
    if not take_lock(file):
        raise BadData(f"Another run is writing {path} just now.")
    if os.fstat(file.fileno()).st_size < size:
        raise BadData(f"{partial(path)} is shorter than it was. Start anew with --overwrite.")
    file.truncate(size)

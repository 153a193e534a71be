"""Where the results go: the rows as they were, with five columns added, in a file that appears when it is complete."""

import csv
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData, NotReady
from webapp.model.files import PIPE
from webapp.model.labels import normalise
from webapp.model.table import CsvTable, Row, Table

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


Write = Callable[[Sequence[Row], Sequence[Answer]], Any]  # where it reaches the disk, returns how many bytes are there


def take_lock(file: BinaryIO, is_shared: bool = False) -> bool:
    """Take a file's lock, which the kernel frees when the process and its workers have ended; return if it was free.

    It waits a moment: the workers of a killed process need some time to notice and end.
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


def read_json(path: Path) -> dict[str, Any]:
    """Return a small JSON file, {} where there is none, or a power failure left half of one."""
    with suppress(OSError, ValueError):
        return dict(json.loads(path.read_text()))
    return {}


def partial(target: Path) -> Path:
    """Return where the output grows."""
    return target.with_name(target.name + ".partial")


def free_names(taken: Iterable[str]) -> list[str]:
    """Return the names of the added columns; one that the input has, such as label or Label, becomes hamlet_label."""
    names, taken = [], set(map(normalise, taken))
    for name in Answer._fields:
        while normalise(name) in taken:
            name = f"hamlet_{name}"
        names.append(name)
    return names


def _csv(table: CsvTable) -> tuple[str, Callable[[Row, Answer], str]]:
    """Return the header, and what renders a row: cells keep their values, not their quotation marks."""
    style: Any = {}
    if table.format == "TSV":  # without marks there are no line breaks or tabs in cells; some would be taken for text
        style = {"quoting": csv.QUOTE_ALL} if table.is_quoted else {"quoting": csv.QUOTE_NONE, "quotechar": None}
    echo: Any = SimpleNamespace(write=str)  # a writer gives back what its file's `write` does: here, the line
    writer = csv.writer(echo, delimiter=table.delimiter, **style)

    def line(cells: Sequence[Any]) -> str:
        text: str = writer.writerow(cells)  # it quotes cells with what its own line end, \r\n, is made of
        return text[:-2] + "\n"

    header = line([*table.columns, *free_names(table.columns)])
    return ("\ufeff" if table.lines.has_bom else "") + header, lambda row, answer: line([*row.raw, *answer])


def _json(table: Table) -> tuple[str, Callable[[Row, Answer], str]]:
    """Return what renders an object: it keeps its text; five members are added before its closing brace."""

    def line(row: Row, answer: Answer) -> str:
        text, members = row.raw
        added = json.dumps(dict(zip(free_names([*table.columns, *members]), answer, strict=True)))
        return f"{text[:-1].rstrip()}{', ' if members else ''}{added[1:]}\n"

    return "", line


@contextmanager
def _text_writer(table: Table, file: BinaryIO, is_zipped: bool, is_new: bool) -> Iterator[Write]:
    """Write CSV, TSV or JSON Lines, whichever the input is, in UTF-8."""
    header, render = _csv(table) if isinstance(table, CsvTable) else _json(table)

    def add(text: str) -> None:
        content = text.encode()
        # A gzip file may have many members, so one that was cut off behind a member can be added to.
        file.write(gzip.compress(content, 6, mtime=0) if is_zipped and content else content)

    if is_new:
        add(header)
    yield lambda rows, answers: add("".join(map(render, rows, answers)))


@contextmanager
def _parquet_writer(table: Any, file: BinaryIO) -> Iterator[Write]:
    """Write Parquet. It cannot be read before it is complete, so a resumed run writes it again."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = (pa.string(), pa.float64(), pa.string(), pa.string(), pa.string())
    schema = pa.schema([*table.schema, *map(pa.field, free_names(table.columns), types)], table.schema.metadata)

    def write(rows: Sequence[Row], answers: Sequence[Answer]) -> None:
        kept = pa.Table.from_batches([row.raw for row in rows]).combine_chunks().columns
        added = map(pa.array, zip(*answers, strict=True), types)
        writer.write_table(pa.Table.from_arrays([*kept, *added], schema=schema))

    with pq.ParquetWriter(file, schema) as writer:
        yield write


@contextmanager
def open_output(target: Path, table: Table, size: int) -> Iterator[Write]:
    """Open OUT.partial, cut off behind so many bytes, or PIPE; OUT appears once everything went well.

    Raises BadData when another run is writing to it, NotReady when it cannot be written: the disk is full, say.
    """
    path = None if target == PIPE else target

    def sync() -> int:
        file.flush()
        if not path:
            return 0
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size

    def write_through(rows: Sequence[Row], answers: Sequence[Answer]) -> int:
        write(rows, answers)
        return sync()

    try:
        with partial(path).open("ab") if path else nullcontext(sys.stdout.buffer) as file:
            if path:
                is_free, growing = take_lock(file), partial(path)
                # If the other run has just ended, the file that was opened is OUT by now.
                if not (is_free and growing.exists() and os.path.samestat(growing.stat(), os.fstat(file.fileno()))):
                    raise BadData(f"Another run is writing {path} just now.")
                if os.fstat(file.fileno()).st_size < size:
                    raise BadData(f"{partial(path)} is shorter than it was. Start again with --overwrite.")
                file.truncate(size)
            is_zipped = path is not None and path.suffix.lower() == ".gz"
            kind = _text_writer(table, file, is_zipped, not size) if table.can_append else _parquet_writer(table, file)
            with kind as write:
                yield write_through
            sync()
            if path:
                if not fcntl:
                    file.close()  # Windows renames no open file
                partial(path).replace(path)
    except OSError as error:
        advice = " What was done is kept: go on with --resume." if path and partial(path).exists() else ""
        raise NotReady(f"{path or 'The output'} cannot be written ({error.strerror or error}).{advice}") from error

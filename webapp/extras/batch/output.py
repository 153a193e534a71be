"""Where the results go: a file that appears when it is complete, or a pipe."""

import gzip
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from webapp.errors import BadData, NotReady
from webapp.extras.batch import run_state
from webapp.extras.batch.rows import Rows

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two runs from writing to the same file there
    fcntl = None  # type: ignore[assignment]


PATIENCE_S = 3


class Output:
    """What results are written to; all methods but close may raise OSError."""

    def cut(self, size: int) -> None:
        """Forget what is behind so many bytes."""

    def write(self, rendered: Any) -> None:
        """Add what Rows.render returned."""
        raise NotImplementedError

    def finish(self) -> None:
        """Add what must stand at the end."""

    def safe(self) -> int:
        """See that all of it is on the disk; return how many bytes it has."""
        return 0

    def close(self) -> None:
        """Let go of it."""


class PipeOutput(Output):
    """An open file, which whoever opened it closes."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def write(self, rendered: str) -> None:
        self._file.write(rendered.encode("latin-1"))
        self._file.flush()


class TextOutput(Output):
    """OUT.partial, for formats that are text."""

    def __init__(self, target: Path):
        self._gzip = target.suffix.lower() == ".gz"
        self._file = run_state.partial(target).open("ab")
        _lock(self._file, target)

    def cut(self, size: int) -> None:
        self._file.truncate(size)

    def write(self, rendered: str) -> None:
        content = rendered.encode("latin-1")
        # A gzip file may have many members, so one that was cut off behind a member can be added to.
        self._file.write(gzip.compress(content, 6, mtime=0) if self._gzip else content)

    def safe(self) -> int:
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        with suppress(OSError):  # what could not be written is not counted on anyway
            self._file.close()


class TableOutput(Output):
    """OUT.partial as Parquet: good for nothing before it is complete."""

    def __init__(self, target: Path, rows: Any):
        self._path, self._rows = run_state.partial(target), rows
        self._guard = self._path.open("ab")
        _lock(self._guard, target)

    def cut(self, size: int) -> None:
        self._writer = self._rows.writer(self._path)

    def write(self, rendered: Any) -> None:
        self._writer.write(rendered)

    def finish(self) -> None:
        self._writer.finish()

    def safe(self) -> int:
        os.fsync(self._guard.fileno())
        return os.fstat(self._guard.fileno()).st_size

    def close(self) -> None:
        self._guard.close()


def _lock(file: BinaryIO, target: Path) -> None:
    for _ in range(PATIENCE_S * 10):
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(0.1)  # the workers of a run that was killed take a moment to notice
    file.close()
    raise BadData(f"Another run is writing {target} just now.")


@contextmanager
def pipe_output(file: BinaryIO) -> Iterator[Output]:
    """Standard output, or another open file. Raises NotReady when it cannot be written."""
    with _clear_errors("The output", ""):
        yield PipeOutput(file)


@contextmanager
def file_output(target: Path, rows: Rows, keep: bool) -> Iterator[Output]:
    """OUT.partial, which becomes OUT once everything went well.

    Else it is kept or removed. Raises BadData when another run is writing to it, NotReady when the disk is full.
    """
    advice = "What was done is kept: mend that, then go on with --resume." if keep else ""
    with _clear_errors(str(target), advice):
        output = TextOutput(target) if rows.resumable else TableOutput(target, rows)
        try:
            yield output
            _appear(target)
        except BaseException:
            if not keep:
                run_state.partial(target).unlink(missing_ok=True)
            raise
        finally:
            output.close()


def _appear(target: Path) -> None:
    run_state.partial(target).replace(target)
    with suppress(OSError):  # Windows cannot open a folder
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _clear_errors(name: str, advice: str) -> Iterator[None]:
    """Turn an error of the disk into one clear line; whoever closes a pipe knows why."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise NotReady(f"{name} cannot be written ({error.strerror or error}). {advice}".strip()) from error

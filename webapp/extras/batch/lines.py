"""The lines of a file or pipe, plain or gzip'd, in constant memory.

Bytes are read as Latin-1, which gives each byte a character of its own: so lines and cells can be handled as text and
still be written as the very bytes that they were. A message itself is decoded from UTF-8 (`as_utf8`).
"""

import gzip
import io
import os
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from webapp.errors import BadData

LONGEST_ROW = 1024 * 1024  # bytes; far above any message, and it bounds the memory
GZIP = b"\x1f\x8b"
BOM = "\ufeff".encode().decode("latin-1")
UTF16 = ("\xff\xfe", "\xfe\xff")


class _Rewound(io.RawIOBase):
    """A pipe from its beginning, although its head was read to look at it."""

    def __init__(self, head: bytes, rest: BinaryIO):
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head or self._rest.read(len(buffer))
        self._head = piece[len(buffer) :]
        buffer[: len(piece) - len(self._head)] = piece[: len(buffer)]
        return len(piece) - len(self._head)


class Lines:
    """Reads lines with their ends; `offset` says how many (unzipped) bytes were given out."""

    def __init__(self, source: Path | BinaryIO, name: str):
        self.name = name
        self.offset = 0
        self._raw: BinaryIO
        try:
            if isinstance(source, Path):
                self._raw = source.open("rb")
                self._size = os.fstat(self._raw.fileno()).st_size
                head = self._raw.read(len(GZIP))
                self._raw.seek(0)
            else:
                head = source.read(len(GZIP))
                self._raw = io.BufferedReader(_Rewound(head, source))
                self._size = 0
        except OSError as error:
            raise BadData(f"{name} cannot be read ({error.strerror})") from error
        self._stream = gzip.GzipFile(fileobj=self._raw) if head == GZIP else self._raw
        self._start()
        self._kept: list[tuple[str, int]] = []  # lines that were put back, and what was cut off them
        self._cut = 0  # bytes that were cut off the line given out last

    def _start(self) -> None:
        self._text = io.TextIOWrapper(self._stream, encoding="latin-1", newline="")  # all line ends, as they are

    def next(self) -> str:
        """Return the next line, empty at the end of the input; one that is too long is cut off at LONGEST_ROW + 1.

        Raises BadData.
        """
        if self._kept:
            line, self._cut = self._kept.pop()
        else:
            try:
                line, self._cut = self._text.readline(LONGEST_ROW + 1), 0
                if len(line) > LONGEST_ROW:
                    rest = line
                    while rest and not rest.endswith(("\n", "\r")):
                        rest = self._text.readline(LONGEST_ROW)
                        self._cut += len(rest)
            except (OSError, EOFError, zlib.error) as error:
                raise self._broken(error) from error
        self.offset += len(line) + self._cut
        return line

    def put_back(self, lines: list[str]) -> None:
        """Have these lines, the last that were given out, given out again."""
        for line in reversed(lines):
            cut = self._cut if len(line) > LONGEST_ROW else 0  # only the very last can be one: nobody reads on then
            self._kept.append((line, cut))
            self.offset -= len(line) + cut

    def peek(self) -> str:
        """Return the next line without taking it."""
        line = self.next()
        if line:
            self.put_back([line])
        return line

    def seek(self, offset: int) -> None:
        """Go on from an offset; raises BadData if the input is shorter. A gzip'd file is unzipped up to there."""
        self._text.detach()
        try:
            reached = self._stream.seek(offset)
        except (OSError, EOFError, zlib.error) as error:
            raise self._broken(error) from error
        if reached != offset:
            raise BadData(f"{self.name} ends before byte {offset:,}")
        self.offset = offset
        self._kept.clear()
        self._start()

    def check_size(self, limit: int) -> None:
        """Raise BadData if it has more (unzipped) bytes, or if it breaks off. The lines are then spent."""
        size = 0
        try:
            while piece := self._stream.read(LONGEST_ROW):
                size += len(piece)
                if size > limit:
                    raise BadData(f"{self.name} unpacks to more than {limit // 1024**2} MB")
        except (OSError, EOFError, zlib.error) as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> BadData:
        return BadData(f"{self.name} cannot be read to its end ({error}): is it complete?")

    def share(self) -> float | None:
        """Return which share of the input was read, 0 to 1; None for a pipe, of which nobody knows."""
        return min(1.0, self._raw.tell() / self._size) if self._size else None

    def close(self) -> None:
        """Close what was opened."""
        self._text.detach()
        self._raw.close()


def as_utf8(cell: str) -> str:
    """Return a cell as the text that it is; raises UnicodeDecodeError."""
    return cell if cell.isascii() else cell.encode("latin-1").decode()


def as_latin1(text: str) -> str:
    """Return a text as a cell, which is written as UTF-8."""
    return text if text.isascii() else text.encode().decode("latin-1")


def line_end(line: str) -> str:
    """Return the characters that end a line: those of Windows, Unix, old Macs, or none."""
    return "\r\n" if line.endswith("\r\n") else line[-1:] if line.endswith(("\n", "\r")) else ""

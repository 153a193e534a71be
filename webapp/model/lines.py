"""The lines of a file or pipe: unzipped, decoded, and refused where they are no text."""

import codecs
import gzip
import io
import re
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from webapp.errors import BadData, counted

LONGEST_ROW = 1024 * 1024  # characters; far above any message, and it bounds the memory
TOO_LONG = f"The row has more than {LONGEST_ROW:,} characters."
SNIFFED_LINES, SNIFFED_SIZE = 1_000, 256 * 1024  # at the beginning, which tell delimiter, header and usual values
GZIP, PARQUET = b"\x1f\x8b", b"PAR1"
UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MOST_NULS = 7  # in the first 4,096 bytes of a text; compressed data has one in 256 bytes
FOREIGN = {  # by how they begin
    r"PK\x03\x04.*(?:\[Content_Types\]|mimetype)|\xd0\xcf\x11\xe0": "an Excel file: save it as CSV",
    r"PK\x03\x04": "a ZIP archive: unpack it first",
    "%PDF": "a PDF: save its table as CSV",
    r"\x80[\2-\5]": "a Python pickle, which may run code: save it as CSV",
    r"<(?i:!doctype|html|table|\?xml)": "a web page or XML: export its table as CSV",
    r"From \S+@|From: [^\n,]*\S@\S|(?:Return-Path|Received|Delivered-To|Message-ID|MIME-Version):": "a mail: put mails "
    "into a CSV",
    r"BZh|\xfd7zXZ|\(\xb5/\xfd|\x1f\x8b": "compressed, but not once by gzip: unpack it first",
}
_FOREIGN = re.compile("|".join(f"({beginning})" for beginning in FOREIGN), re.DOTALL)
_NO_UTF8 = re.compile("[\ud800-\udfff]+")  # what surrogateescape makes of it; halves of pairs in UTF-16
BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, UnicodeError)  # what reading may raise


def shown(text: object, most: int = 50) -> str:
    """Return a piece of a file as it can be shown in one line of a terminal, whatever is in it."""
    letters = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(text))
    return letters if len(letters) <= most else letters[:most] + "..."


@contextmanager
def reading(name: str, *others: type[Exception]) -> Iterator[None]:
    """Raise BadData where a file that is read is not there, or breaks off."""
    try:
        yield
    except BROKEN + others as error:
        words = getattr(error, "strerror", None)
        words = f"cannot be read: {words}" if words else f"is not complete ({shown(error, 200)})"
        raise BadData(f"{name} {words}") from error


class Lines:
    """The lines of a file or pipe with their ends; `number` is that of the last line that was returned, from 1."""

    def __init__(self, raw: io.BufferedReader, name: str, size: int):
        self.raw, self.name, self._size = raw, name, size  # in bytes, 0 if unknown
        self.number = self.taken = 0  # lines and characters that were returned
        self._recoded = self._first_recoded = 0  # how many lines were no UTF-8, and the number of the first
        self._waiting: deque[str] = deque()
        with reading(name):
            self.stream: Any = gzip.GzipFile(fileobj=raw) if raw.peek(2)[:2] == GZIP else raw  # of bytes, unzipped
            head: bytes = self.stream.peek(4096)[:4096]
        self._is_utf16 = is_utf16 = head.startswith(UTF16)
        self.has_bom = is_utf16 or head.startswith(codecs.BOM_UTF8)
        self.is_parquet = head.startswith(PARQUET) and self.stream is raw
        if foreign := _FOREIGN.match(head.lstrip().decode("latin-1")):
            raise BadData(f"{name} is {list(FOREIGN.values())[(foreign.lastindex or 0) - 1]}")
        is_binary = b"\0" in head.partition(b"\n")[0] or head.count(b"\0") > MOST_NULS
        if is_binary and not (self.is_parquet or is_utf16):
            raise BadData(f"{name} is no text file; if it is UTF-16, save it as UTF-8")
        encoding, errors = ("utf-16", "surrogatepass") if is_utf16 else ("utf-8", "surrogateescape")
        self._text = io.TextIOWrapper(self.stream, encoding, errors, newline="")  # all line ends, as they are
        self._unread = self._read()

    def next(self) -> str:
        """Return the next line, "" at the end; only LONGEST_ROW + 1 characters of a longer line. Raises BadData."""
        line = self._waiting.popleft() if self._waiting else next(self._unread, "")
        self.number += bool(line)
        self.taken += len(line)
        return line

    def put_back(self, lines: Sequence[str]) -> None:
        """Put back the last lines that `next` returned; it returns them again."""
        self._waiting.extendleft(reversed(lines))
        self.number -= len(lines)

    def peek(self) -> list[str]:
        """Return the first lines that are not blank, without taking them; raises BadData where there is none."""
        taken: list[str] = []
        size = 0
        while len(taken) < SNIFFED_LINES and size < SNIFFED_SIZE and (line := self.next()):
            taken.append(line)
            size += len(line)
        self.put_back(taken)
        head = [line for line in taken if len(line) > LONGEST_ROW or line.strip(" \t\r\n,;|")]
        if not head:
            raise BadData(f"{self.name} is empty")
        return head

    def _read(self) -> Iterator[str]:
        with reading(self.name):
            while line := self._text.readline(LONGEST_ROW + 1):
                rest = line if len(line) > LONGEST_ROW else ""
                while rest and not rest.endswith(("\n", "\r")):
                    rest = self._text.readline(LONGEST_ROW)
                yield self.recode(line, self.number + 1).lstrip("\ufeff")  # joined files have marks in between

    def recode(self, text: str, number: int) -> str:
        """Return a text of a line with the bytes that were no UTF-8 read as Windows-1252, and note where they were."""
        if text.isascii() or not _NO_UTF8.search(text):
            return text
        if self._is_utf16:  # no byte is missing
            return _NO_UTF8.sub("\N{REPLACEMENT CHARACTER}", text)
        self._recoded += 1
        self._first_recoded = self._first_recoded or number
        # Of its bytes, five are no letters.
        return _NO_UTF8.sub(lambda found: found[0].encode("ascii", "surrogateescape").decode("cp1252", "replace"), text)

    def notices(self) -> list[str]:
        """Return a notice of the lines so far that were not UTF-8, if there were any."""
        lines = (
            f"{counted(self._recoded, 'line')} not in UTF-8, read as Windows-1252 (first line {self._first_recoded})"
        )
        return [f"{self.name}: {lines}"] if self._recoded else []

    def done(self) -> float | None:
        """Return how much of it was read, 0 to 1; None for a pipe."""
        return min(1.0, self.raw.tell() / self._size) if self._size else None

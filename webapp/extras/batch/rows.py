"""What every format has in common: records that come in chunks, and the columns that are added to them."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from webapp.extras.batch.lines import Lines
from webapp.model.datasets import TEXT_COLUMNS

COLUMNS = ("label", "spam_probability", "model_version", "prediction_id", "error")
KNOWN_TEXT_COLUMNS = (*TEXT_COLUMNS, "sms", "body", "msg", "comment")
CHUNK_ROWS = 2_000  # scored, logged and written together; an interrupted run goes on from the last whole chunk
CHUNK_BYTES = 1024 * 1024  # with fewer rows where they are long: it bounds the memory


class Record(NamedTuple):
    """One row as it was read: its bytes as Latin-1, ready to have cells added, and the text in it."""

    body: str
    end: str  # its line end
    text: str | None  # None: it cannot be scored, see error
    error: str | None = None  # without text and error it is a blank line, which is only passed on
    columns: tuple[str, ...] = COLUMNS  # names of what is added (JSON Lines, where each row has its own)

    @property
    def is_row(self) -> bool:
        return self.text is not None or self.error is not None


class Answer(NamedTuple):
    """What is added to a row, in the order of COLUMNS; empty where there is nothing to say."""

    label: str = ""
    spam_probability: float | None = None
    model_version: str = ""
    prediction_id: str = ""
    error: str = ""


class Chunk(NamedTuple):
    """Some records in a row."""

    records: Sequence[Record]
    position: int  # where the next chunk begins
    share: float | None  # of the input that was read with it, 0 to 1
    table: Any = None  # the rows themselves, for formats that are not text


class Rows(Protocol):
    """A file in one format, from which records are read and to which answers are added."""

    resumable: bool  # whether output can go on behind what was written before
    head: str  # what the output begins with
    text_column: str

    def seek(self, position: int) -> None:
        """Go on from the position of a chunk."""

    def chunks(self) -> Iterator[Chunk]:
        """Yield chunk after chunk: the same ones, from whichever of their positions one starts."""

    def render(self, chunk: Chunk, answers: Sequence[Answer]) -> Any:
        """Return the chunk as it is written: one answer for each record that is a row."""

    def close(self) -> None:
        """Close the input."""


def text_chunks(lines: Lines, records: Iterator[Record]) -> Iterator[Chunk]:
    """Gather records into chunks."""
    gathered: list[Record] = []
    start = lines.offset
    for record in records:
        gathered.append(record)
        if len(gathered) >= CHUNK_ROWS or lines.offset - start >= CHUNK_BYTES:
            yield Chunk(gathered, lines.offset, lines.share())
            gathered, start = [], lines.offset
    if gathered:
        yield Chunk(gathered, lines.offset, lines.share())


def free_names(taken: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the added columns; one that the input has already, such as label, becomes hamlet_label."""
    names = []
    for name in COLUMNS:
        while name in taken:
            name = f"hamlet_{name}"
        names.append(name)
    return tuple(names)

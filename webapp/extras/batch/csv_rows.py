"""CSV and TSV: a row is passed on byte for byte, with five cells added behind it."""

import csv
import io
from collections.abc import Iterator, Sequence

from webapp.errors import BadData
from webapp.extras.batch.lines import BOM, LONGEST_ROW, Lines, as_latin1, as_utf8, line_end
from webapp.extras.batch.rows import KNOWN_TEXT_COLUMNS, Answer, Chunk, Record, free_names, text_chunks
from webapp.model.datasets import find_column

DELIMITERS = ",;\t"


class CsvRows:
    """A CSV or TSV file with a header."""

    resumable = True

    def __init__(self, lines: Lines, text_column: str | None, delimiter: str | None):
        self._lines = lines
        first = lines.peek()
        mark = BOM if first.startswith(BOM) else ""  # as Excel writes it: else it would be part of the first name
        self._delimiter = delimiter or max(DELIMITERS, key=first.count)
        cells, raw, whole = next(self._split(mark))
        if not (cells and whole) or len(raw) > LONGEST_ROW:
            raise BadData(f"{lines.name}: the first line must hold the names of the columns")
        names = [_shown(cell).strip() for cell in cells]
        self._width = len(names)
        if self._width == 1 and not text_column:
            self._text_at = 0
        else:
            lowered = [name.lower() for name in names]
            self._text_at = find_column(lines.name, lowered, text_column, KNOWN_TEXT_COLUMNS, "--text-column")
        self.text_column = names[self._text_at]
        end = line_end(raw) or "\n"
        added = self._delimiter.join(free_names([name.lower() for name in names]))
        self.head = f"{mark}{raw.removesuffix(line_end(raw))}{self._delimiter}{added}{end}"

    def seek(self, position: int) -> None:
        self._lines.seek(position)

    def close(self) -> None:
        self._lines.close()

    def chunks(self) -> Iterator[Chunk]:
        return text_chunks(self._lines, map(self._record, self._split()))

    def render(self, chunk: Chunk, answers: Sequence[Answer]) -> str:
        delimiter, parts, answer = self._delimiter, [], iter(answers)
        for record in chunk.records:
            if not record.is_row:
                parts.append(record.body + record.end)
                continue
            label, probability, version, id_, error = next(answer)
            cells = (label, "" if probability is None else repr(probability), version, id_, error and _quoted(error))
            parts.append(f"{record.body}{delimiter}{delimiter.join(cells)}{record.end}")
        return "".join(parts)

    def _split(self, mark: str = "") -> Iterator[tuple[list[str], str, bool]]:
        """Yield the cells of each record, its raw text, and whether its quotation marks are all closed."""
        feed = _Feed(self._lines, mark)
        reader = csv.reader(feed, delimiter=self._delimiter)
        while (cells := next(reader, None)) is not None:
            taken, whole = feed.taken, not feed.broken_off
            if not whole:  # then only its first line is the bad row, and the next line a new one
                self._lines.put_back(taken[1:])
                taken = taken[:1]
                cells = next(csv.reader([taken[0].removesuffix(line_end(taken[0]))], delimiter=self._delimiter))
            feed.taken, feed.size, feed.broken_off = [], 0, False
            yield cells, "".join(taken), whole

    def _record(self, split: tuple[list[str], str, bool]) -> Record:
        cells, raw, whole = split
        end = line_end(raw)
        if not cells:
            return Record(raw.removesuffix(end), end, None)
        if len(raw) > LONGEST_ROW:
            return self._bad([], "\n", f"The row has more than {LONGEST_ROW:,} bytes and was left out.")
        if not whole:
            return self._bad(cells, end, "The row has a quotation mark that is not closed.")
        if len(cells) != self._width:
            return self._bad(cells, end, f"The row has {len(cells)} fields where the header has {self._width}.")
        body = raw.removesuffix(end)
        try:
            return Record(body, end, as_utf8(cells[self._text_at]))
        except UnicodeDecodeError:
            return Record(body, end, None, f"The {self.text_column} is not valid UTF-8.")

    def _bad(self, cells: list[str], end: str, error: str) -> Record:
        """Return a row whose cells cannot be where they belong: rewritten, so that the added ones can."""
        surplus = cells[self._width :]
        if surplus:
            error += f" What is too much: {_shown(self._join(surplus))}"
        kept = cells[: self._width]
        return Record(self._join(kept + [""] * (self._width - len(kept))), end, None, error)

    def _join(self, cells: list[str]) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, delimiter=self._delimiter).writerow(cells)  # it quotes what its own line end is made of
        return buffer.getvalue().removesuffix("\r\n")


class _Feed:
    """Gives lines to csv.reader and remembers those of the record that it is reading."""

    def __init__(self, lines: Lines, mark: str):
        self._lines, self._mark = lines, mark
        self.taken: list[str] = []
        self.size = 0
        self.broken_off = False  # the reader wanted more lines than there are, or than a row may have

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._lines.next() if self.size <= LONGEST_ROW else ""
        if not line:
            self.broken_off = bool(self.taken)
            raise StopIteration
        line, self._mark = line.removeprefix(self._mark), ""
        self.taken.append(line)
        self.size += len(line)
        return line


def _shown(cell: str) -> str:
    """Return a cell to be read by people, whatever bytes are in it."""
    return cell.encode("latin-1").decode(errors="replace")


def _quoted(text: str) -> str:
    return '"' + as_latin1(text).replace('"', '""') + '"'

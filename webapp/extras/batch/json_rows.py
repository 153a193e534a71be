"""JSON Lines: a row is passed on byte for byte, with five members added before its closing brace."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from webapp.errors import BadData
from webapp.extras.batch.lines import BOM, LONGEST_ROW, Lines, as_latin1, as_utf8, line_end
from webapp.extras.batch.rows import KNOWN_TEXT_COLUMNS, Answer, Chunk, Record, free_names, text_chunks
from webapp.model.datasets import find_column

LOOKED_AT = 100  # lines at the beginning, among which there must be an object


class JsonRows:
    """A file with one JSON object a line."""

    resumable = True
    head = ""

    def __init__(self, lines: Lines, text_column: str | None):
        self._lines = lines
        first = self._first_object()
        keys = [key for key in first if key == key.encode(errors="ignore").decode()]  # no half surrogate pairs
        self._keys = keys
        if len(keys) == 1 and not text_column:
            self.text_column = keys[0]
        else:
            lowered = [key.lower() for key in keys]
            self.text_column = keys[find_column(lines.name, lowered, text_column, KNOWN_TEXT_COLUMNS, "--text-column")]
        self._names = free_names(keys)

    def _first_object(self) -> dict[str, Any]:
        if self._lines.peek().removeprefix(BOM).lstrip().startswith("["):
            raise BadData(f"{self._lines.name}: this is one JSON array; make it one object a line: jq -c '.[]'")
        seen: list[str] = []
        found: Any = None
        while not isinstance(found, dict) and len(seen) < LOOKED_AT and (line := self._lines.next()):
            if len(line) > LONGEST_ROW:
                break
            seen.append(line)
            try:
                found = json.loads(as_utf8(line.removeprefix(BOM)))
            except (ValueError, RecursionError):
                found = None
        self._lines.put_back(seen)
        if not isinstance(found, dict):
            raise BadData(f"{self._lines.name}: no JSON object in its first lines: JSON Lines have one in each")
        return found

    def seek(self, position: int) -> None:
        self._lines.seek(position)

    def close(self) -> None:
        self._lines.close()

    def chunks(self) -> Iterator[Chunk]:
        return text_chunks(self._lines, map(self._record, iter(self._lines.next, "")))

    def _record(self, line: str) -> Record:
        end = line_end(line)
        body = line.removesuffix(end)
        if len(line) > LONGEST_ROW:
            return Record(
                "{", "\n", None, f"The row has more than {LONGEST_ROW:,} bytes and was left out.", self._names
            )
        stripped = body.removeprefix(BOM).strip()
        if not stripped:
            return Record(body, end, None)
        try:
            value = json.loads(as_utf8(stripped))
        except UnicodeDecodeError:
            return self._bad(body, end, "The row is not valid UTF-8.")
        except (ValueError, RecursionError) as error:
            return self._bad(body, end, f"The row is not valid JSON ({error}).")
        if not isinstance(value, dict):
            return self._bad(body, end, "The row is not a JSON object.")
        names = self._names if value.keys().isdisjoint(self._names) else free_names([*self._keys, *value])
        mark = BOM if body.startswith(BOM) else ""
        opened = mark + stripped[:-1].rstrip() + (", " if value else "")
        text = value.get(self.text_column)
        if isinstance(text, str):
            return Record(opened, end, text, None, names)
        fault = "is not a string" if self.text_column in value else "is missing"
        return Record(opened, end, None, f"The {self.text_column} {fault}.", names)

    def _bad(self, body: str, end: str, error: str) -> Record:
        """Return a line that is no JSON object as one: the line itself is its member "line"."""
        line = body.encode("latin-1").decode(errors="replace")
        return Record(as_latin1(f'{{"line": {json.dumps(line, ensure_ascii=False)}, '), end, None, error, self._names)

    def render(self, chunk: Chunk, answers: Sequence[Answer]) -> str:
        parts, answer = [], iter(answers)
        for record in chunk.records:
            if record.is_row:
                members = zip(record.columns, next(answer), strict=True)
                added = json.dumps({name: None if value == "" else value for name, value in members})
                parts.append(f"{record.body}{added[1:]}{record.end}")
            else:
                parts.append(record.body + record.end)
        return "".join(parts)

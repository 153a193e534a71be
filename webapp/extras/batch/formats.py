"""Which format a file has: told from its name, or else from its first bytes."""

from pathlib import Path
from typing import BinaryIO

from webapp.config import pip_install
from webapp.errors import BadData
from webapp.extras.batch.csv_rows import CsvRows
from webapp.extras.batch.json_rows import JsonRows
from webapp.extras.batch.lines import BOM, UTF16, Lines
from webapp.extras.batch.rows import Rows

ENDINGS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".tab": "TSV",
    ".jsonl": "JSON Lines",
    ".ndjson": "JSON Lines",
    ".parquet": "Parquet",
}
PARQUET = "PAR1"


def open_rows(source: Path | BinaryIO, text_column: str | None) -> tuple[str, Rows]:
    """Return an input's format and its rows; raises BadData where it has no rows that could be read."""
    name = str(source) if isinstance(source, Path) else "standard input"
    named = ending_format(Path(name))
    if named == "Parquet":
        return named, _parquet(source, name, text_column)
    lines = Lines(source, name)
    try:
        first = lines.peek()
        if not first.startswith(PARQUET):
            return _text_rows(lines, first, named, text_column)
    except BadData:
        lines.close()
        raise
    lines.close()
    return "Parquet", _parquet(source, name, text_column)


def _text_rows(lines: Lines, first: str, named: str | None, text_column: str | None) -> tuple[str, Rows]:
    if not first:
        raise BadData(f"{lines.name} is empty")
    if first.startswith(UTF16):
        raise BadData(f"{lines.name} is UTF-16: save it as UTF-8, or run iconv -f UTF-16 -t UTF-8")
    found = named or _look(first)
    if found == "JSON Lines":
        return found, JsonRows(lines, text_column)
    return found, CsvRows(lines, text_column, "\t" if found == "TSV" else None)


def check_ending(target: Path, found: str) -> None:
    """Raise BadData where OUT's name promises another format than the input's, which is kept."""
    promised = ending_format(target)
    if promised not in (None, found):
        ending = next(ending for ending, name in ENDINGS.items() if name == found)
        raise BadData(f"{target.name} would be {promised}, but the input is {found}, which is kept: name it {ending}")


def ending_format(path: Path) -> str | None:
    """Return the format that a file's name tells, gzip'd or not."""
    plain = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return ENDINGS.get(plain.suffix.lower())


def _look(first_line: str) -> str:
    if first_line.removeprefix(BOM).lstrip().startswith(("{", "[")):
        return "JSON Lines"
    return "TSV" if "\t" in first_line else "CSV"


def _parquet(source: Path | BinaryIO, name: str, text_column: str | None) -> Rows:
    if not isinstance(source, Path):
        raise BadData("Parquet cannot be read from a pipe, because its table of contents is at its end: give a file")
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise BadData(f"{name} is Parquet, which needs pyarrow: {pip_install('requirements-parquet.txt')}") from error
    from webapp.extras.batch.parquet_rows import ParquetRows

    return ParquetRows(source, name, text_column)

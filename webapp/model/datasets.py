"""Step 1, train: read labelled messages, drop copies, split them."""

import csv
import gzip
import hashlib
import html
import io
import re
import unicodedata
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import BadData
from webapp.model.labels import SPAM_OR_HAM, Labels, find_labels

LABEL_COLUMNS = ("label", "v1", "class", "category")  # ours, Kaggle's copy of UCI's SMS, UCI's YouTube
TEXT_COLUMNS = ("text", "v2", "content", "message")
NUMBERS = {"0": False, "1": True}  # may stand for the labels, whatever these are called
NAME = "Two are needed: leave the others out, or say which with --labels NEGATIVE,POSITIVE."
PARTS = ("train", "test", "")  # what a column "split" may say; where it is empty, a hash decides
APART = "apart"  # as a part: measured on, and not fitted on in the end either
TRAIN_BUCKETS = range(6)  # of ten: 60 % to fit on, 40 % held out

csv.field_size_limit(2**31 - 1)


class Example(NamedTuple):
    """A message whose true label is known."""

    text: str
    is_spam: bool
    source: str  # which collection it comes from; by default the file's name
    part: str = ""  # "train" or "test" where the file says so, or APART; else a hash decides
    kind: str = ""  # what it is about, where the file says so: one campaign, service or template is of one kind


@dataclass
class Dataset:
    """One labelled file as it was read."""

    name: str
    sha256: str
    examples: list[Example]
    licence: str = "not stated"
    notices: list[str] = field(default_factory=list)
    labels: Labels = SPAM_OR_HAM  # the words in it: is_spam of an example means the second one
    text_column: str | None = None  # as it was asked for, so that the file can be read the same way again
    label_column: str | None = None


def read_labelled(
    path: Path, text_column: str | None = None, label_column: str | None = None, labels: Labels | None = None
) -> Dataset:
    """Read a CSV or TSV file, plain or gzip'd, with a header or in UCI's form `label<TAB>text` without one.

    Its labels are the given words, or 0 and 1 for them; where none are given, ham and spam or any other two, of which
    labels.py says which one is looked for. Raises BadData, naming the file and, where it can, the line.
    """
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except OSError as error:
        raise BadData(f"{path}: {error.strerror or 'not a complete gzip file'}") from error
    except (EOFError, zlib.error) as error:
        raise BadData(f"{path}: not a complete gzip file") from error
    digest = hashlib.sha256(raw).hexdigest()
    dataset = Dataset(path.name, digest, [], text_column=text_column, label_column=label_column)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
        dataset.notices.append(f"{path}: not UTF-8, read as Latin-1")
    if not text.strip():
        raise BadData(f"{path}: the file is empty")
    rows = list(_read_rows(path, text, text_column, label_column, labels))
    dataset.labels = labels or _labels_of(path, rows)
    is_spam = {**NUMBERS, dataset.labels.ham: False, dataset.labels.spam: True}
    for row in rows:
        if row.label not in is_spam:
            ham, spam = dataset.labels
            raise BadData(f"{path}, line {row.line}: label {row.label!r} is neither {ham} nor {spam} (nor 0 nor 1)")
    dataset.examples = [
        Example(row.text, is_spam[row.label], row.source, row.part, row.kind) for row in rows if row.text
    ]
    return dataset


class _Row(NamedTuple):
    line: int
    label: str  # in small letters
    text: str
    source: str
    part: str
    kind: str


def _labels_of(path: Path, rows: Iterable[_Row]) -> Labels:
    """Return the two words that the rows are labelled with; raises BadData."""
    first_lines: dict[str, int] = {}
    for row in rows:
        first_lines.setdefault(row.label, row.line)
    words = [word for word in first_lines if word not in NUMBERS]
    if set(words) <= set(SPAM_OR_HAM):
        return SPAM_OR_HAM
    if len(words) < len(first_lines):  # 0 and 1 stand for words, but for which?
        raise BadData(f"{path}: the labels are {_some(first_lines)}. {NAME}")
    if len(words) > 2 or not set(SPAM_OR_HAM).isdisjoint(words):
        third = words[2] if len(words) > 2 else next(word for word in words if word not in SPAM_OR_HAM)
        others = " and ".join(word for word in words[:2] if word != third)
        raise BadData(
            f"{path}, line {first_lines[third]}: label {third[:50]!r} is one too many beside {others}. {NAME}"
        )
    try:
        return find_labels(words)
    except BadData as error:
        raise BadData(f"{path}: {error}") from error


def _some(words: Iterable[str]) -> str:
    return ", ".join(word[:50] for word in list(words)[:5])


def _read_rows(
    path: Path, text: str, text_column: str | None, label_column: str | None, labels: Labels | None
) -> Iterable[_Row]:
    first_line = text.lstrip().splitlines()[0]
    delimiter = "\t" if "\t" in first_line else ","
    first_cell = first_line.split(delimiter)[0].strip().strip('"').lower()
    headerless = first_cell in {*NUMBERS, *(labels or SPAM_OR_HAM)} and not text_column and not label_column
    # UCI's file has no quoting: its quotation marks belong to the messages.
    quoting: Literal[0, 3] = csv.QUOTE_NONE if headerless and delimiter == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    label_at, text_at, source_at, part_at, kind_at = 0, 1, None, None, None
    if not headerless:
        header = [cell.strip().lower() for cell in next(row for row in rows if row)]
        label_at = find_column(path, header, label_column, LABEL_COLUMNS, "--label-column")
        text_at = find_column(path, header, text_column, TEXT_COLUMNS, "--text-column")
        source_at = header.index("source") if "source" in header else None
        part_at = header.index("split") if "split" in header else None
        kind_at = header.index("kind") if "kind" in header else None
    stem = path.name.split(".")[0]
    line = 1 if headerless else rows.line_num + 1
    for row in rows:
        if row:
            if len(row) <= max(label_at, text_at):
                raise BadData(
                    f"{path}, line {line}: has {len(row)} columns, needs at least {max(label_at, text_at) + 1}"
                )
            source = row[source_at] if source_at is not None and len(row) > source_at else stem
            part = row[part_at].strip().lower() if part_at is not None and len(row) > part_at else ""
            kind = row[kind_at].strip() if kind_at is not None and len(row) > kind_at else ""
            if part not in PARTS:
                raise BadData(f"{path}, line {line}: split {part!r} is neither train nor test")
            yield _Row(line, row[label_at].strip().lower(), row[text_at].strip()[:MAX_TEXT_LENGTH], source, part, kind)
        line = rows.line_num + 1


def find_column(path: Path | str, header: Sequence[str], wanted: str | None, known: Sequence[str], option: str) -> int:
    """Return the position of a column in a header of small letters; raises BadData that says what to do."""
    for name in [wanted.lower()] if wanted else known:
        if name in header:
            return header.index(name)
    looked_for, found = wanted or " or ".join(known), ", ".join(header[:10])
    raise BadData(f"{path}: no column {looked_for} among {found}; name it with {option}")


def norm(text: str) -> str:
    """Return the text with case, digits and white space evened out; its hash decides the side of the split."""
    return " ".join(re.sub(r"\d", "0", text.lower()).split())


def loose(text: str) -> str:
    """Return only the text's letters a-z and digits as 0: equal for copies that differ in punctuation or encoding."""
    even = unicodedata.normalize("NFKC", html.unescape(text)).lower()
    return re.sub(r"[^a-z0-9]", "", re.sub(r"\d", "0", even))


def drop_copies(examples: Iterable[Example]) -> list[Example]:
    """Return the first of each message and its copies. To be done before splitting, or the test knows the answers."""
    seen: set[str] = set()
    kept = []
    for example in examples:
        keys = copy_keys(example.text)
        if not keys & seen:
            kept.append(example)
        seen |= keys
    return kept


def copy_keys(text: str) -> set[str]:
    """Return what a text has in common with its copies: two of them are copies that share one of these."""
    return {"n" + norm(text), "l" + loose(text)} - {"l"}  # a text without a-z has no loose form


def bucket(text: str, digit: int = 0) -> int:
    """Return a number from 0 to 9, the same for a text on every machine; it decides the side of the split.

    It is the last digit of the text's hash, or the one before it, and so on.
    """
    number: int = int(hashlib.sha256(norm(text).encode()).hexdigest(), 16) // 10**digit % 10
    return number


def split(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Return (training part, held-out part).

    What the file says itself counts; else a hash of the text decides: the same on every machine, in any order. Where
    that leaves nothing to measure on, as in a file that is itself the training part of such a split, the hash's next
    digit decides for all.
    """
    examples = list(examples)
    for digit in (0, 1):
        is_training = [
            example.part == "train" if example.part and not digit else bucket(example.text, digit) in TRAIN_BUCKETS
            for example in examples
        ]
        if not all(is_training):
            break
    parts: dict[bool, list[Example]] = {True: [], False: []}
    for example, chosen in zip(examples, is_training, strict=True):
        parts[chosen].append(example)
    return parts[True], parts[False]

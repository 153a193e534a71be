"""Step 1, train: read labelled messages, drop copies, split them."""

import base64
import hashlib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import BadData
from webapp.model.files import LABEL_WORDS, ZERO_AND_ONE, Table, as_text, normalise, open_table
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.lines import shown

PARTS = {"train": "train", "test": "test", "validation": "test", "": ""}  # what a column "split" may say
APART = "apart"  # as a part: measured on, and not fitted on in the end either
TRAIN_BUCKETS = range(6)  # of ten: 60 % to fit on, 40 % held out


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
    zero_is_spam: bool = False  # as after --labels spam,ham


def read_labelled(
    path: Path, text_column: str | None = None, label_column: str | None = None, labels: Sequence[str] | None = None
) -> Dataset:
    """Read a file of labelled messages, as files.py reads it; say in `notices` what was taken, cut and left out.

    `labels` are its words for ham and spam, for which 0 and 1 may stand: ("spam", "ham") means that 0 is spam. Without
    them it is ham and spam. Raises BadData, naming the file and, where it can, the line.
    """
    with closing(open_table(path, text_column, _meanings(labels))) as table, path.open("rb") as file:
        words = Labels(*labels) if labels and set(labels) != set(SPAM_OR_HAM) else SPAM_OR_HAM
        dataset = Dataset(path.name, hashlib.file_digest(file, "sha256").hexdigest(), [])
        dataset.labels, dataset.text_column, dataset.label_column = words, text_column, label_column
        dataset.zero_is_spam = labels is not None and tuple(labels) == ("spam", "ham")
        text_at, label_at = table.find_text(text_column), table.find_label(label_column)
        dataset.notices.append(table.about(text_at, label_at))
        dataset.examples = _examples(table, text_at, label_at, path.name.split(".")[0], labels, dataset.notices)
        dataset.notices += table.notices()
    return dataset


def _meanings(labels: Sequence[str] | None) -> dict[str, bool]:
    """Return which words mean spam, True, and which ham."""
    if not labels or tuple(labels) == SPAM_OR_HAM:
        return LABEL_WORDS
    if tuple(labels) == ("spam", "ham"):
        return LABEL_WORDS | {word: not is_spam for word, is_spam in ZERO_AND_ONE.items()}
    return ZERO_AND_ONE | {normalise(labels[0]): False, normalise(labels[1]): True}


def _examples(
    table: Table, text_at: int, label_at: int, stem: str, labels: Sequence[str] | None, notices: list[str]
) -> list[Example]:
    meanings, examples = _meanings(labels), []
    others = [at for at in (table.find(None, [name], "") for name in ("source", "split", "kind")) if at is not None]
    extra = {table.columns[at].lower(): number for number, at in enumerate(others, start=2)}
    found: Counter[str] = Counter()  # how often each label occurs
    first_lines: dict[str, int] = {}  # where each label, and each thing to be said, occurs first
    left_out: Counter[str] = Counter()
    for line, values, error, _, _ in table.read([text_at, label_at, *others]):
        if error:
            raise BadData(f"{table.name}, line {line}: {error}")
        text, label = as_text(values[0]).strip(), normalise(values[1])
        fault = "no label" if not label else "no text" if not text else _unusable(text)
        if fault:
            left_out[fault] += 1
            first_lines.setdefault(fault, line)
            continue
        found[label] += 1
        first_lines.setdefault(f"label {label}", line)
        part = as_text(values[extra["split"]]).strip().lower() if "split" in extra else ""
        if part not in PARTS:
            raise BadData(f"{table.name}, line {line}: split {shown(part)!r} is neither train nor test")
        if len(text) > MAX_TEXT_LENGTH:
            left_out["long"] += 1
        source = as_text(values[extra["source"]]) if "source" in extra else stem
        kind = as_text(values[extra["kind"]]).strip() if "kind" in extra else ""
        examples.append(Example(text[:MAX_TEXT_LENGTH], meanings.get(label, False), source, PARTS[part], kind))
    if unknown := found.keys() - meanings.keys():
        raise _unknown_labels(table.name, unknown, found, first_lines, labels)
    if examples and all(re.fullmatch(r"[-+\d.,\s]+", example.text) for example in examples):
        column = shown(table.columns[text_at])
        raise BadData(f'{table.name}: the column "{column}" holds numbers, no messages; name it with --text-column')
    if long := left_out.pop("long", 0):
        notices.append(f"{table.name}: {long:,} texts have more than {MAX_TEXT_LENGTH:,} characters and were cut there")
    for fault, count in left_out.items():
        rows = "row has" if count == 1 else "rows have"
        notices.append(f"{table.name}: {count:,} {rows} {fault}, left out (first in line {first_lines[fault]})")
    return examples


def _unusable(text: str) -> str:
    """Return what no message holds, "" where there is nothing of the kind."""
    if "\x00" in text:
        return "a NUL character"
    return "" if text.isascii() or not re.search("[\ud800-\udfff]", text) else "half a surrogate pair"


def _unknown_labels(
    name: str, unknown: Iterable[str], found: Counter[str], first_lines: dict[str, int], labels: Sequence[str] | None
) -> BadData:
    """Return an error with the count of each label, the first line of the rarest, and what to do."""
    counts = ", ".join(f"{shown(label, 30)} {count:,}" for label, count in found.most_common(6))
    rarest = min(unknown, key=lambda label: (found[label], label))
    words = (
        f"{name}, line {first_lines[f'label {rarest}']}: label {shown(rarest)!r} is unknown. The labels are {counts}"
    )
    if labels:
        return BadData(f"{words}; the words to use are {labels[0]} and {labels[1]}")
    if len(found) == 2:
        one, other = sorted(found, key=lambda label: (LABEL_WORDS.get(label, False), label))
        choice = f"--labels={one},{other}" + ("" if "spam" in found else f" or --labels={other},{one}")
        return BadData(f"{words}. Say which is looked for, the second one here: {choice}")
    return BadData(f"{words}. Two are needed: mend the others, or say which with --labels NEGATIVE,POSITIVE")


def norm(text: str) -> str:
    """Return the text with case, digits and white space evened out; its hash decides the side of the split."""
    return " ".join(re.sub(r"\d", "0", text.lower()).split())


def loose(text: str) -> str:
    """Return only the text's letters a-z and digits as 0: equal for copies that differ in punctuation or encoding.

    It is "" unless most letters are a-z: of another script only numbers would be left, and these are equal in many.
    """
    even = unicodedata.normalize("NFKC", html.unescape(text)).lower()
    latin = re.sub(r"[^a-z0-9]", "", re.sub(r"\d", "0", even))
    return latin if 2 * len(latin.replace("0", "")) > sum(map(str.isalpha, even)) else ""


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


def contradictions(examples: Iterable[Example]) -> int:
    """Return how many copies have another label than the first of them, which is the one that counts."""
    first: dict[str, bool] = {}
    count = 0
    for example in examples:
        keys = copy_keys(example.text)
        count += any(first.get(key, example.is_spam) != example.is_spam for key in keys)
        for key in keys:
            first.setdefault(key, example.is_spam)
    return count


def summary(examples: Sequence[Example], kept: Sequence[Example], labels: Labels) -> str:
    """Return a sentence on what is left of messages without their copies."""
    spam, copies, contradicting = sum(example.is_spam for example in kept), len(examples) - len(kept), 0
    words = f"{len(kept):,} messages ({spam:,} {labels.spam}), {copies:,} copies dropped"
    if copies and (contradicting := contradictions(examples)):
        words += f", {contradicting:,} of them with the other label: the first one counts"
    return words + "."


def fingerprints(texts: Iterable[str]) -> str:
    """Return what recognises texts later without giving them away: 5 bytes of each one's hash, in Base64."""
    return base64.b64encode(b"".join(sorted({fingerprint(text) for text in texts}))).decode()


def fingerprint(text: str) -> bytes:
    """Return what recognises one text: 5 bytes of its hash."""
    return hashlib.sha256(norm(text).encode()).digest()[:5]


def read_fingerprints(known: str) -> set[bytes]:
    """Return the fingerprints in what `fingerprints` returned."""
    joined = base64.b64decode(known)
    return {joined[at : at + 5] for at in range(0, len(joined), 5)}


def are_known(texts: Iterable[str], known: str) -> list[bool]:
    """Return for each text whether it is among those of `fingerprints`."""
    hashes = read_fingerprints(known)
    return [fingerprint(text) in hashes for text in texts]


def copy_keys(text: str) -> set[str]:
    """Return what a text has in common with its copies: two of them are copies that share one of these."""
    return {"n" + norm(text), "l" + loose(text)} - {"l"}  # in other scripts there is no loose form


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

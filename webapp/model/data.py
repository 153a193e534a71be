"""Step 1, train: read labelled messages, drop copies, split them."""

import base64
import hashlib
import html
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from pathlib import Path
from typing import NamedTuple

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import BadData, counted
from webapp.model.files import PIPE, open_table
from webapp.model.labels import LABEL_WORDS, SPAM_OR_HAM, Labels, as_text, labels_options, normalise, read_meanings
from webapp.model.lines import shown
from webapp.model.table import Table

# What a column "split" may say.
PARTS = {"train": "train", "": ""} | dict.fromkeys(("test", "validation", "valid", "val", "dev"), "test")
HOLDOUT = "holdout"  # as a part: measured on, and not fitted on in the end either
TRAIN_BUCKETS = range(6)  # of ten: 60 % to fit on, 40 % held out
FINGERPRINT = 5  # bytes of a text's hash


class Example(NamedTuple):
    """A message whose true label is known."""

    text: str
    is_spam: bool
    source: str  # which collection it comes from; by default the file's name
    part: str = ""  # "train" or "test" where the file says so, or HOLDOUT; else a hash decides
    kind: str = ""  # what it is about, where the file says so: one campaign, service or template is of one kind


@dataclass
class Dataset:
    """One labelled file as it was read."""

    name: str
    sha256: str
    examples: list[Example]
    licence: str = "not stated"
    notices: list[str] = field(default_factory=list)  # what was taken, cut and left out
    labels: Labels = SPAM_OR_HAM  # the words in it: is_spam of an example means the second one


def read_labelled(
    path: Path, text_column: str | None = None, label_column: str | None = None, labels: Sequence[str] = SPAM_OR_HAM
) -> Dataset:
    """Read a file of labelled messages; raises BadData, naming the file and, where it can, the line.

    `labels` are its words for ham and spam, for which 0 and 1 may stand, or ZERO_IS_SPAM.
    """
    if path == PIPE or path.is_fifo():
        raise BadData(f"{path} is a pipe, which can be read once only: give a file")
    meanings = read_meanings(labels)
    with open_table(path, text_column, meanings) as table, path.open("rb") as file:
        words = SPAM_OR_HAM if set(labels) == set(SPAM_OR_HAM) else Labels(*labels)
        dataset = Dataset(table.name, hashlib.file_digest(file, "sha256").hexdigest(), [], labels=words)
        columns = [table.find_column(text_column), table.find_column(label_column, "label")]
        column = shown(table.columns[columns[0]])
        if columns[0] == columns[1]:
            raise BadData(f'{table.name}: the column "{column}" cannot hold both the messages and the labels')
        found = _read_examples(table, columns, dataset, meanings)
    if unknown := found.keys() - meanings.keys():
        rarest = min(unknown, key=lambda label: (len(found[label]), label))
        where = f"{dataset.name}, line {found[rarest][0]}: label {shown(rarest)!r} is unknown"
        raise BadData(f"{where}. {_advice(found, labels)}")
    if dataset.examples and all(re.fullmatch(r"[-+\d.,\s]+", example.text) for example in dataset.examples):
        raise BadData(f'{dataset.name}: the column "{column}" holds numbers, no messages; name it with --text-column')
    return dataset


def _read_examples(
    table: Table, columns: list[int], dataset: Dataset, meanings: dict[str, bool]
) -> dict[str, list[int]]:
    """Add a table's examples and notices to a dataset; return in which lines each label is."""
    others = {other: at for other in ("source", "split", "kind") if (at := table.find([other])) is not None}
    found: defaultdict[str, list[int]] = defaultdict(list)
    noted: defaultdict[str, list[int]] = defaultdict(list)
    for line, values, error, _ in table.read([*columns, *others.values()]):
        if error:
            raise BadData(f"{table.name}, line {line}: {shown(error, 300)}")
        text, label = values[0], normalise(values[1])
        is_text = isinstance(text, str) and not re.search("[\x00\ud800-\udfff]", text)
        fault = "no valid text" if as_text(text).strip() else "no text"
        if not label or not is_text or not text.strip():
            noted[f"{fault if label else 'no label'}, left out"].append(line)
            continue
        found[label].append(line)
        more = {other: as_text(value).strip() for other, value in zip(others, values[2:], strict=True)}
        part = more.get("split", "").lower()
        if part not in PARTS:
            what = f"split {shown(part)!r} is neither train nor test: rename the column if it means something else"
            raise BadData(f"{table.name}, line {line}: {what}")
        text = text.strip()
        if len(text) > MAX_TEXT_LENGTH:
            noted[f"more than {MAX_TEXT_LENGTH:,} characters, cut there"].append(line)
        source, kind = shown(more.get("source", dataset.name.split(".")[0]), 255), more.get("kind", "")
        dataset.examples.append(Example(text[:MAX_TEXT_LENGTH], meanings.get(label, False), source, PARTS[part], kind))
    dataset.notices += table.notices(*columns)
    for fact, lines in noted.items():
        dataset.notices.append(f"{table.name}: {counted(len(lines), 'row')} with {fact} (first in line {lines[0]})")
    return found


def _advice(found: Mapping[str, Sequence[int]], labels: Sequence[str]) -> str:
    """Return the count of each label, and what to do where one is unknown."""
    commonest = sorted(found, key=lambda label: -len(found[label]))[:6]
    words = "The labels are " + ", ".join(f"{shown(label, 30)} {len(found[label]):,}" for label in commonest)
    if set(labels) != set(SPAM_OR_HAM):
        return f"{words}; the words to use are {labels[0]} and {labels[1]}"
    if len(found) == 2:
        negative, positive = sorted(map(shown, found), key=lambda label: (LABEL_WORDS.get(label, False), label))
        return f"{words}. Say which is looked for, the second one here: {labels_options(negative, positive)}"
    return f"{words}. Two are needed: mend the others, or say which with --labels NEGATIVE,POSITIVE"


# --- Copies ---


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


def copy_keys(text: str) -> set[str]:
    """Return a text's keys: two texts that share a key are copies."""
    return {"n" + norm(text), "l" + loose(text)} - {"l"}  # in other scripts there is no loose form


def _with_copies(examples: Iterable[Example]) -> Iterator[tuple[Example, set[bool]]]:
    """Yield each example with the labels of its copies before it, none for the first."""
    first: dict[str, bool] = {}
    for example in examples:
        keys = copy_keys(example.text)
        yield example, {first[key] for key in keys & first.keys()}
        for key in keys:
            first.setdefault(key, example.is_spam)


def drop_copies(examples: Iterable[Example]) -> list[Example]:
    """Return the first of each message and its copies. To be done before splitting, or the test knows the answers."""
    return [example for example, before in _with_copies(examples) if not before]


def summary(examples: Sequence[Example], kept: Sequence[Example], labels: Labels) -> str:
    """Return a sentence on what is left of messages without their copies."""
    spam, copies = sum(example.is_spam for example in kept), len(examples) - len(kept)
    dropped = "1 copy" if copies == 1 else f"{copies:,} copies"
    words = f"{counted(len(kept), 'message')} ({spam:,} {labels.spam}), {dropped} dropped"
    contradicting = copies and sum((not example.is_spam) in before for example, before in _with_copies(examples))
    return words + (
        f", {contradicting:,} of them with the other label: the first one counts." if contradicting else "."
    )


# --- What a version has learnt: fingerprints, which recognise texts without giving them away ---


def fingerprint(text: str) -> bytes:
    """Return a piece of a text's hash, by which it is recognised."""
    return hashlib.sha256(norm(text).encode()).digest()[:FINGERPRINT]


def fingerprints(texts: Iterable[str], known: str = "") -> str:
    """Return the fingerprints of texts, and those that are known already, in Base64."""
    return base64.b64encode(b"".join(sorted({*map(fingerprint, texts), *read_fingerprints(known)}))).decode()


def read_fingerprints(known: str) -> set[bytes]:
    """Return the fingerprints in what `fingerprints` returned."""
    joined = base64.b64decode(known)
    return {joined[at : at + FINGERPRINT] for at in range(0, len(joined), FINGERPRINT)}


# --- The split ---


def bucket(text: str, digit: int = 0) -> int:
    """Return a digit of a text's hash, 0 for the last one: the same on every machine."""
    number: int = int(hashlib.sha256(norm(text).encode()).hexdigest(), 16) // 10**digit % 10
    return number


def split(examples: Iterable[Example]) -> tuple[list[Example], list[Example]]:
    """Return (training part, held-out part): as the file says, else as a hash of the text decides.

    Where that leaves nothing to measure on, as in a file that is itself the training part of such a split, the hash's
    next digit decides for all.
    """
    examples = list(examples)
    is_training = [
        example.part == "train" if example.part else bucket(example.text) in TRAIN_BUCKETS for example in examples
    ]
    if all(is_training):
        is_training = [bucket(example.text, 1) in TRAIN_BUCKETS for example in examples]
    held_out = [example for example, chosen in zip(examples, is_training, strict=True) if not chosen]
    return list(compress(examples, is_training)), held_out

"""What people call the two classes, such as normal and urgent. Inside, they are always ham and spam.

Inside means: in the code, the log, a model's own y, and for Prometheus. Each interface translates its output by
`word` and its input by `label`. "unsure", which reviewers may say too, is the same everywhere.
"""

import shlex
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from webapp.errors import BadData

UNSURE = "unsure"
LONGEST = 30  # characters of a word


class Labels(NamedTuple):
    """The words for the negative and for the positive class, in small letters."""

    ham: str
    spam: str

    def word(self, label: str) -> str:
        """Return what people call a label."""
        return self.spam if label == "spam" else self.ham if label == "ham" else label

    def label(self, word: str) -> str | None:
        """Return which label people mean by a word, None if it is none of theirs."""
        return "spam" if word == self.spam else "ham" if word == self.ham else None


SPAM_OR_HAM = Labels("ham", "spam")
ZERO_IS_SPAM = Labels("spam", "ham")  # as the option --labels says it: these two, but 0 is spam and 1 is ham


def read_labels(text: str) -> Labels:
    """Return what the option --labels says, NEGATIVE,POSITIVE: what people call the two; raises BadData.

    It may also be ZERO_IS_SPAM.
    """
    words = [" ".join(word.lower().split()) for word in text.split(",")]
    if len(words) != 2:
        raise BadData(f"--labels {text}: write it as NEGATIVE,POSITIVE, such as normal,urgent")
    for word in words:
        if not word or len(word) > LONGEST or not word.isprintable() or word == UNSURE:
            raise BadData(f"{word!r} cannot be a label: it takes 1 to {LONGEST} characters, and not the word {UNSURE}")
    ham, spam = words
    if ham == spam or ((ham == "spam" or spam == "ham") and Labels(ham, spam) != ZERO_IS_SPAM):
        raise BadData(f"{ham},{spam}: the labels must differ, and of ham and spam, spam is the second")
    return Labels(ham, spam)


def labels_options(*words: str) -> str:
    """Return the option --labels, as it can be pasted into a shell, in each order of two words that it takes."""
    options = []
    for text in (",".join(words), ",".join(words[::-1])):
        with suppress(BadData):
            read_labels(text)
            options.append(f"--labels={shlex.quote(text)}")
    return " or ".join(options) or "none, as these words cannot be labels: take others"


# --- In files ---

ZERO_AND_ONE = dict.fromkeys(("0", "0.0", "0,0", "false"), False) | dict.fromkeys(("1", "1.0", "1,0", "true"), True)
LABEL_WORDS = {"ham": False, "spam": True, "not spam": False, **ZERO_AND_ONE}  # which of them mean spam


def read_meanings(labels: Sequence[str]) -> dict[str, bool]:
    """Return which words in a file mean spam, True, and which ham."""
    ham, spam = map(normalise, labels)
    zero_is_spam = (ham, spam) == ZERO_IS_SPAM or (ZERO_AND_ONE.get(ham), ZERO_AND_ONE.get(spam)) == (True, False)
    numbers = {word: is_spam != zero_is_spam for word, is_spam in ZERO_AND_ONE.items()}
    if {ham, spam} == {*SPAM_OR_HAM}:
        return LABEL_WORDS | numbers
    return numbers | {ham: False, spam: True}


def normalise(word: object) -> str:
    """Return a label or a column's name without regard to case, blanks and dashes: what counts as the same word."""
    text = unicodedata.normalize("NFKC", as_text(word)).lower()
    if not text.isascii():  # marks of direction, say, are none
        text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    return " ".join(text.replace("_", " ").replace("not-", "not ").split())


def as_text(value: object) -> str:
    """Return a value as text, "" for none."""
    return "" if value is None or value != value else str(value)  # the number NaN is none, and not equal to itself

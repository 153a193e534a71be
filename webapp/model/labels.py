"""What people call the two classes, such as normal and urgent. Inside, they are always ham and spam.

Inside means: in the code, the log, a model's own y, and for Prometheus. At each door what goes out is translated by
`word`, what comes in by `label`. "unsure", which reviewers may say too, is the same everywhere.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from webapp.errors import BadData

UNSURE = "unsure"
LONGEST = 30  # characters of a word
# Of two words, the one that is on this list is what most messages are; the other one is what is looked for.
ORDINARY = frozenset(
    [
        "ham",
        "normal",
        "ordinary",
        "ok",
        "okay",
        "no",
        "none",
        "other",
        "false",
        "negative",
        "clean",
        "good",
        "fine",
        "safe",
    ]
)


class Labels(NamedTuple):
    """The words for the negative and for the positive class, in small letters."""

    ham: str = "ham"
    spam: str = "spam"

    def word(self, label: str) -> str:
        """Return what people call a label."""
        return self.spam if label == "spam" else self.ham if label == "ham" else label

    def label(self, word: str) -> str | None:
        """Return which label people mean by a word, None if it is none of theirs."""
        return "spam" if word == self.spam else "ham" if word == self.ham else None

    def sentence(self, text: str) -> str:
        """Return a text of Hamlet's own, written with the words spam and ham, with these words instead."""
        if self == SPAM_OR_HAM:
            return text
        text = text.replace("am blocked", "am called spam")  # only spam is a thing to block
        return re.sub(r"\b[Ss]pam\b|\b[Hh]am\b", self._translate, text)

    def _translate(self, found: re.Match[str]) -> str:
        word = self.word(found[0].lower())
        return word if found[0].islower() else word[:1].upper() + word[1:]


SPAM_OR_HAM = Labels()


def read_labels(text: str) -> Labels:
    """Return what the option --labels says, NEGATIVE,POSITIVE; raises BadData."""
    words = [word.strip().lower() for word in text.split(",")]
    if len(words) != 2:
        raise BadData(f"--labels {text}: write it as NEGATIVE,POSITIVE, such as normal,urgent")
    return _checked(Labels(*words))


def find_labels(values: Iterable[str]) -> Labels:
    """Return which of the two values of a column of labels is the negative one; raises BadData where that is not clear.

    It is the one that is called so (normal, ok, no, ...) or that denies the other one (toxic, nontoxic).
    """
    words = sorted(values)
    if len(words) != 2:
        raise BadData(f"all messages are labelled {words[0]}: name both labels with --labels NEGATIVE,POSITIVE")
    negative = [word for word in words if word in ORDINARY or word.endswith(other_of(words, word))]
    if len(negative) != 1:
        raise BadData(
            f"the labels are {words[0]} and {words[1]}. Say which of them is looked for, the second one here: "
            f"--labels {words[0]},{words[1]} or --labels {words[1]},{words[0]}"
        )
    return _checked(Labels(negative[0], other_of(words, negative[0])))


def other_of(words: list[str], word: str) -> str:
    """Return the other one of two."""
    return words[1] if word == words[0] else words[0]


def _checked(labels: Labels) -> Labels:
    for word in labels:
        if not word or len(word) > LONGEST or not word.isprintable() or word == UNSURE:
            raise BadData(f"{word!r} cannot be a label: it takes 1 to {LONGEST} characters, and not the word {UNSURE}")
    if labels.ham == labels.spam or labels.ham == "spam" or labels.spam == "ham":
        raise BadData(f"{labels.ham},{labels.spam}: the labels must differ, and of ham and spam, spam is the second")
    return labels

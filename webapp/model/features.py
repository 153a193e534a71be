"""From a message's text to numbers: what the model looks at.

reading.py reads a message, once, into *tokens* and *facts*:

- its words, in lower case, with digits written as 0;
- placeholders for what differs in every message: `[link]`, `[phone number]`, `[amount of money]`, ...;
- facts about the whole message: `(length 80-140)`, `(no links)`, ...

Here they become *terms* with values; to the tokens come

- pairs of neighbouring tokens;
- inside each word, its groups of 2 to 5 letters ("grams"), so that a misspelt or unseen word still counts.

A message of n distinct tokens gives each of these the value 1/sqrt(1 + n), so that a long mail does not shout
louder than an SMS. A word's grams always come along with the word, in fixed proportion. That is what makes scoring
fast: what a word adds to the log-odds depends on the word alone and can be remembered.

The path of this module is inside every saved model: do not move it. A change to what it or reading.py computes makes
saved models wrong without an error, so raise FEATURES_VERSION with it; the loader refuses models of another version.
"""

import math
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin

from webapp.model.reading import is_fact, read_message

FEATURES_VERSION = 1

# How much grams and facts weigh beside words, before the classifier weighs them. Chosen on the training
# parts of the public data (docs/model.md).
GRAM_VALUE = 0.15
FACT_VALUE = 0.3
GRAM_LENGTHS = (2, 3, 4, 5)
LONGEST_WORD = 32  # letters of a word that are cut into grams; longer "words" are no words


@lru_cache(maxsize=8192)
def grams(token: str) -> tuple[str, ...]:
    """Return the groups of letters in a word, its ends marked by spaces; a placeholder has none."""
    if token.startswith("["):
        return ()
    word = f" {token[:LONGEST_WORD]} "
    return tuple(f"~{word[i : i + n]}" for n in GRAM_LENGTHS for i in range(len(word) - n + 1))


def pairs(tokens: list[str]) -> Iterable[tuple[str, str]]:
    """Return the distinct pairs of neighbours, in order."""
    return dict.fromkeys(pairwise(tokens))


def token_value(distinct_tokens: int) -> float:
    """Return the value of each token of a message with so many distinct ones."""
    return 1 / math.sqrt(1 + distinct_tokens)


def term_values(text: str) -> dict[str, float]:
    """Return the value of every term of a message."""
    message = read_message(text)
    distinct = dict.fromkeys(message.tokens)
    value = token_value(len(distinct))
    values = dict.fromkeys(distinct, value)
    for first, second in pairs(message.tokens):
        values[f"{first} {second}"] = value
    for token in distinct:
        for gram in grams(token):
            values[gram] = values.get(gram, 0.0) + GRAM_VALUE * value
    for fact in message.facts:
        values[fact] = FACT_VALUE
    return values


class MessageVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn texts into a sparse matrix of term values.

    It learns which terms are frequent enough to keep: a word must occur in `min_words` messages, a pair in
    `min_pairs`, a gram in `min_grams`. And it learns how telling each of them is: rare terms, and terms whose shares
    in spam and in ham differ, get greater values, so that the classifier, which shrinks all weights alike, can lean
    on them (after Wang & Manning 2012, Baselines and Bigrams, ACL). Facts keep theirs.
    """

    def __init__(self, min_words: int = 3, min_pairs: int = 4, min_grams: int = 5):
        self.min_words = min_words
        self.min_pairs = min_pairs
        self.min_grams = min_grams

    def fit(self, texts: Iterable[str], y: Iterable[str]) -> Self:
        """Learn the vocabulary and the scale of each of its terms, shape (terms,); y holds "spam" or "ham"."""
        occurrences: dict[str, Counter[str]] = {"spam": Counter(), "ham": Counter()}
        messages = 0
        for text, label in zip(texts, y, strict=True):
            occurrences[label].update(term_values(text).keys())
            messages += 1
        total = occurrences["spam"] + occurrences["ham"]
        kept = sorted(term for term, count in total.items() if count >= self._minimum(term))
        self.vocabulary_ = {term: column for column, term in enumerate(kept)}
        spam, ham = (np.array([1 + occurrences[label][term] for term in kept]) for label in ("spam", "ham"))
        rareness = np.sqrt(np.log((2 + messages) / (spam + ham))) / 2
        contrast = np.abs(np.log(spam / spam.sum()) - np.log(ham / ham.sum()))
        self.scale_ = np.where([is_fact(term) for term in kept], 1, rareness * (1 + contrast) / 2).round(3)
        return self

    def __getstate__(self) -> dict[str, Any]:
        """Save the terms as one string: unpickling 147,000 of them one by one would take most of the time of a load."""
        state = dict(super().__getstate__())
        if "vocabulary_" in state:
            state["vocabulary_"] = "\n".join(state["vocabulary_"])  # in the order of their columns
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if isinstance(state.get("vocabulary_"), str):  # an older Hamlet saved it as it is
            terms = state["vocabulary_"].split("\n")
            state = {**state, "vocabulary_": {term: column for column, term in enumerate(terms)}}
        super().__setstate__(state)

    def _minimum(self, term: str) -> int:
        if term.startswith("~"):
            return self.min_grams
        return self.min_pairs if " " in term and not term.startswith(("[", "(")) else self.min_words

    def transform(self, texts: Iterable[str]) -> sparse.csr_matrix:
        """Return a matrix of shape (messages, terms), dtype float64."""
        columns: list[int] = []
        values: list[float] = []
        ends = [0]
        for text in texts:
            for term, value in term_values(text).items():
                column = self.vocabulary_.get(term)
                if column is not None:
                    columns.append(column)
                    values.append(value)
            ends.append(len(columns))
        where = np.array(columns, dtype=np.int32)
        scaled = np.array(values) * self.scale_[where]
        return sparse.csr_matrix((scaled, where, np.array(ends)), shape=(len(ends) - 1, len(self.vocabulary_)))

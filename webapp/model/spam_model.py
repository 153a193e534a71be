"""A loaded model: the spam probability of a message, and each term's share in it."""

import math
from collections.abc import Container, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from sklearn.pipeline import Pipeline

from webapp.config import THREADS
from webapp.model.features import LONGEST_WORD, NGRAM_VALUE, char_ngrams, pairs, token_value
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.tokenizer import tokenize

REMEMBERED_TOKENS = 50_000
ORDINARY_WORDS = 15  # different words of an ordinary message: what a term adds to the log-odds depends on it

# A challenger scores the text that the served model has just scored, and reading is the greater part of scoring.
_tokenize_once = lru_cache(maxsize=2 * THREADS)(tokenize)


class Score(NamedTuple):
    """What the model says of one message."""

    spam_probability: float  # 0 to 1
    contributions: dict[str, float]  # term -> what it adds to the log-odds of spam, in the order of the message


class _TokenWeights(dict[str, float]):
    """What a token weighs together with its n-grams: it depends on the token alone, and most come again and again."""

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self._weights = weights

    def __missing__(self, token: str) -> float:
        weight = self._weights.get
        ngrams = char_ngrams(token[:LONGEST_WORD])
        total = weight(token, 0.0) + NGRAM_VALUE * sum(weight(ngram, 0.0) for ngram in ngrams)
        if len(token) <= LONGEST_WORD:  # nobody shall fill the memory with words of 10,000 letters
            if len(self) >= REMEMBERED_TOKENS:
                self.clear()
            self[token] = total
        return total


class SpamModel:
    """Scores messages as the saved Pipeline does, but by a sum over their terms instead of a matrix product.

    For logistic regression the log-odds of spam are the intercept plus, for each term, its value times its weight
    (Hastie, Tibshirani, Friedman: The Elements of Statistical Learning, section 4.4). Adding them up one by one
    gives the probability and its explanation together, and agrees with `Pipeline.predict_proba` to 1e-9.
    Pipelines of another kind are pipeline_model.py's.
    """

    knows_words = True  # whether unknown_share says something

    def __init__(self, pipeline: Pipeline, version: str, threshold: float, labels: Labels = SPAM_OR_HAM):
        self.pipeline = pipeline
        self.version = version
        self.threshold = threshold
        self.labels = labels
        vectorizer, classifier = pipeline[0], pipeline[-1]
        weights = (vectorizer.scale_ * classifier.coef_[0]).tolist()
        self._weights: dict[str, float] = dict(zip(vectorizer.vocabulary_, weights, strict=True))
        self._known_words: Container[str] = self._weights
        self._intercept = float(classifier.intercept_[0])
        self._token_weights = _TokenWeights(self._weights)

    def score(self, text: str) -> Score:
        """Return the spam probability of a text and what each of its tokens adds to it.

        A word's contribution holds its own weight, that of its groups of letters, and half of each pair of
        neighbours that it stands in; so all contributions and the intercept add up to the log-odds.
        """
        tokens = _tokenize_once(text)
        token_weights, weights = self._token_weights, self._weights
        sums = {token: token_weights[token] for token in tokens}
        for first, second in pairs(tokens):
            weight = weights.get(f"{first} {second}")
            if weight:
                sums[first] += weight / 2
                sums[second] += weight / 2
        value = token_value(len(sums))
        contributions = {token: value * total for token, total in sums.items()}
        return Score(_sigmoid(self._intercept + sum(contributions.values())), contributions)

    def spam_probabilities(self, texts: Sequence[str]) -> list[float]:
        """Return the spam probability of each text, where nobody asks why."""
        return [self.score(text).spam_probability for text in texts]

    def label(self, spam_probability: float) -> str:
        """Return "spam" from the threshold upwards, else "ham", whatever `labels` call them."""
        return "spam" if spam_probability >= self.threshold else "ham"

    def term_weights(self) -> dict[str, float]:
        """Return what each word and pair of words adds to the log-odds of spam in an ordinary message.

        A word comes with its groups of letters, as in `score`. Meant for comparing versions: it takes a second.
        """
        value, token_weights = token_value(ORDINARY_WORDS), _TokenWeights(self._weights)
        found = {}
        for term, weight in self._weights.items():
            if not term.startswith("~"):
                is_pair = " " in term and not term.startswith("[")
                found[term] = value * (weight if is_pair else token_weights[term])
        return found

    def unknown_share(self, tokens: Iterable[str]) -> float:
        """Return the share (0 to 1) of the distinct words among a message's tokens that the model has never learnt."""
        words = [token for token in set(tokens) if token[0].isalpha()]
        return sum(word not in self._known_words for word in words) / len(words) if words else 0.0


def _sigmoid(log_odds: float) -> float:
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    odds = math.exp(log_odds)  # math.exp(-log_odds) would overflow far below zero
    return odds / (1 + odds)

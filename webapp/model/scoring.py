"""Step 3, serve: the spam probability of a message, and what each of its terms contributes.

    SpamModel        any Pipeline: leave a term out and see what the probability becomes
    └── LinearModel  one whose log-odds are a sum over terms: the parts of the sum are the explanation
        └── HamletModel  ours: the same sum, without a matrix

`make_model` chooses.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement, repeat
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.special import expit
from sklearn.base import ClassNamePrefixFeaturesOutMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from webapp.config import THREADS
from webapp.errors import ModelUnusable
from webapp.model.features import (
    LONGEST_WORD,
    NGRAM_VALUE,
    TOPICS,
    MessageVectorizer,
    char_ngrams,
    pairs,
    token_value,
    topic_term,
    topic_value,
    topics,
)
from webapp.model.labels import (
    LABEL_WORDS,
    SPAM_OR_HAM,
    ZERO_IS_SPAM,
    Labels,
    labels_options,
    normalise,
    read_meanings,
)
from webapp.model.tokenizer import token_spans, tokenize
from webapp.waiting import before_waiting

PROBES = ["Hello, are you there?", "WIN a free prize now, call 0900 123456"]  # what a Pipeline must be able to score
MOST_TERMS = 30  # are left out, one after the other, to explain a message
MOST_CHARACTERS = 100_000  # are scored for that: of a long message fewer terms are left out
AT_ONCE = 500  # messages, which bounds the memory where features are not sparse
ROUNDING = 1e-6  # how far from a probability a float32 may be
LEAST = 1e-9  # a forest may say exactly 0, which has no logarithm
REMEMBERED_TOKENS = 50_000

# A challenger scores the text that the served model has just scored, and reading is the greater part of scoring.
_tokenize_once = lru_cache(maxsize=2 * THREADS)(tokenize)


class Score(NamedTuple):
    """What the model says of one message."""

    spam_probability: float  # 0 to 1
    contributions: dict[str, float]  # term -> what it adds to the log-odds of spam


def make_model(pipeline: Pipeline, version: str, threshold: float, labels: Labels = SPAM_OR_HAM) -> "SpamModel":
    """Return a fitted Pipeline as a model; raises ModelUnusable where it gives no probabilities of the two labels."""
    if not hasattr(pipeline, "predict_proba"):
        raise ModelUnusable(
            f"{type(pipeline[-1]).__name__} gives no probabilities (predict_proba). Fit one that does: wrap it into "
            "sklearn.calibration.CalibratedClassifierCV, say voting='soft' for a vote and refit=True for a search, or "
            "take LogisticRegression"
        )
    if [np.ndim(name) for name in getattr(pipeline, "classes_", ())] != [0, 0]:
        raise ModelUnusable("The Pipeline does not tell two classes apart; Hamlet takes two classes")
    of_bayes = (getattr(pipeline[-1], name, 0.0) for name in ("feature_log_prob_", "class_log_prior_"))
    if not all(np.isfinite(logarithms).all() for logarithms in of_bayes):
        raise ModelUnusable(
            "Naive Bayes has a probability of 0, so no answer for many messages: fit it with alpha=0.1, say, and no "
            "class_prior of 0"
        )
    names = _feature_names(pipeline)
    terms = None if names is None else linear_terms(pipeline[-1])
    words = SPAM_OR_HAM if labels == ZERO_IS_SPAM else labels
    about = (pipeline, version, threshold, words, _index_of_spam(pipeline.classes_, labels))
    model = SpamModel(*about)
    if names is not None and terms and len(names) == len(terms[0]):
        is_ours = [type(step) for _, step in pipeline.steps] == [MessageVectorizer, LogisticRegression]
        model = (HamletModel if is_ours else LinearModel)(names, *terms, *about)
    try:
        model.spam_probabilities(PROBES)
        model.score(PROBES[1])
    except ModelUnusable:
        raise
    except Exception as error:  # it may be the user's code
        raise ModelUnusable(f"The Pipeline's predict_proba fails ({type(error).__name__}: {error})") from error
    return model


class SpamModel:
    """Scores messages by `Pipeline.predict_proba`, and explains a score by leaving terms out."""

    def __init__(
        self, pipeline: Pipeline, version: str, threshold: float, labels: Labels = SPAM_OR_HAM, spam_index: int = 1
    ):
        self.pipeline = pipeline
        self.version = version
        self.threshold = threshold
        self.labels = labels
        self.spam_index = spam_index  # which of the Pipeline's two classes it is

    def score(self, text: str) -> Score:
        """Return the spam probability of a text, and how much lower the log-odds of spam are without each of its terms.

        That is the weight of evidence of Robnik-Sikonja & Kononenko 2008 (IEEE TKDE 20(5)), the term left out instead
        of averaged over. What terms do only in company is not in it, so the contributions do not add up to the
        log-odds. Its cost is bounded: see MOST_TERMS.
        """
        spans: dict[str, list[tuple[int, int]]] = {}
        for start, end, tokens in token_spans(text):
            spans.setdefault(tokens[0], []).append((start, end))  # a link, which counts as several, is one
        most = min(MOST_TERMS, MOST_CHARACTERS // max(len(text), 1))
        terms = sorted(spans, key=len, reverse=True)[:most]  # what is short is rarely telling
        probabilities = self._predict([text, *(_without(text, spans[term]) for term in terms)])
        log_odds = np.log(np.maximum(probabilities, LEAST)) - np.log(np.maximum(1 - probabilities, LEAST))
        contributions = dict(zip(terms, (log_odds[0] - log_odds[1:]).tolist(), strict=True))
        return Score(float(probabilities[0]), contributions)

    def spam_probabilities(self, texts: Sequence[str]) -> list[float]:
        """Return the spam probability of each text, without explanations: many times as fast."""
        found: list[float] = []
        for start in range(0, len(texts), AT_ONCE):
            found += self._predict(texts[start : start + AT_ONCE]).tolist()
        return found

    def label(self, spam_probability: float) -> str:
        """Return "spam" from the threshold upwards, else "ham", whatever `labels` call them."""
        return "spam" if spam_probability >= self.threshold else "ham"

    def _predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return the spam probability of each text, shape (texts,); raises ModelUnusable."""
        before_waiting()
        return self._classify(transform(self.pipeline, list(texts)), len(texts))

    def _classify(self, values: Any, messages: int) -> np.ndarray:
        """Return the spam probabilities by what the classifier gets of messages; the same."""
        probabilities = np.asarray(self.pipeline[-1].predict_proba(values), dtype=float)
        if probabilities.shape != (messages, 2):
            shape = " x ".join(map(str, probabilities.shape))
            raise ModelUnusable(f"The Pipeline's predict_proba returns {shape} numbers, not {messages} x 2")
        in_range = (probabilities >= -ROUNDING) & (probabilities <= 1 + ROUNDING)  # false for NaN
        if not in_range.all() or (np.abs(probabilities.sum(axis=1) - 1) > 1000 * ROUNDING).any():
            raise ModelUnusable(
                "The Pipeline's predict_proba returns pairs that are not from 0 to 1, or do not add up to 1"
            )
        return probabilities[:, self.spam_index].clip(0, 1)


class LinearModel(SpamModel):
    """Scores messages by a Pipeline whose log-odds of spam are an intercept plus a weight times the value of each term.

    So are those of logistic regression (Hastie, Tibshirani, Friedman: The Elements of Statistical Learning, section
    4.4) and of naive Bayes (McCallum & Nigam 1998, A Comparison of Event Models for Naive Bayes Text Classification).
    """

    def __init__(self, names: np.ndarray, weights: np.ndarray, intercept: float, *args: Any):
        super().__init__(*args)
        self._names = names
        sign = 1 if self.spam_index == 1 else -1
        self._weights, self.intercept = sign * weights, sign * intercept

    def score(self, text: str) -> Score:
        """Return the spam probability of a text and what each of its terms adds to the log-odds of spam.

        The contributions and the intercept add up to the log-odds. Where they do not, as with a classifier that bends
        its probabilities afterwards, terms are left out instead.
        """
        before_waiting()
        values = transform(self.pipeline, [text])
        probability = float(self._classify(values, 1)[0])
        row = sparse.csr_matrix(values)
        parts = row.data * self._weights[row.indices]
        rounding = ROUNDING * max(10.0, float(np.abs(parts).sum()))  # values or weights may be float32
        if abs(expit(self.intercept + float(parts.sum())) - probability) > rounding:
            return super().score(text)
        contributions: dict[str, float] = defaultdict(float)
        for name, part in zip(self._names[row.indices], parts.tolist(), strict=True):
            contributions[name.lower()] += part
        return Score(probability, contributions)


class HamletModel(LinearModel):
    """Scores messages as the Pipeline of training.py does, but by a sum over their terms instead of a matrix product.

    It agrees with `Pipeline.predict_proba` to 1e-9, and is some ten times as fast.
    """

    def __init__(self, *args: Any):
        super().__init__(*args)
        weights = (self.pipeline[0].scale_ * self._weights).tolist()
        self._term_weights: dict[str, float] = dict(zip(self._names, weights, strict=True))
        del self._names, self._weights  # of some 100,000 terms
        self._token_weights = _TokenWeights(self._term_weights)
        # What a topic weighs alone, and with each other one: half of what both do.
        self._topic_weights: dict[str, dict[str, float]] = {topic: {} for topic in TOPICS}
        for topic, other in combinations_with_replacement(TOPICS, 2):
            weight = self._term_weights.get(topic_term(topic, other), 0.0)
            self._topic_weights[topic][other] = self._topic_weights[other][topic] = weight / (1 + (topic != other))

    def score(self, text: str) -> Score:
        """Return the spam probability of a text and what each of its words adds to it.

        A word's contribution holds its own weight, that of its groups of letters, half of each pair of neighbours that
        it stands in, and its share of its topic's weight and of half of each two topics; so all contributions and the
        intercept add up to the log-odds.
        """
        tokens = _tokenize_once(text)
        token_weights, weights = self._token_weights, self._term_weights
        sums = {token: token_weights[token] for token in tokens}
        for first, second in pairs(tokens):
            weight = weights.get(f"{first} {second}")
            if weight:
                sums[first] += weight / 2
                sums[second] += weight / 2
        value = token_value(len(sums))
        contributions = {token: value * total for token, total in sums.items()}
        found = topics(sums)
        value = topic_value(len(found))
        for topic, speaking in found.items():
            share = value * sum(map(self._topic_weights[topic].__getitem__, found)) / len(speaking)
            for token in speaking:
                contributions[token] += share
        return Score(float(expit(self.intercept + sum(contributions.values()))), contributions)

    def spam_probabilities(self, texts: Sequence[str]) -> list[float]:
        """Return the spam probability of each text, shape (texts,)."""
        return [self.score(text).spam_probability for text in texts]


class _TokenWeights(dict[str, float]):
    """What a token weighs together with its n-grams: it depends on the token alone, and most come again and again."""

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self._weights = weights

    def __missing__(self, token: str) -> float:
        weight = self._weights.get
        ngrams = char_ngrams(token[:LONGEST_WORD])
        total = weight(token, 0.0) + NGRAM_VALUE * sum(map(weight, ngrams, repeat(0.0)))
        if len(token) <= LONGEST_WORD:  # words of 10,000 letters must not fill the memory
            if len(self) >= REMEMBERED_TOKENS:
                self.clear()
            self[token] = total
        return total


# --- What can be known of a Pipeline ---


def transform(pipeline: Pipeline, texts: Sequence[str]) -> Any:
    """Return what the classifier of a fitted Pipeline gets of texts.

    Step by step: a Pipeline that ends in a class of somebody's own may take itself for not fitted, or for no estimator.
    """
    values: Any = texts
    for _, step in pipeline.steps[:-1]:
        if hasattr(step, "transform"):  # "passthrough" and what only resamples for the fit have none
            values = step.transform(values)
    return values


def linear_terms(classifier: Any) -> tuple[np.ndarray, float] | None:
    """Return the weights and the intercept whose sum are the log-odds of a classifier's second class; None without.

    They are what the classifier says of each feature alone, and of none.
    """
    is_bayes = hasattr(classifier, "feature_log_prob_")
    try:
        features = (classifier.feature_log_prob_ if is_bayes else classifier.coef_).shape[1]
        values = sparse.vstack([sparse.csr_matrix((1, features)), sparse.identity(features)], format="csr")
        if is_bayes:
            log_odds = np.diff(classifier.predict_joint_log_proba(values))[:, 0]
        else:
            log_odds = classifier.decision_function(values)
    except Exception:  # it has no weights, takes no sparse values, or is the user's code
        return None
    return log_odds[1:] - log_odds[0], float(log_odds[0])


def _feature_names(pipeline: Pipeline) -> np.ndarray | None:
    """Return the names of what the classifier gets, None where these are no terms: hashes, or components of many."""
    steps = [step for _, step in pipeline.steps[:-1]]
    first = next((at for at, step in enumerate(steps) if hasattr(step, "get_feature_names_out")), 0)
    takes_numbers = not steps or hasattr(steps[first], "n_features_in_")  # so it has no words to name
    if takes_numbers or any(isinstance(step, ClassNamePrefixFeaturesOutMixin) for step in steps):
        return None
    try:
        names: np.ndarray = pipeline[first:-1].get_feature_names_out()
    except Exception:  # a part of a FeatureUnion that has no names, say, or the user's code
        return None
    if any(hasattr(step, "transformer_weights") for step in steps):  # a FeatureUnion puts its part before the name
        return np.array([name.rpartition("__")[2] or name for name in names])
    return names


def _index_of_spam(classes: Sequence[object], labels: Labels) -> int:
    """Return which of the two classes means spam, by its labels or as in files; raises ModelUnusable."""
    meanings = LABEL_WORDS | read_meanings(labels)
    is_spam = [meanings.get(normalise(name)) for name in classes]
    if set(is_spam) == {False, True}:
        return is_spam.index(True)
    first, second = (str(name).lower() for name in classes)
    raise ModelUnusable(
        f"The Pipeline's classes are {first} and {second}, the labels {labels.ham} and {labels.spam}. Say which of the "
        f"classes is looked for, the second one here: {labels_options(first, second)}"
    )


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    edges = [0, *(edge for span in spans for edge in span), len(text)]
    return "".join(text[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True))

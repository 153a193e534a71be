"""Any scikit-learn Pipeline from texts to the probabilities of two classes, with the interface of SpamModel.

Such a model, naive Bayes or a forest say, need not be a sum, so what a term did is found by leaving it out.
"""

from collections.abc import Collection, Container, Iterable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from webapp.model.features import MessageVectorizer
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.spam_model import Score, SpamModel
from webapp.model.tokenizer import token_spans

MOST_TERMS = 30  # are left out, one after the other, to explain a message
MOST_CHARACTERS = 100_000  # are scored for that: of a long message fewer terms are left out
AT_ONCE = 500  # messages, which bounds the memory where features are not sparse
LEAST = 1e-9  # a forest may say exactly 0, which has no logarithm


def as_model(pipeline: Pipeline, version: str, threshold: float, labels: Labels = SPAM_OR_HAM) -> SpamModel:
    """Return a fitted Pipeline as a model: as the sum that it is, where it is ours, else by its predict_proba.

    Raises ValueError for a Pipeline that does not tell two classes apart by their probabilities.
    """
    if not hasattr(pipeline, "predict_proba") or len(pipeline.classes_) != 2:
        raise ValueError("it gives no probabilities of two classes")
    is_sum = len(pipeline) == 2 and type(pipeline[0]) is MessageVectorizer and type(pipeline[1]) is LogisticRegression
    if is_sum and list(pipeline.classes_) == ["ham", "spam"]:
        return SpamModel(pipeline, version, threshold, labels)
    return PipelineModel(pipeline, version, threshold, labels)


class PipelineModel(SpamModel):
    """Scores messages by `Pipeline.predict_proba`."""

    def __init__(self, pipeline: Pipeline, version: str, threshold: float, labels: Labels = SPAM_OR_HAM):
        self.pipeline = pipeline
        self.version = version
        self.threshold = threshold
        self.labels = labels
        self._spam_at = _place_of_spam([str(name).lower() for name in pipeline.classes_], labels)
        vocabulary = _vocabulary(pipeline)
        self.knows_words = vocabulary is not None
        self._known_words = vocabulary or {}

    def score(self, text: str) -> Score:
        """Return the spam probability of a text, and how much lower the log-odds of spam are without each of its terms.

        That is the weight of evidence of Robnik-Sikonja & Kononenko 2008 (IEEE TKDE 20(5)), the term left out instead
        of averaged over. What terms do only in company is not in it, so the contributions do not add up to the
        log-odds. Its cost is bounded: see MOST_TERMS.
        """
        spans = _spans_by_term(text)
        terms = _longest(spans, min(MOST_TERMS, MOST_CHARACTERS // max(len(text), 1)))
        probabilities = self._predict([text, *(_without(text, spans[term]) for term in terms)])
        ham, spam = np.log(np.maximum(probabilities, LEAST)).T
        log_odds = spam - ham
        contributions = dict(zip(terms, (log_odds[0] - log_odds[1:]).tolist(), strict=True))
        return Score(float(probabilities[0, 1]), contributions)

    def spam_probabilities(self, texts: Sequence[str]) -> list[float]:
        """Return the spam probability of each text, without explanations: many times as fast."""
        found: list[float] = []
        for start in range(0, len(texts), AT_ONCE):
            found += self._predict(texts[start : start + AT_ONCE])[:, 1].tolist()
        return found

    def term_weights(self) -> dict[str, float]:
        """Return nothing: its terms have no weights."""
        return {}

    def _predict(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probabilities of ham and spam, shape (texts, 2)."""
        probabilities = np.asarray(self.pipeline.predict_proba(list(texts)), dtype=float)
        return probabilities if self._spam_at == 1 else probabilities[:, ::-1]


def _place_of_spam(classes: list[str], labels: Labels) -> int:
    """Return which of the two classes means spam; raises ValueError."""
    for ham, spam in (SPAM_OR_HAM, labels, ("0", "1"), ("false", "true")):
        if {ham, spam} == set(classes):
            return classes.index(spam)
    raise ValueError(f"its classes are {' and '.join(classes)}, its labels {' and '.join(labels)}")


def _vocabulary(pipeline: Pipeline) -> Container[str] | None:
    """Return the words that a Pipeline has learnt, None where it keeps none, as with hashes or groups of letters."""
    for _, step in pipeline.steps:
        if hasattr(step, "vocabulary_") and getattr(step, "analyzer", "word") == "word":
            vocabulary: Container[str] = step.vocabulary_
            return vocabulary
    return None


def _spans_by_term(text: str) -> dict[str, list[tuple[int, int]]]:
    """Return where in a text each term is, in the order of the message; a link, which counts as several, is one."""
    spans: dict[str, list[tuple[int, int]]] = {}
    for start, end, tokens in token_spans(text):
        spans.setdefault(tokens[0], []).append((start, end))
    return spans


def _longest(terms: Collection[str], most: int) -> list[str]:
    """Return so many of the terms, the longest ones, in their order: what is short is rarely telling."""
    chosen = set(sorted(terms, key=len, reverse=True)[:most])
    return [term for term in terms if term in chosen]


def _without(text: str, spans: Iterable[tuple[int, int]]) -> str:
    at, pieces = 0, []
    for start, end in spans:
        pieces.append(text[at:start])
        at = end
    return "".join([*pieces, text[at:]])

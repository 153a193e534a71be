"""Probabilities that hold for messages of new kinds: measured with whole kinds left out, and set right by that."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline

from webapp.model.data import Example
from webapp.model.scoring import make_model

KIND_FOLDS = 5  # fits, in each of which a fifth of the messages, whole kinds, is left out
LEAST = 1e-12  # a spam probability of exactly 0 has no logarithm


def has_kinds(examples: Sequence[Example]) -> bool:
    """Return whether enough kinds are known to leave some out."""
    return len({example.kind for example in examples if example.kind}) >= KIND_FOLDS


def leave_kinds_out(
    examples: Sequence[Example],
    weights: Mapping[str, float],
    fit: Callable[[Sequence[Example], Mapping[str, float]], Pipeline],
) -> tuple[list[Example], list[float]]:
    """Return the examples of known kind, and the spam probability of each by a model that saw none of its kind."""
    known = [example for example in examples if example.kind]
    others = [example for example in examples if not example.kind]
    probability = np.zeros(len(known))
    for seen, unseen in GroupKFold(KIND_FOLDS).split(known, groups=[example.kind for example in known]):
        model = make_model(fit([*others, *(known[i] for i in seen)], weights), "kinds left out", 0.5)
        probability[unseen] = model.spam_probabilities([known[i].text for i in unseen])
    return known, probability.tolist()


class Calibration(NamedTuple):
    """What makes log-odds honest: slope x log-odds + shift (Platt 1999, Advances in Large Margin Classifiers)."""

    slope: float
    shift: float

    @classmethod
    def fit(cls, truth: Sequence[bool], probability: Sequence[float]) -> Self:
        """Fit to the spam probabilities of messages that the model never saw."""
        line = LogisticRegression(C=np.inf).fit(_log_odds(probability)[:, np.newaxis], truth)
        return cls(float(line.coef_[0, 0]), float(line.intercept_[0]))

    def of(self, probability: Sequence[float]) -> list[float]:
        """Return honest spam probabilities."""
        calibrated: list[float] = expit(self.slope * _log_odds(probability) + self.shift).tolist()
        return calibrated

    def build_into(self, pipeline: Pipeline) -> Pipeline:
        """Return a fitted Pipeline that ends in a logistic regression, its weights changed: it stays one sum."""
        classifier = pipeline[-1]
        classifier.coef_ = self.slope * classifier.coef_
        classifier.intercept_ = self.slope * classifier.intercept_ + self.shift
        return pipeline


def _log_odds(probability: Sequence[float]) -> np.ndarray:
    odds: np.ndarray = logit(np.clip(probability, LEAST, 1 - LEAST))
    return odds

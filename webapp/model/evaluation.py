"""How good is a model? The same figures at training and from reviews in production; proportions with 95 % intervals."""

import math

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict
from sklearn.metrics import brier_score_loss, roc_auc_score

Z = 1.959963984540054  # the standard normal's 97.5 % point: two-sided 95 %


class Part(BaseModel):
    """A part of a version's card (card.py)."""

    model_config = ConfigDict(strict=True, frozen=True)


class Estimate(Part):
    """A measured value, None where it is not defined (no ham, say), and its 95 % interval where that is known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return "not known" if self.value is None else f"{self.value:.4f}"


class Proportion(Estimate):
    """A proportion of n messages, with Wilson's interval."""

    n: int = 0

    @property
    def interval(self) -> str:
        """Return the interval in words, in percent."""
        if self.low is None or self.high is None:
            return "not known"
        return f"{100 * self.low:.1f} to {100 * self.high:.1f} %"

    def __str__(self) -> str:
        return "not known" if self.value is None else f"{100 * self.value:.1f} % (95 % interval {self.interval})"


class Counts(Part):
    """How many messages there are, and of which label."""

    messages: int = 0
    spam: int = 0
    ham: int = 0


class Metrics(Counts):
    """What is measured of a model on labelled messages."""

    accuracy: Proportion = Proportion()
    recall: Proportion = Proportion()  # of the spam, how much was called spam
    precision: Proportion = Proportion()  # of what was called spam, how much was spam
    false_positive_rate: Proportion = Proportion()  # of the ham, how much was called spam
    roc_auc: Estimate = Estimate()  # how often a spam message has a higher probability than a ham message
    brier: Estimate = Estimate()  # mean squared distance of probability and truth: 0 is perfect
    confusion_matrix: dict[str, int] = {}


def measure(is_spam: ArrayLike, spam_probability: ArrayLike, threshold: float) -> Metrics:
    """Measure a model on messages that it never saw; both sequences have shape (messages,)."""
    truth, probability = np.asarray(is_spam, dtype=bool), np.asarray(spam_probability, dtype=float)
    if not len(truth):
        return Metrics()
    verdict = probability >= threshold
    both = 0 < truth.sum() < len(truth)
    return Metrics(
        messages=len(truth),
        spam=int(truth.sum()),
        ham=int((~truth).sum()),
        accuracy=_of(truth == verdict),
        recall=_of(verdict[truth]),
        precision=_of(truth[verdict]),
        false_positive_rate=_of(verdict[~truth]),
        roc_auc=Estimate(value=_rounded(roc_auc_score(truth, probability))) if both else Estimate(),
        brier=Estimate(value=_rounded(brier_score_loss(truth, probability))),
        confusion_matrix=confusion_matrix(truth, verdict),
    )


def _of(outcomes: np.ndarray) -> Proportion:
    return proportion(int(outcomes.sum()), len(outcomes))


def proportion(part: float, whole: float, n: int | None = None) -> Proportion:
    """Return part / whole with its interval; `n` messages were counted where `whole` is an effective number."""
    if whole <= 0:
        return Proportion()
    low, high = wilson(part, whole)
    n = round(whole) if n is None else n
    return Proportion(value=_rounded(part / whole), low=_rounded(low), high=_rounded(high), n=n)


def wilson(successes: float, n: float) -> tuple[float, float]:
    """Return the ends of the 95 % score interval of a proportion (Wilson 1927, JASA 22, p. 209).

    It holds all p that the observed proportion s is within 1.96 standard errors sqrt(p (1 - p) / n) of, and keeps its
    95 %, on average over p, where s is near 0 or 1 too; for single p and few messages it can fall lower, to 84 % at
    n = 10 and p = .98. n may be an effective number, and need not be whole.
    """
    share = min(max(successes / n, 0.0), 1.0)
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def effective_n(weights: ArrayLike) -> float:
    """Return how many messages of equal weight would tell as much: (sum w)^2 / sum w^2 (Kish 1965, Survey Sampling)."""
    values = np.asarray(weights, dtype=float)
    return float(values.sum() ** 2 / (values**2).sum()) if values.size else 0.0


def confusion_matrix(is_spam: ArrayLike, called_spam: ArrayLike) -> dict[str, int]:
    """Return how many messages of each truth got each verdict."""
    truth, verdict = np.asarray(is_spam, dtype=bool), np.asarray(called_spam, dtype=bool)
    return {
        "spam_called_spam": int((truth & verdict).sum()),
        "spam_called_ham": int((truth & ~verdict).sum()),
        "ham_called_ham": int((~truth & ~verdict).sum()),
        "ham_called_spam": int((~truth & verdict).sum()),
    }


def _rounded(value: float) -> float:
    return round(float(value), 5)  # pages round once more: with 4 digits they would show 51.852 % as 51.8

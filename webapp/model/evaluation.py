"""How good is a model? Each figure with a 95 % interval, on messages that it never saw."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from sklearn.metrics import roc_auc_score

RESAMPLES = 1000
METRICS = ("accuracy", "spam_caught", "ham_blocked", "mcc", "roc_auc", "brier")


class Figure(TypedDict):
    """A measured value and its 95 % interval; None where it is not defined (no ham, say)."""

    value: float | None
    low: float | None
    high: float | None


Metrics = dict[str, Figure]


def measure(is_spam: Sequence[bool], spam_probability: Sequence[float], threshold: float, seed: int = 0) -> Metrics:
    """Return each metric with its percentile bootstrap interval.

    `is_spam` and `spam_probability` have shape (messages,). The interval holds the middle 95 % of the metric over
    1,000 resamples of the messages with replacement (Efron & Tibshirani 1993, An Introduction to the Bootstrap, 13.3).
    """
    if not len(is_spam):
        return {name: Figure(value=None, low=None, high=None) for name in METRICS}
    truth, probability = np.asarray(is_spam, dtype=bool), np.asarray(spam_probability, dtype=float)
    random = np.random.default_rng(seed)
    once = np.ones(len(truth))
    samples = [random.multinomial(len(truth), once / len(truth)).astype(float) for _ in range(RESAMPLES)]
    values = _metrics(truth, probability, threshold, once)
    resampled = [_metrics(truth, probability, threshold, counts) for counts in samples]
    return {name: _figure(value, [metrics[name] for metrics in resampled]) for name, value in values.items()}


def _figure(value: float | None, resampled: Sequence[float | None]) -> Figure:
    defined = [v for v in resampled if v is not None]
    if value is None or not defined:
        return Figure(value=None, low=None, high=None)
    low, high = np.percentile(defined, [2.5, 97.5])
    return Figure(value=round(value, 4), low=round(float(low), 4), high=round(float(high), 4))


def _metrics(
    truth: np.ndarray, probability: np.ndarray, threshold: float, counts: np.ndarray
) -> dict[str, float | None]:
    """Return the metrics where message i counts counts[i] times; shapes (messages,)."""
    verdict = probability >= threshold
    caught, missed = counts[truth & verdict].sum(), counts[truth & ~verdict].sum()
    blocked, passed = counts[~truth & verdict].sum(), counts[~truth & ~verdict].sum()
    # Matthews 1975, Biochimica et Biophysica Acta 405: the correlation of truth and verdict.
    spread = np.sqrt((caught + blocked) * (caught + missed) * (passed + blocked) * (passed + missed))
    both = caught + missed > 0 and blocked + passed > 0
    return {
        "accuracy": float((caught + passed) / counts.sum()),
        "spam_caught": _share(caught, caught + missed),  # recall
        "ham_blocked": _share(blocked, blocked + passed),  # false positive rate
        "mcc": float((caught * passed - blocked * missed) / spread) if spread else None,
        "roc_auc": float(roc_auc_score(truth, probability, sample_weight=counts)) if both else None,
        "brier": float(np.average((probability - truth) ** 2, weights=counts)),  # Brier 1950: 0 is perfect
    }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def confusion_matrix(is_spam: Sequence[bool], spam_probability: Sequence[float], threshold: float) -> dict[str, int]:
    """Return how many messages of each truth got each verdict."""
    truth = np.asarray(is_spam, dtype=bool)
    verdict = np.asarray(spam_probability) >= threshold
    return {
        "spam_called_spam": int((truth & verdict).sum()),
        "spam_called_ham": int((truth & ~verdict).sum()),
        "ham_called_ham": int((~truth & ~verdict).sum()),
        "ham_called_spam": int((~truth & verdict).sum()),
    }


def expected_calibration_error(
    is_spam: Sequence[bool],
    spam_probability: Sequence[float],
    bins: int = 10,
    weights: Sequence[float] | None = None,
) -> float:
    """Return how far, on average, a spam probability is from the share of spam among the messages that got it.

    Equal-width bins, weighted by their number of messages (Naeini, Cooper & Hauskrecht 2015, AAAI, equation 3);
    `weights` says how much each message counts, 1 where it is left out.
    """
    truth, probability = np.asarray(is_spam, dtype=float), np.asarray(spam_probability, dtype=float)
    counts = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=float)
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = counts * (probability - truth)
    return float(sum(abs(gaps[bin_of == b].sum()) for b in range(bins)) / counts.sum())

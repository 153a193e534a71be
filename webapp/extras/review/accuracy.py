"""How often is the model right? Proportions of reviewed messages, each with its 95 % interval.

The input must be a random sample of the traffic (samples.py): uncertain or reported messages are the hard ones, and say
nothing about all messages. Pure functions, without the database.
"""

import datetime as dt
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import brier_score_loss

from webapp.model.evaluation import Proportion, confusion_matrix, proportion
from webapp.model.labels import UNSURE

BINS = 10  # of the reliability curve
MANY_UNSURE = 0.02  # from this share on, it matters what they are


class ReviewedPrediction(NamedTuple):
    """A prediction of which a person said what the message is."""

    prediction_id: str
    created_at: dt.datetime  # of the prediction, UTC
    label: str
    spam_probability: float
    model_version: str
    true_label: str  # spam, ham or unsure
    weight: float  # how many predictions of the log it stands for; 1 or more


def sample_size(right: np.ndarray, weights: np.ndarray) -> float:
    """Return how many messages from an infinite population would tell the mean of `right` as well; shapes (messages,).

    A member of weight w was reached with probability 1 / w, and then its weight misleads by w (w - 1) (Horvitz &
    Thompson 1952). So (sum w)^2 / sum w (w - 1): n / (1 - n / N) where all weigh the same, infinite where all of N
    were reached. Where those that weigh much are also wrong more often, the sum over squared residuals is smaller.
    """
    total, spread = weights.sum(), weights * (weights - 1)
    mean = float(np.average(right, weights=weights))
    by_weights = total**2 / spread.sum() if spread.sum() > 1e-9 else math.inf
    around_mean = float((spread * (right - mean) ** 2).sum())
    return float(min(by_weights, total**2 * mean * (1 - mean) / around_mean)) if around_mean else float(by_weights)


def sample_proportion(right: np.ndarray, weights: np.ndarray) -> Proportion:
    """Return the weighted proportion of those that are True; exact where all messages were reviewed."""
    if not len(right):
        return Proportion()
    n = min(sample_size(right, weights), 1e12)  # instead of infinity: the interval of so many is a point
    return proportion(float(np.average(right, weights=weights)) * n, n, len(right))


def share_right(members: Sequence[ReviewedPrediction], messages: int = 0) -> Proportion:
    """Return how often the verdicts on `messages` were right, of which these are reviewed members of random samples."""
    known, weights = judged(members, messages)
    return sample_proportion(np.array([member.label == member.true_label for member in known], dtype=bool), weights)


def judged(members: Sequence[ReviewedPrediction], messages: int) -> tuple[list[ReviewedPrediction], np.ndarray]:
    """Return the members whose truth is known and their weights, which add up to all messages that are asked about.

    So they also stand for unsure messages and for hours without a sample: one day reviewed whole does not make a week
    exact.
    """
    known = [member for member in members if member.true_label != UNSURE]
    weights = np.array([member.weight for member in known], dtype=float)
    if known:
        weights *= max(sum(member.weight for member in members), messages) / weights.sum()
    return known, weights


def accuracy(members: Sequence[ReviewedPrediction], messages: int = 0) -> dict[str, Any]:
    """Return all figures of `messages` by the reviewed members of their random samples, as JSON has them."""
    known, weights = judged(members, messages)
    truth = np.array([member.true_label == "spam" for member in known], dtype=bool)
    called = np.array([member.label == "spam" for member in known], dtype=bool)
    probability = np.array([member.spam_probability for member in known])
    right = sample_proportion(truth == called, weights)
    of_samples = sum(member.weight for member in members)  # messages of the time that the samples are of
    unsure = sum(member.weight for member in members if member.true_label == UNSURE) / max(of_samples, 1)
    sure = (1 - unsure) * (right.value or 0.0)
    return {
        "reviewed": len(known),
        "unsure": len(members) - len(known),  # the reviewer could not say: they are in no figure
        # The accuracy if all unsure messages were wrong, and if all were right; None where they are few.
        "if_unsure": (round(sure, 4), round(sure + unsure, 4)) if unsure > MANY_UNSURE else None,
        "sampled": round(min(of_samples / messages, 1.0), 4) if messages else None,
        "accuracy": right,
        "recall": sample_proportion(called[truth], weights[truth]),
        "false_positive_rate": sample_proportion(called[~truth], weights[~truth]),
        "precision": sample_proportion(truth[called], weights[called]),
        "confusion_matrix": confusion_matrix(truth, called),  # plain counts of reviews
        "brier": round(brier_score_loss(truth, probability, sample_weight=weights), 4) if known else None,
        "reliability": _reliability(truth, probability, weights),
    }


def _reliability(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> list[dict[str, Any]]:
    """Return the reliability curve: is a message with a spam probability of .8 spam in 8 cases of 10?

    Bins of equal width (DeGroot & Fienberg 1983, The Statistician 32), with each bin's Wilson interval.
    """
    bin_of = np.minimum((probability * BINS).astype(int), BINS - 1)
    curve = []
    for b in range(BINS):
        held = bin_of == b
        mean = round(float(np.average(probability[held], weights=weights[held])), 4) if held.any() else None
        spam = sample_proportion(truth[held], weights[held])
        curve.append({"lower": b / BINS, "upper": (b + 1) / BINS, "mean_probability": mean, "spam": spam})
    return curve

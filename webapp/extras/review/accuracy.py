"""How often is the model right? Shares among reviewed messages, each with its 95 % interval.

What comes in must be a random sample of the traffic (webapp/extras/review/sampling.py). Reviews of uncertain or
reported messages say nothing about all messages: those are the hard ones. Pure functions; none knows the database.
"""

import datetime as dt
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from webapp.model.evaluation import (
    Z,
    brier_score,
    confusion_matrix,
    effective_n,
    expected_calibration_error,
    proportions,
    weighted_proportion,
)

BINS = 10  # of the reliability curve
BY_THE_HOUR = dt.timedelta(days=2)  # up to here the curve over time has a point per hour, beyond one per day


class Reviewed(NamedTuple):
    """A prediction whose true label a person gave."""

    is_spam: bool
    called_spam: bool
    spam_probability: float
    weight: float  # how many predictions of the log it stands for; above 0
    created_at: dt.datetime  # of the prediction, UTC


class Share(TypedDict):
    """A share and its 95 % interval, None where there is nothing to divide by; n messages were counted."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Moment(Share):
    """The accuracy of the predictions made in the hour or day from `start` (ISO 8601, UTC)."""

    start: str


class Bin(TypedDict):
    """Reviewed messages whose spam probability is from `lower` to below `upper`, and how many of them are spam."""

    lower: float
    upper: float
    mean_probability: float | None
    spam: Share


class Accuracy(TypedDict):
    """How good the model is on a random sample of its traffic."""

    reviewed: int
    accuracy: Share
    spam_caught: Share  # recall: of the spam, how much was called spam
    ham_blocked: Share  # false positive rate: of the ham, how much was called spam
    precision: Share  # of what was called spam, how much was spam
    confusion_matrix: dict[str, int]  # plain counts of reviews
    brier: float | None
    expected_calibration_error: float | None
    reliability: list[Bin]
    needed_for_2_points: int | None  # further reviews until accuracy is known to +-2 percentage points
    needed_for_1_point: int | None
    over_time_by: str  # hour or day
    over_time: list[Moment]  # only those with reviews


def reviews_needed(share: float, half_width: float) -> int:
    """Return the smallest n at which a share's Wilson interval reaches no further than `half_width` to each side.

    Setting half of the interval's width to h and solving for n gives a quadratic equation: h^2 (n + z^2)^2 = z^2
    (n s (1 - s) + z^2 / 4). The width shrinks with every n, so its larger root is the answer, rounded up.
    """
    if not (0 <= share <= 1 and half_width > 0):
        raise ValueError("a share is from 0 to 1, half a width above 0")
    a, spread = half_width**2, share * (1 - share)
    b = Z**2 * (2 * a - spread)
    c = Z**4 * (a - 0.25)
    root = (-b + math.sqrt(max(b**2 - 4 * a * c, 0.0))) / (2 * a)
    return max(math.ceil(root - 1e-9), 1)


def accuracy(reviewed: Sequence[Reviewed]) -> Accuracy:
    """Return all figures; each message counts with its weight, each interval with the effective n of its messages."""
    truth = [one.is_spam for one in reviewed]
    verdict = [one.called_spam for one in reviewed]
    probability = [one.spam_probability for one in reviewed]
    weights = [one.weight for one in reviewed]
    outcomes = [(one.is_spam == one.called_spam, one.weight) for one in reviewed]
    shares: dict[str, Any] = {name: found.model_dump() for name, found in proportions(truth, verdict, weights).items()}
    by, over_time = _over_time(reviewed)
    return Accuracy(
        reviewed=len(reviewed),
        accuracy=shares["accuracy"],
        spam_caught=shares["recall"],
        ham_blocked=shares["false_positive_rate"],
        precision=shares["precision"],
        confusion_matrix=confusion_matrix(truth, verdict),
        brier=_rounded(brier_score(truth, probability, weights)) if reviewed else None,
        expected_calibration_error=(
            _rounded(expected_calibration_error(truth, probability, BINS, weights)) if reviewed else None
        ),
        reliability=_reliability(reviewed),
        needed_for_2_points=further_reviews(outcomes, 0.02),
        needed_for_1_point=further_reviews(outcomes, 0.01),
        over_time_by=by,
        over_time=over_time,
    )


def _right(reviewed: Iterable[Reviewed]) -> Share:
    return _share((one.is_spam == one.called_spam, one.weight) for one in reviewed)


def _share(weighted: Iterable[tuple[bool, float]]) -> Share:
    """Return the weighted share of those that are True."""
    pairs = list(weighted)
    found = weighted_proportion([yes for yes, _ in pairs], [weight for _, weight in pairs])
    return Share(value=found.value, low=found.low, high=found.high, n=found.n)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def further_reviews(outcomes: Sequence[tuple[bool, float]], half_width: float) -> int | None:
    """Return how many more reviews bring accuracy to +-half_width; None without any review to plan from.

    `outcomes` are the reviews so far: was the model right, and the review's weight.
    It plans with the middle of today's interval: after five reviews, all right, nobody knows that all will be.
    """
    right, weights = _share(outcomes), [weight for _, weight in outcomes]
    if right["low"] is None or right["high"] is None:
        return None
    if right["high"] - right["low"] <= 2 * half_width:
        return 0
    needed = reviews_needed((right["low"] + right["high"]) / 2, half_width)
    worth = effective_n(weights) / len(weights)  # of one review, beside one of a sample with equal weights
    return max(math.ceil(needed / worth - 1e-9) - len(weights), 1)


def _reliability(reviewed: Sequence[Reviewed]) -> list[Bin]:
    """Return the reliability curve: is a message with a spam probability of .8 spam in 8 cases of 10?

    Bins of equal width (DeGroot & Fienberg 1983, The Statistician 32), with each bin's Wilson interval.
    """
    bins: defaultdict[int, list[Reviewed]] = defaultdict(list)
    for one in reviewed:
        bins[min(int(one.spam_probability * BINS), BINS - 1)].append(one)
    return [
        Bin(
            lower=b / BINS,
            upper=(b + 1) / BINS,
            mean_probability=(
                _rounded(np.average([one.spam_probability for one in bins[b]], weights=[one.weight for one in bins[b]]))
                if bins[b]
                else None
            ),
            spam=_share((one.is_spam, one.weight) for one in bins[b]),
        )
        for b in range(BINS)
    ]


def _over_time(reviewed: Sequence[Reviewed]) -> tuple[str, list[Moment]]:
    times = [one.created_at for one in reviewed]
    hourly = not times or max(times) - min(times) <= BY_THE_HOUR
    slots: defaultdict[dt.datetime, list[Reviewed]] = defaultdict(list)
    for one in reviewed:
        start = one.created_at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
        slots[start if hourly else start.replace(hour=0)].append(one)
    moments = [Moment(start=start.isoformat(), **_right(slots[start])) for start in sorted(slots)]
    return "hour" if hourly else "day", moments

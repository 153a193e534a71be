"""How often is the model right? Proportions of reviewed messages, each with its 95 % interval.

What comes in must be a random sample of the traffic (samples.py). Reviews of uncertain or reported messages say
nothing about all messages: those are the hard ones. Pure functions; none knows the database.
"""

import datetime as dt
import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypedDict

import numpy as np

from webapp.model.evaluation import (
    brier_score,
    confusion_matrix,
    expected_calibration_error,
    proportion,
    wilson,
)

BINS = 10  # of the reliability curve
BY_THE_HOUR = dt.timedelta(days=2)  # up to here the curve over time has a point per hour, beyond one per day
FEWEST_TO_PLAN = 20  # reviews from which on it is said how many more are needed
FEWEST_TO_CALIBRATE = 200  # below, the calibration error is mostly chance: .089 at 50 where there is none
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

    @property
    def is_right(self) -> bool:
        return self.label == self.true_label


class Share(TypedDict):
    """A proportion and its 95 % interval, None where there is nothing to divide by; n messages were counted."""

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

    reviewed: int  # without the unsure ones
    unsure: int  # reached, but the reviewer could not say: they are in no figure
    if_unsure: tuple[float, float] | None  # accuracy if all of them were wrong, and right; None where they are few
    accuracy: Share
    recall: Share  # recall: of the spam, how much was called spam
    false_positive_rate: Share  # false positive rate: of the ham, how much was called spam
    precision: Share  # of what was called spam, how much was spam
    confusion_matrix: dict[str, int]  # plain counts of reviews
    brier: float | None
    expected_calibration_error: float | None  # None below FEWEST_TO_CALIBRATE
    calibration_error_by_chance: float | None  # what it would be on average, did each probability mean what it says
    reliability: list[Bin]
    needed_for_2_points: int | None  # further reviews until accuracy is known to +-2 percentage points
    needed_for_1_point: int | None
    over_time_by: str  # hour or day
    over_time: list[Moment]  # only those with reviews


def sample_size(right: np.ndarray, weights: np.ndarray) -> float:
    """Return how many messages, drawn from endlessly many, would tell the mean of `right` as well; shapes (messages,).

    A member of weight w was reached with probability 1 / w, and then its weight misleads by w (w - 1) (Horvitz &
    Thompson 1952). So (sum w)^2 / sum w (w - 1), which is Kish's number (1965, Survey Sampling) with the
    finite-population correction: n / (1 - n / N) where all weigh the same, infinite where all of N were reached. Where
    those that weigh much are also wrong more often, the same sum over squared residuals gives a smaller number.
    """
    total, spread = weights.sum(), weights * (weights - 1)
    mean = float(np.average(right, weights=weights))
    by_weights = total**2 / spread.sum() if spread.sum() > 1e-9 else math.inf
    around_mean = float((spread * (right - mean) ** 2).sum())
    return float(min(by_weights, total**2 * mean * (1 - mean) / around_mean)) if around_mean else float(by_weights)


def sample_proportion(weighted: Iterable[tuple[bool, float]]) -> Share:
    """Return the weighted proportion of those that are True; exact where all messages were reviewed."""
    pairs = list(weighted)
    if not pairs:
        return Share(value=None, low=None, high=None, n=0)
    right, weights = np.array(pairs, dtype=float).T
    n, value = sample_size(right, weights), float(np.average(right, weights=weights))
    if math.isinf(n):
        exact = _rounded(value)
        return Share(value=exact, low=exact, high=exact, n=len(pairs))
    found = proportion(value * n, n, len(pairs))
    return Share(value=found.value, low=found.low, high=found.high, n=found.n)


def accuracy(members: Sequence[ReviewedPrediction]) -> Accuracy:
    """Return all figures of the reviewed members of random samples."""
    reviewed = [one for one in members if one.true_label != "unsure"]
    truth = np.array([one.true_label == "spam" for one in reviewed])
    probability = np.array([one.spam_probability for one in reviewed])
    weights = [one.weight for one in reviewed]
    right = _right(reviewed)
    calibrates = len(reviewed) >= FEWEST_TO_CALIBRATE
    by, over_time = _over_time(reviewed)
    return Accuracy(
        reviewed=len(reviewed),
        unsure=len(members) - len(reviewed),
        if_unsure=_if_unsure(members, right["value"]),
        accuracy=right,
        recall=sample_proportion((one.is_right, one.weight) for one in reviewed if one.true_label == "spam"),
        false_positive_rate=sample_proportion(
            (not one.is_right, one.weight) for one in reviewed if one.true_label == "ham"
        ),
        precision=sample_proportion((one.is_right, one.weight) for one in reviewed if one.label == "spam"),
        confusion_matrix=confusion_matrix(truth, [one.label == "spam" for one in reviewed]),
        brier=_rounded(brier_score(truth, probability, weights)) if reviewed else None,
        expected_calibration_error=(
            _rounded(expected_calibration_error(truth, probability, BINS, weights)) if calibrates else None
        ),
        calibration_error_by_chance=_calibration_error_by_chance(probability, weights) if calibrates else None,
        reliability=_reliability(reviewed),
        needed_for_2_points=further_reviews(right, sum(weights), 0.02),
        needed_for_1_point=further_reviews(right, sum(weights), 0.01),
        over_time_by=by,
        over_time=over_time,
    )


def _right(reviewed: Iterable[ReviewedPrediction]) -> Share:
    return sample_proportion((one.is_right, one.weight) for one in reviewed)


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _if_unsure(members: Sequence[ReviewedPrediction], value: float | None) -> tuple[float, float] | None:
    weights = sum(one.weight for one in members)
    unsure = sum(one.weight for one in members if one.true_label == "unsure") / weights if weights else 0.0
    if unsure <= MANY_UNSURE:
        return None
    right = (1 - unsure) * (value or 0.0)
    return _rounded(right), _rounded(right + unsure)


def further_reviews(right: Share, messages: float, half_width: float) -> int | None:
    """Return how many more reviews bring accuracy to +-half_width; None with too few reviews to plan from.

    `messages` is how many there are to review, as the reviews' weights add up. It plans with the middle of today's
    interval: after twenty reviews, all right, nobody knows that all will be.
    """
    n, low, high = right["n"], right["low"], right["high"]
    if n < FEWEST_TO_PLAN or low is None or high is None:
        return None
    if high - low <= 2 * half_width:
        return 0
    value, total = (low + high) / 2, max(round(messages), n)

    def is_enough(number: int) -> bool:
        if number >= total:
            return True
        effective = number / (1 - number / total)
        ends = wilson(value * effective, effective) or (0, 1)
        return ends[1] - ends[0] <= 2 * half_width

    return max(bisect_left(range(n, total + 1), True, key=is_enough), 1)


def _calibration_error_by_chance(probability: np.ndarray, weights: list[float], seed: int = 0) -> float:
    random = np.random.default_rng(seed)
    truths = random.random((100, len(probability))) < probability
    errors = [expected_calibration_error(truth, probability, BINS, weights) for truth in truths]
    return _rounded(sum(errors) / len(errors))


def _reliability(reviewed: Sequence[ReviewedPrediction]) -> list[Bin]:
    """Return the reliability curve: is a message with a spam probability of .8 spam in 8 cases of 10?

    Bins of equal width (DeGroot & Fienberg 1983, The Statistician 32), with each bin's Wilson interval.
    """
    bins: defaultdict[int, list[ReviewedPrediction]] = defaultdict(list)
    for one in reviewed:
        bins[min(int(one.spam_probability * BINS), BINS - 1)].append(one)
    return [
        Bin(
            lower=b / BINS,
            upper=(b + 1) / BINS,
            mean_probability=(
                _rounded(np.average([one.spam_probability for one in held], weights=[one.weight for one in held]))
                if (held := bins[b])
                else None
            ),
            spam=sample_proportion((one.true_label == "spam", one.weight) for one in held),
        )
        for b in range(BINS)
    ]


def _over_time(reviewed: Sequence[ReviewedPrediction]) -> tuple[str, list[Moment]]:
    times = [one.created_at for one in reviewed]
    hourly = not times or max(times) - min(times) <= BY_THE_HOUR
    slots: defaultdict[dt.datetime, list[ReviewedPrediction]] = defaultdict(list)
    for one in reviewed:
        start = one.created_at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
        slots[start if hourly else start.replace(hour=0)].append(one)
    moments = [Moment(start=start.isoformat(), **_right(slots[start])) for start in sorted(slots)]
    return "hour" if hourly else "day", moments

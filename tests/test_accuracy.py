"""Accuracy from reviews, against hand-computed values, scikit-learn and statsmodels."""

import datetime as dt
import json
import math

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from webapp.extras.review.accuracy import Reviewed, accuracy, further_reviews, reviews_needed
from webapp.model.evaluation import effective_n, wilson

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def reviewed(*rows, weight=1.0):
    """Return reviews written as (truth, verdict, spam probability), or with a weight as the fourth."""
    return [
        Reviewed(row[0] == "spam", row[1] == "spam", row[2], row[3] if len(row) > 3 else weight, NOON) for row in rows
    ]


FIVE = reviewed(
    ("spam", "spam", 0.95, 1), ("spam", "ham", 0.35, 3), ("ham", "ham", 0.05, 1), ("ham", "ham", 0.15, 2),
    ("ham", "spam", 0.65, 1),
)  # fmt: skip


def many(count, seed=0):
    """Return random reviews with unequal weights."""
    random = np.random.default_rng(seed)
    probability = random.beta(0.4, 0.8, count)
    truth = random.random(count) < probability
    weights = random.choice([1.0, 2.0, 5.0], count)
    return [
        Reviewed(bool(t), bool(p >= 0.4), float(p), float(w), NOON)
        for t, p, w in zip(truth, probability, weights, strict=True)
    ]


def test_wilson_computed_by_hand():
    # 8 of 10: centre (.8 + .192073) / 1.384146, half 1.959964 / 1.384146 * sqrt(.016 + .009604)
    low, high = wilson(8, 10)
    assert low == pytest.approx(0.716740 - 0.226577, abs=2e-6)
    assert high == pytest.approx(0.716740 + 0.226577, abs=2e-6)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (3, 7), (196, 200), (4990, 5000), (12.5, 31.7)]
)
def test_wilson_is_that_of_statsmodels(successes, n):
    assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)


def test_nothing_reviewed_is_no_interval():
    assert wilson(0, 0) is None


def test_the_effective_number_of_messages():
    assert effective_n([2, 2, 2]) == 3
    assert effective_n([1, 1, 2]) == pytest.approx(16 / 6)
    assert effective_n([]) == 0


@pytest.mark.parametrize("share", [0, 0.001, 0.03, 0.5, 0.98, 1])
@pytest.mark.parametrize("half_width", [0.01, 0.02, 0.1, 0.4])
def test_so_many_reviews_are_needed_and_not_one_less(share, half_width):
    def half(n):
        low, high = proportion_confint(share * n, n, method="wilson")
        return (high - low) / 2

    n = reviews_needed(share, half_width)
    assert half(n) <= half_width + 1e-12
    assert n == 1 or half(n - 1) > half_width


def test_reviews_needed_by_hand():
    # s = 1: h = z^2 / (2 (n + z^2)), so n = z^2 (1 / (2 h) - 1) = 3.841459 * 49
    assert reviews_needed(1, 0.01) == math.ceil(3.841459 * 49)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="share"):
        reviews_needed(1.2, 0.01)
    with pytest.raises(ValueError, match="width"):
        reviews_needed(0.5, 0)


def test_figures_computed_by_hand():
    figures = accuracy(FIVE)  # weights 1, 3, 1, 2, 1; right are the first, third and fourth
    assert figures["reviewed"] == 5
    assert figures["accuracy"]["value"] == 0.5  # (1 + 1 + 2) / 8
    assert figures["spam_caught"]["value"] == 0.25  # 1 / (1 + 3)
    assert figures["ham_blocked"]["value"] == 0.25  # 1 / (1 + 2 + 1)
    assert figures["precision"]["value"] == 0.5
    assert [figures[name]["n"] for name in ("accuracy", "spam_caught", "ham_blocked", "precision")] == [5, 2, 3, 2]
    assert figures["confusion_matrix"] == {
        "spam_called_spam": 1,
        "spam_called_ham": 1,
        "ham_called_ham": 2,
        "ham_called_spam": 1,
    }
    # (.05^2 + 3 * .65^2 + .05^2 + 2 * .15^2 + .65^2) / 8
    assert figures["brier"] == pytest.approx((0.0025 + 1.2675 + 0.0025 + 0.045 + 0.4225) / 8, abs=1e-4)
    # each in a bin of its own: (.05 + 3 * .65 + .05 + 2 * .15 + .65) / 8
    assert figures["expected_calibration_error"] == pytest.approx(3.0 / 8, abs=1e-4)


def test_intervals_use_the_effective_number_of_their_own_messages():
    figures = accuracy(FIVE)
    for name, weights in [("accuracy", [1, 3, 1, 2, 1]), ("spam_caught", [1, 3]), ("ham_blocked", [1, 2, 1])]:
        n = sum(weights) ** 2 / sum(weight**2 for weight in weights)
        expected = proportion_confint(figures[name]["value"] * n, n, method="wilson")
        assert (figures[name]["low"], figures[name]["high"]) == pytest.approx(expected, abs=1e-4)


def test_the_same_as_scikit_learn():
    reviews = many(600)
    truth, verdict, probability, weights, _ = map(np.array, zip(*reviews, strict=True))
    figures = accuracy(reviews)
    expected = {
        "accuracy": sk.accuracy_score(truth, verdict, sample_weight=weights),
        "spam_caught": sk.recall_score(truth, verdict, sample_weight=weights),
        "ham_blocked": 1 - sk.recall_score(truth, verdict, sample_weight=weights, pos_label=False),
        "precision": sk.precision_score(truth, verdict, sample_weight=weights),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value, abs=1e-4)
    assert figures["brier"] == pytest.approx(sk.brier_score_loss(truth, probability, sample_weight=weights), abs=1e-4)


def test_the_reliability_curve_is_scikit_learns():
    reviews = [one._replace(weight=1.0) for one in many(800)]
    curve = [bin_ for bin_ in accuracy(reviews)["reliability"] if bin_["spam"]["n"]]
    spam, mean = calibration_curve([r.is_spam for r in reviews], [r.spam_probability for r in reviews], n_bins=10)
    assert [bin_["spam"]["value"] for bin_ in curve] == pytest.approx(spam, abs=1e-4)
    assert [bin_["mean_probability"] for bin_ in curve] == pytest.approx(mean, abs=1e-4)
    assert sum(bin_["spam"]["n"] for bin_ in curve) == 800


def test_the_curve_has_ten_bins_and_each_end_belongs_to_one():
    curve = accuracy(reviewed(("ham", "ham", 0.0), ("spam", "spam", 1.0)))["reliability"]
    assert [(bin_["lower"], bin_["upper"]) for bin_ in curve] == [(b / 10, (b + 1) / 10) for b in range(10)]
    assert [bin_["spam"]["n"] for bin_ in curve] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert curve[1]["mean_probability"] is None


def test_what_is_not_defined_is_none_and_all_of_it_is_json():
    for reviews in ([], reviewed(("ham", "ham", 0.1)), FIVE, many(50)):
        json.dumps(accuracy(reviews), allow_nan=False)
    only_ham = accuracy(reviewed(("ham", "ham", 0.1)))
    assert only_ham["spam_caught"] == {"value": None, "low": None, "high": None, "n": 0}
    assert only_ham["precision"]["value"] is None
    nothing = accuracy([])
    assert nothing["accuracy"]["value"] is nothing["brier"] is nothing["needed_for_1_point"] is None
    assert nothing["over_time"] == []


def test_further_reviews_bring_the_interval_to_the_promised_width():
    hundred = reviewed(*[("ham", "ham", 0.1)] * 96, *[("spam", "ham", 0.3)] * 4)
    figures = accuracy(hundred)
    further = figures["needed_for_2_points"]
    # planned with the middle of the interval, a little below .96
    assert 300 < further < figures["needed_for_1_point"]
    right = figures["accuracy"]
    low, high = proportion_confint((right["low"] + right["high"]) / 2 * (100 + further), 100 + further, method="wilson")
    assert (high - low) / 2 == pytest.approx(0.02, abs=2e-4)
    assert accuracy(reviewed(*[("ham", "ham", 0.1)] * 500))["needed_for_1_point"] == 0


def test_unequal_weights_need_more_reviews():
    rows = [("ham", "ham", 0.1)] * 90 + [("spam", "ham", 0.3)] * 10
    unequal = reviewed(*[(*row, 1 + 4 * (i % 2)) for i, row in enumerate(rows)])
    assert accuracy(unequal)["needed_for_1_point"] > accuracy(reviewed(*rows))["needed_for_1_point"]


@pytest.mark.parametrize(("hours", "by", "points"), [(0, "hour", 2), (40, "hour", 3), (72, "day", 2)])
def test_over_time_by_the_hour_for_two_days_and_by_the_day_beyond(hours, by, points):
    right, wrong = reviewed(("ham", "ham", 0.1), ("ham", "spam", 0.9))
    later = NOON + dt.timedelta(hours=hours, minutes=30)
    reviews = [right, wrong._replace(created_at=NOON - dt.timedelta(hours=1)), right._replace(created_at=later)]
    figures = accuracy(reviews)
    assert figures["over_time_by"] == by
    assert len(figures["over_time"]) == points
    first = figures["over_time"][0]
    if by == "hour":
        assert (first["start"], first["value"], first["n"]) == ("2026-03-01T11:00:00+00:00", 0.0, 1)
    else:
        assert (first["start"], first["value"], first["n"]) == ("2026-03-01T00:00:00+00:00", 0.5, 2)
    assert (first["low"], first["high"]) == pytest.approx(
        proportion_confint(first["value"] * first["n"], first["n"], method="wilson"), abs=1e-4
    )


def test_equal_weights_ask_for_as_many_further_reviews_as_none():
    outcomes = [(i % 4 > 0, 1.0) for i in range(20)]
    heavier = [(right, 683 / 20) for right, _ in outcomes]
    assert further_reviews(heavier, 0.02) == further_reviews(outcomes, 0.02)

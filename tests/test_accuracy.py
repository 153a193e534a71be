"""Accuracy from reviews, against hand-computed values, scikit-learn and statsmodels."""

import datetime as dt
import json

import numpy as np
import pytest
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from webapp.extras.review.accuracy import ReviewedPrediction, accuracy, further_reviews, sample_size
from webapp.model.evaluation import wilson

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ENDLESS = 1e9  # the weight of messages that were drawn from endlessly many


def reviewed(*rows, weight=ENDLESS):
    """Return reviews written as (truth, verdict, spam probability), or with a weight as the fourth."""
    return [
        ReviewedPrediction(str(i), NOON, row[1], row[2], "v", row[0], row[3] if len(row) > 3 else weight)
        for i, row in enumerate(rows)
    ]


FIVE = reviewed(
    ("spam", "spam", 0.95, 1e6), ("spam", "ham", 0.35, 3e6), ("ham", "ham", 0.05, 1e6), ("ham", "ham", 0.15, 2e6),
    ("ham", "spam", 0.65, 1e6),
)  # fmt: skip


def many(count, seed=0):
    """Return random reviews with unequal weights."""
    random = np.random.default_rng(seed)
    probability = random.beta(0.4, 0.8, count)
    truth = random.random(count) < probability
    weights = random.choice([1e6, 2e6, 5e6], count)
    return reviewed(
        *(
            ("spam" if t else "ham", "spam" if p >= 0.4 else "ham", float(p), float(w))
            for t, p, w in zip(truth, probability, weights, strict=True)
        )
    )


def right_and_wrong(right, wrong, weight=ENDLESS):
    return reviewed(*[("ham", "ham", 0.1)] * right, *[("spam", "ham", 0.3)] * wrong, weight=weight)


# --- Intervals ---


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


def test_the_sample_sizeumber_of_messages():
    ones = np.ones(3)
    assert sample_size(ones, ones * 1e9) == pytest.approx(3)
    assert sample_size(ones, np.array([1, 1, 2]) * 1e9) == pytest.approx(16 / 6)  # Kish: 4^2 / (1 + 1 + 4)
    # 50 of 100 were reviewed: n / (1 - n / N)
    assert sample_size(np.arange(50) > 4, np.full(50, 2.0)) == pytest.approx(100)
    # of 10 with weight 3 half are wrong, of 40 with weight 1 none: the mean is only as sure as those ten
    right, weights = np.r_[np.ones(5), np.zeros(5), np.ones(40)], np.r_[np.full(10, 3.0), np.ones(40)]
    mean = 55 / 70
    by_hand = 70**2 * mean * (1 - mean) / (6 * (5 * (1 - mean) ** 2 + 5 * mean**2))
    assert sample_size(right, weights) == pytest.approx(by_hand)


def test_a_log_that_was_reviewed_whole_is_known_exactly_and_half_of_it_better_than_endlessly_many():
    whole = accuracy(right_and_wrong(90, 10, weight=1))["accuracy"]
    assert (whole["low"], whole["value"], whole["high"]) == (0.9, 0.9, 0.9)
    # 200 of 300: the interval is narrower by sqrt(1 - 200 / 300), which is .577
    some, endless = (accuracy(right_and_wrong(180, 20, weight))["accuracy"] for weight in (1.5, ENDLESS))
    assert (some["high"] - some["low"]) / (endless["high"] - endless["low"]) == pytest.approx(0.577, abs=0.005)


# --- Figures ---


def test_figures_computed_by_hand():
    figures = accuracy(FIVE)  # weights 1, 3, 1, 2, 1; right are the first, third and fourth
    assert figures["reviewed"] == 5
    assert figures["accuracy"]["value"] == 0.5  # (1 + 1 + 2) / 8
    assert figures["recall"]["value"] == 0.25  # 1 / (1 + 3)
    assert figures["false_positive_rate"]["value"] == 0.25  # 1 / (1 + 2 + 1)
    assert figures["precision"]["value"] == 0.5
    assert [figures[name]["n"] for name in ("accuracy", "recall", "false_positive_rate", "precision")] == [5, 2, 3, 2]
    assert figures["confusion_matrix"] == {
        "spam_called_spam": 1,
        "spam_called_ham": 1,
        "ham_called_ham": 2,
        "ham_called_spam": 1,
    }
    # (.05^2 + 3 * .65^2 + .05^2 + 2 * .15^2 + .65^2) / 8
    assert figures["brier"] == pytest.approx((0.0025 + 1.2675 + 0.0025 + 0.045 + 0.4225) / 8, abs=1e-4)


def test_the_same_as_scikit_learn():
    reviews = many(600)
    truth, verdict = (np.array([getattr(r, name) == "spam" for r in reviews]) for name in ("true_label", "label"))
    probability, weights = (np.array([getattr(r, name) for r in reviews]) for name in ("spam_probability", "weight"))
    figures = accuracy(reviews)
    expected = {
        "accuracy": sk.accuracy_score(truth, verdict, sample_weight=weights),
        "recall": sk.recall_score(truth, verdict, sample_weight=weights),
        "false_positive_rate": 1 - sk.recall_score(truth, verdict, sample_weight=weights, pos_label=False),
        "precision": sk.precision_score(truth, verdict, sample_weight=weights),
    }
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value, abs=1e-4)
    assert figures["brier"] == pytest.approx(sk.brier_score_loss(truth, probability, sample_weight=weights), abs=1e-4)


def test_the_reliability_curve_is_scikit_learns():
    reviews = [one._replace(weight=ENDLESS) for one in many(800)]
    curve = [bin_ for bin_ in accuracy(reviews)["reliability"] if bin_["spam"]["n"]]
    spam, mean = calibration_curve(
        [r.true_label == "spam" for r in reviews], [r.spam_probability for r in reviews], n_bins=10
    )
    assert [bin_["spam"]["value"] for bin_ in curve] == pytest.approx(spam, abs=1e-4)
    assert [bin_["mean_probability"] for bin_ in curve] == pytest.approx(mean, abs=1e-4)
    assert sum(bin_["spam"]["n"] for bin_ in curve) == 800


def test_the_curve_has_ten_bins_and_each_end_belongs_to_one():
    curve = accuracy(reviewed(("ham", "ham", 0.0), ("spam", "spam", 1.0)))["reliability"]
    assert [(bin_["lower"], bin_["upper"]) for bin_ in curve] == [(b / 10, (b + 1) / 10) for b in range(10)]
    assert [bin_["spam"]["n"] for bin_ in curve] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert curve[1]["mean_probability"] is None


def test_the_calibration_error_is_left_out_while_it_is_mostly_chance():
    assert accuracy(many(199))["expected_calibration_error"] is None
    figures = accuracy([one._replace(weight=ENDLESS) for one in many(1000)])  # each probability means what it says
    assert figures["expected_calibration_error"] == pytest.approx(figures["calibration_error_by_chance"], abs=0.015)
    assert 0.01 < figures["calibration_error_by_chance"] < 0.04


def test_unsure_ones_are_counted_and_from_2_percent_on_bounded():
    unsure = reviewed(("unsure", "ham", 0.3))
    few = accuracy(right_and_wrong(90, 10) + unsure)
    assert (few["reviewed"], few["unsure"], few["if_unsure"]) == (100, 1, None)
    more = accuracy(right_and_wrong(80, 10) + unsure * 10)
    assert more["accuracy"]["value"] == pytest.approx(80 / 90, abs=1e-4)
    assert more["if_unsure"] == (0.8, 0.9)
    assert accuracy(unsure)["accuracy"]["value"] is None


def test_what_is_not_defined_is_none_and_all_of_it_is_json():
    for reviews in ([], reviewed(("ham", "ham", 0.1)), reviewed(("unsure", "ham", 0.1)), FIVE, many(250)):
        json.dumps(accuracy(reviews), allow_nan=False)
    only_ham = accuracy(reviewed(("ham", "ham", 0.1)))
    assert only_ham["recall"] == {"value": None, "low": None, "high": None, "n": 0}
    assert only_ham["precision"]["value"] is None
    nothing = accuracy([])
    assert nothing["accuracy"]["value"] is nothing["brier"] is nothing["needed_for_1_point"] is None
    assert nothing["over_time"] == []


# --- How many more? ---


def test_further_reviews_bring_the_interval_to_the_promised_width():
    figures = accuracy(right_and_wrong(96, 4))
    further = figures["needed_for_2_points"]
    # planned with the middle of the interval, a little below .96
    assert 300 < further < figures["needed_for_1_point"]
    right = figures["accuracy"]
    low, high = proportion_confint((right["low"] + right["high"]) / 2 * (100 + further), 100 + further, method="wilson")
    assert (high - low) / 2 == pytest.approx(0.02, abs=2e-4)
    assert accuracy(right_and_wrong(500, 0))["needed_for_1_point"] == 0


@pytest.mark.parametrize("weight", [1.0, 1.3, 2.0, 20.0])
def test_never_more_reviews_are_asked_for_than_there_are_messages(weight):
    figures = accuracy(right_and_wrong(180, 50, weight))
    for name in ("needed_for_2_points", "needed_for_1_point"):
        assert 0 <= figures[name] <= 230 * weight - 230


def test_no_number_is_promised_before_twenty_reviews():
    assert accuracy(right_and_wrong(19, 0))["needed_for_2_points"] is None
    assert accuracy(right_and_wrong(20, 0))["needed_for_2_points"] > 0
    assert further_reviews({"value": None, "low": None, "high": None, "n": 0}, 0, 0.02) is None


# --- Over time ---


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

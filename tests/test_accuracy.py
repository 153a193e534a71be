"""Accuracy, at training and from reviews: hand-computed, by scikit-learn and statsmodels, and in simulations."""

import datetime as dt
import json

import numpy as np
import pytest
from pydantic_core import to_json
from scipy.stats import binom
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve
from statsmodels.stats.proportion import proportion_confint

from benchmarks.coverage import EVEN, GOOD_THEN_BAD, HELD_OUT, repeat, week
from webapp.extras.monitor.report import is_worse
from webapp.extras.review import accuracy as figures
from webapp.extras.review.accuracy import ReviewedPrediction, sample_size
from webapp.model.evaluation import Proportion, measure, proportion, wilson

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
ENDLESS = 1e9  # the weight of messages that were drawn from endlessly many


def accuracy(members, messages=0):
    """Return the figures as programs see them."""
    return json.loads(to_json(figures.accuracy(members, messages)), parse_constant=pytest.fail)  # no NaN


def reviewed(*rows, weight=ENDLESS):
    """Return reviews written as (truth, verdict, spam probability), or with a weight as the fourth."""
    return [
        ReviewedPrediction(str(i), NOON, row[1], row[2], "v", row[0], row[3] if len(row) > 3 else weight)
        for i, row in enumerate(rows)
    ]


def many(count, weights=(1e6, 2e6, 5e6)):
    """Return random reviews with unequal weights."""
    random = np.random.default_rng(0)
    return reviewed(
        *(
            ("spam" if random.random() < p else "ham", "spam" if p >= 0.4 else "ham", float(p), random.choice(weights))
            for p in random.beta(0.4, 0.8, count)
        )
    )


def right_and_wrong(right, wrong, weight=ENDLESS):
    return reviewed(*[("ham", "ham", 0.1)] * right, *[("spam", "ham", 0.3)] * wrong, weight=weight)


def test_wilson_is_that_of_statsmodels():
    for successes, n in [(0, 1), (1, 1), (8, 10), (0, 81), (50, 50), (196, 200), (4990, 5000), (12.5, 31.7)]:
        assert wilson(successes, n) == pytest.approx(proportion_confint(successes, n, method="wilson"), abs=1e-12)
    assert str(proportion(28, 54)).startswith("51.9 %")  # 51.852 %, rounded once


def test_how_many_messages_weighted_ones_are_worth():
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
    # a day was reviewed whole, but the figure is about a week, of which that is a tenth
    a_tenth, of_ten = accuracy(right_and_wrong(90, 10, weight=1), 1000), accuracy(right_and_wrong(90, 10, weight=10))
    assert a_tenth["accuracy"] == of_ten["accuracy"]
    unsure = accuracy(right_and_wrong(90, 9, weight=1) + reviewed(("unsure", "ham", 0.1), weight=1))["accuracy"]
    assert unsure["low"] < unsure["value"] < unsure["high"]  # of one it is not known
    # 200 of 300: the interval is narrower by sqrt(1 - 200 / 300), which is .577
    some, endless = (accuracy(right_and_wrong(180, 20, weight))["accuracy"] for weight in (1.5, ENDLESS))
    assert (some["high"] - some["low"]) / (endless["high"] - endless["low"]) == pytest.approx(0.577, abs=0.005)


def test_figures_are_those_of_scikit_learn():
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
    assert {name: figures[name]["value"] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert figures["brier"] == pytest.approx(sk.brier_score_loss(truth, probability, sample_weight=weights), abs=1e-4)
    assert list(figures["confusion_matrix"].values()) == [
        sum(truth & verdict), sum(truth & ~verdict), sum(~truth & ~verdict), sum(~truth & verdict),
    ]  # fmt: skip


def test_the_reliability_curve_is_scikit_learns():
    reviews = many(800, weights=[ENDLESS])
    curve = accuracy(reviews)["reliability"]
    spam, mean = calibration_curve(
        [r.true_label == "spam" for r in reviews], [r.spam_probability for r in reviews], n_bins=10
    )
    assert [bin_["spam"]["value"] for bin_ in curve] == pytest.approx(spam, abs=1e-4)
    assert [bin_["mean_probability"] for bin_ in curve] == pytest.approx(mean, abs=1e-4)
    assert [(bin_["lower"], bin_["upper"]) for bin_ in curve] == [(b / 10, (b + 1) / 10) for b in range(10)]
    ends = accuracy(reviewed(("ham", "ham", 0.0), ("spam", "spam", 1.0)))["reliability"]
    assert [bin_["spam"]["n"] for bin_ in ends] == [1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert ends[1]["mean_probability"] is None


def test_unsure_ones_are_counted_and_from_2_percent_on_bounded():
    unsure = reviewed(("unsure", "ham", 0.3))
    few = accuracy(right_and_wrong(90, 10) + unsure)
    assert (few["reviewed"], few["unsure"], few["if_unsure"]) == (100, 1, None)
    assert accuracy(right_and_wrong(80, 10) + unsure * 10)["if_unsure"] == [0.8, 0.9]


def test_what_is_not_defined_is_none_and_all_of_it_is_json():
    for reviews in ([], reviewed(("ham", "ham", 0.1)), reviewed(("unsure", "ham", 0.1)), many(250)):
        assert accuracy(reviews)
    only_ham = accuracy(reviewed(("ham", "ham", 0.1)))
    assert only_ham["recall"] == {"value": None, "low": None, "high": None, "n": 0}
    assert only_ham["precision"]["value"] is None
    assert accuracy([])["accuracy"]["value"] is accuracy([])["brier"] is None


# --- Simulations: benchmarks/coverage.py has more of them, docs/monitoring.md the figures ---


def covers(share, value):
    return share["low"] <= value <= share["high"]


def test_the_random_sample_tells_the_truth_and_all_reviews_together_do_not():
    """The naive figure is over 200 random reviews and the 200 most uncertain messages."""
    random = np.random.default_rng(4)
    messages, n, repetitions, threshold = 20_000, 200, 200, 0.4
    found = {"honest": [], "naive": []}
    for _ in range(repetitions):
        doubt = random.uniform(0.05, 0.25)  # the greater, the more messages are near the middle
        probability = random.beta(doubt, 3 * doubt, messages)
        truth = random.random(messages) < probability
        right = (truth == (probability >= threshold)).mean()
        at_random = random.choice(messages, n, replace=False)
        uncertain = np.argpartition(np.abs(probability - threshold), n)[:n]
        for name, places in (("honest", at_random), ("naive", np.union1d(at_random, uncertain))):
            is_right = truth[places] == (probability[places] >= threshold)
            share = accuracy(right_and_wrong(is_right.sum(), (~is_right).sum(), messages / n))["accuracy"]
            found[name].append((covers(share, right), share["value"] - right))
    (holds, gap), (naive_holds, naive_gap) = (np.mean(found[name], axis=0) for name in ("honest", "naive"))
    assert 0.92 <= holds <= 0.98
    assert abs(gap) < 0.006
    assert naive_holds < 0.05
    assert naive_gap < -0.1  # the model looks far worse than it is


def test_overlapping_samples_have_no_bias_and_an_interval_that_holds_the_truth():
    """A sample of 400 of a week, then one of 200 of its last two days, where the model is worse: through the log."""
    with week(EVEN, GOOD_THEN_BAD) as (engine, truth):
        found = [repeat(engine, truth, [(0, 7, 400, 1), (5, 7, 200, 1)], seed) for seed in range(30)]
    value = np.mean(list(truth.values()))
    assert abs(np.mean([one["value"] for one in found]) - value) < 0.006  # the plain mean would be 3 points too low
    assert sum(covers(one, value) for one in found) >= 26


def test_where_all_was_reviewed_the_figure_is_exact():
    with week([43] * 7, GOOD_THEN_BAD) as (engine, truth):
        found = repeat(engine, truth, [(5, 7, 20, 1), (0, 7, 301, 1)], 0)
    assert found["low"] == found["value"] == found["high"] == round(np.mean(list(truth.values())), 5)


def test_a_model_that_is_as_good_as_at_training_is_seldom_called_worse():
    """Exactly: each count of right reviews with its probability, against what it was on 3,436 held-out messages."""
    for n, right in [(10, 0.98), (50, 0.98), (200, 0.98), (200, 0.9)]:
        then = round(right * HELD_OUT)
        alarms = sum(binom.pmf(k, n, right) for k in range(n + 1) if is_worse(k, n, then, HELD_OUT))
        assert alarms <= 0.025
        assert is_worse(round(0.7 * n), n, then, HELD_OUT)


def test_figures_computed_by_hand():
    metrics = measure([True] * 4 + [False] * 6, [0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.1, 0.1, 0.0], 0.5)
    assert (metrics.messages, metrics.spam, metrics.ham, metrics.accuracy.value) == (10, 4, 6, 0.8)
    assert metrics.recall.value == metrics.precision.value == 0.75
    assert metrics.false_positive_rate.value == pytest.approx(1 / 6, abs=1e-4)
    # 24 pairs of a spam and a ham: .9 .8 .7 beat all six, .2 beats three
    assert metrics.roc_auc.value == pytest.approx((3 * 6 + 3) / 24)
    assert metrics.brier.value == pytest.approx((0.01 + 0.04 + 0.09 + 0.64 + 0.36 + 0.16 + 0.09 + 0.01 + 0.01) / 10)
    assert list(metrics.confusion_matrix.values()) == [3, 1, 5, 1]


def test_a_proportion_is_told_with_its_interval_and_what_is_not_defined_is_none():
    assert str(proportion(98, 100)) == "98.0 % (95 % interval 93.0 to 99.5 %)"
    assert f"{Proportion()}" == "not known"
    metrics = measure([True, True], [0.9, 0.1], 0.5)
    assert [metrics.false_positive_rate.value, metrics.roc_auc.value, measure([], [], 0.5).accuracy.value] == [None] * 3

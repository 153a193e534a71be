"""Simulations: the interval from random reviews holds the truth; the figure over all reviews does not."""

import datetime as dt

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.coverage import EVEN, GOOD_THEN_BAD, HELD_OUT, repeat, week
from webapp.extras.monitor.report import is_worse
from webapp.extras.review.accuracy import ReviewedPrediction, accuracy

MESSAGES = 20_000
REPETITIONS = 400
REVIEWS = 200  # through each queue
THRESHOLD = 0.4
NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def traffic(random, messages, doubt):
    """Return (is spam, spam probability) of messages; the greater the doubt, the more of them are near the middle."""
    probability = random.beta(doubt, 3 * doubt, messages)
    return random.random(messages) < probability, probability


def right(truth, probability):
    return truth == (probability >= THRESHOLD)


def reviews(truth, probability, places):
    """Return what reviewing the messages at some places gives."""
    words = ("ham", "spam")
    return [
        ReviewedPrediction(
            str(i),
            NOW,
            words[int(probability[i] >= THRESHOLD)],
            float(probability[i]),
            "v",
            words[int(truth[i])],
            MESSAGES / 200,
        )
        for i in places
    ]


def covers(share, value):
    return share["low"] <= value <= share["high"]


def test_the_random_sample_tells_the_truth_and_all_reviews_together_do_not():
    random = np.random.default_rng(4)
    honest, naive, honest_gaps, naive_gaps = 0, 0, [], []
    for _ in range(REPETITIONS):
        truth, probability = traffic(random, MESSAGES, random.uniform(0.05, 0.25))
        true_accuracy = right(truth, probability).mean()
        at_random = random.choice(MESSAGES, REVIEWS, replace=False)
        uncertain = np.argpartition(np.abs(probability - THRESHOLD), REVIEWS)[:REVIEWS]
        everything = np.union1d(at_random, uncertain)
        share = accuracy(reviews(truth, probability, at_random))["accuracy"]
        honest += covers(share, true_accuracy)
        honest_gaps.append(share["value"] - true_accuracy)
        share = accuracy(reviews(truth, probability, everything))["accuracy"]
        naive += covers(share, true_accuracy)
        naive_gaps.append(share["value"] - true_accuracy)
    assert 0.93 <= honest / REPETITIONS <= 0.97
    assert naive / REPETITIONS < 0.05
    assert abs(np.mean(honest_gaps)) < 0.004
    assert np.mean(naive_gaps) < -0.1  # the model looks far worse than it is


def test_overlapping_samples_have_no_bias_and_an_interval_that_holds_the_truth():
    """A sample of 400 of a week, then one of 200 of its last two days, where the model is worse: through the log."""
    with week(EVEN, GOOD_THEN_BAD) as (engine, truth):
        found = [repeat(engine, truth, [(0, 7, 400, 1), (5, 7, 200, 1)], seed) for seed in range(30)]
    value = np.mean(list(truth.values()))
    assert abs(np.mean([one["value"] for one in found]) - value) < 0.004  # the plain mean would be 3 points too low
    assert sum(covers(one, value) for one in found) >= 27


def test_where_all_was_reviewed_the_figure_is_exact():
    with week([43] * 7, GOOD_THEN_BAD) as (engine, truth):
        found = repeat(engine, truth, [(5, 7, 20, 1), (0, 7, 301, 1)], 0)
    assert found["low"] == found["value"] == found["high"] == round(np.mean(list(truth.values())), 4)


@pytest.mark.parametrize(("n", "right"), [(10, 0.98), (50, 0.98), (200, 0.98), (200, 0.9)])
def test_a_model_that_is_as_good_as_at_training_is_seldom_called_worse(n, right):
    """Exactly: each count of right reviews with its probability, against what it was on 3,436 held-out messages."""
    then = round(right * HELD_OUT)
    alarms = sum(binom.pmf(k, n, right) for k in range(n + 1) if is_worse(k, n, then, HELD_OUT))
    assert alarms <= 0.025
    assert is_worse(round(0.7 * n), n, then, HELD_OUT)

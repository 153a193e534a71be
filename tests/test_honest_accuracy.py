"""A simulation: the interval from random reviews holds the truth; the figure over all reviews does not."""

import datetime as dt

import numpy as np

from webapp.extras.review.accuracy import Reviewed, accuracy

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


def reviews(truth, probability, places, weight=1.0):
    """Return what reviewing the messages at some places gives."""
    return [
        Reviewed(bool(truth[i]), bool(probability[i] >= THRESHOLD), float(probability[i]), weight, NOW) for i in places
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


def stratified(random, days):
    """Return the weighted and the unweighted share, and the truth, of days of (messages, doubt, reviewed)."""
    weighted, unweighted, all_right = [], [], []
    for messages, doubt, reviewed in days:
        truth, probability = traffic(random, messages, doubt)
        places = random.choice(messages, reviewed, replace=False)
        weighted += reviews(truth, probability, places, messages / reviewed)
        unweighted += reviews(truth, probability, places)
        all_right += right(truth, probability).tolist()
    return accuracy(weighted)["accuracy"], accuracy(unweighted)["accuracy"], np.mean(all_right)


def coverage(days, seed):
    random = np.random.default_rng(seed)
    runs = [stratified(random, days) for _ in range(REPETITIONS // 2)]
    return tuple(np.mean([covers(run[i], run[2]) for run in runs]) for i in (0, 1))


def test_days_of_different_accuracy_and_rate_count_by_their_messages():
    busy_good, busy_bad = (4_000, 0.02, 100), (4_000, 0.6, 100)
    quiet_good, quiet_bad = (1_000, 0.02, 100), (1_000, 0.6, 100)
    for seed, days in enumerate([(busy_good, quiet_bad), (busy_bad, quiet_good)]):
        weighted, unweighted = coverage(days, seed)
        # Kish's effective n is a rule of thumb: too careful for the first pair, about right for the second.
        assert weighted >= 0.93
        assert unweighted < 0.5


def test_equal_rates_need_no_weights():
    weighted, unweighted = coverage([(2_000, 0.05, 100), (2_000, 0.2, 100)], 2)
    assert weighted == unweighted
    assert weighted >= 0.93

"""The figures, against hand-computed values; tests/test_accuracy.py compares them with scikit-learn's."""

import pytest

from webapp.model.evaluation import Proportion, measure, proportion

TRUTH = [True, True, True, True, False, False, False, False, False, False]
PROBABILITY = [0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.1, 0.1, 0.0]


def test_figures_computed_by_hand():
    metrics = measure(TRUTH, PROBABILITY, 0.5)
    assert (metrics.messages, metrics.spam, metrics.ham) == (10, 4, 6)
    assert metrics.accuracy.value == 0.8
    assert metrics.recall.value == metrics.precision.value == 0.75
    assert metrics.false_positive_rate.value == pytest.approx(1 / 6, abs=1e-4)
    # 24 pairs of a spam and a ham: .9 .8 .7 beat all six, .2 beats three
    assert metrics.roc_auc.value == pytest.approx((3 * 6 + 3) / 24)
    assert metrics.brier.value == pytest.approx((0.01 + 0.04 + 0.09 + 0.64 + 0.36 + 0.16 + 0.09 + 0.01 + 0.01) / 10)
    assert list(metrics.confusion_matrix.values()) == [3, 1, 5, 1]


def test_none_wrong_of_81_is_no_certainty():
    metrics = measure([False] * 81, [0.1] * 81, 0.5)
    assert (metrics.false_positive_rate.value, metrics.false_positive_rate.low) == (0, 0)
    assert metrics.false_positive_rate.high == pytest.approx(0.0453, abs=1e-4)


def test_a_proportion_is_told_with_its_interval():
    assert f"{proportion(98, 100)}" == "0.9800 (95 % interval 0.9300 to 0.9945)"
    assert f"{proportion(98, 100):%}" == "98.0 % (95 % interval 93.0 to 99.5 %)"
    assert f"{Proportion()}" == "not known"


def test_what_is_not_defined_is_none():
    metrics = measure([True, True], [0.9, 0.1], 0.5)
    assert metrics.false_positive_rate.value is None
    assert metrics.roc_auc.value is None
    assert measure([], [], 0.5).accuracy.value is None

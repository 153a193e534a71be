"""The figures, against hand-computed values and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as sk

from webapp.model.evaluation import confusion_matrix, expected_calibration_error, measure

TRUTH = [True, True, True, True, False, False, False, False, False, False]
PROBABILITY = [0.9, 0.8, 0.7, 0.2, 0.6, 0.4, 0.3, 0.1, 0.1, 0.0]


def test_figures_computed_by_hand():
    figures = {name: figure["value"] for name, figure in measure(TRUTH, PROBABILITY, 0.5).items()}
    assert figures["accuracy"] == 0.8
    assert figures["spam_caught"] == 0.75
    assert figures["ham_blocked"] == pytest.approx(1 / 6, abs=1e-4)
    assert figures["mcc"] == pytest.approx((3 * 5 - 1 * 1) / np.sqrt(4 * 4 * 6 * 6), abs=1e-4)
    # 24 pairs of a spam and a ham: .9 .8 .7 beat all six, .2 beats three
    assert figures["roc_auc"] == pytest.approx((3 * 6 + 3) / 24)
    assert figures["brier"] == pytest.approx((0.01 + 0.04 + 0.09 + 0.64 + 0.36 + 0.16 + 0.09 + 0.01 + 0.01) / 10)


def test_the_same_as_scikit_learn():
    random = np.random.default_rng(1)
    truth = random.random(500) < 0.3
    probability = np.clip(truth * 0.4 + random.random(500) * 0.6, 0, 1)
    verdict = probability >= 0.5
    figures = {name: figure["value"] for name, figure in measure(truth, probability, 0.5).items()}
    assert figures["accuracy"] == pytest.approx(sk.accuracy_score(truth, verdict), abs=1e-4)
    assert figures["spam_caught"] == pytest.approx(sk.recall_score(truth, verdict), abs=1e-4)
    assert figures["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, verdict), abs=1e-4)
    assert figures["brier"] == pytest.approx(sk.brier_score_loss(truth, probability), abs=1e-4)


def test_the_interval_covers_the_truth_about_19_times_in_20():
    random = np.random.default_rng(2)
    covered = 0
    for seed in range(100):
        right = random.random(300) < 0.9
        figure = measure(np.ones(300, bool), np.where(right, 0.9, 0.1), 0.5, seed)["spam_caught"]
        covered += figure["low"] <= 0.9 <= figure["high"]
    assert 88 <= covered <= 99


def test_what_is_not_defined_is_none():
    figures = measure([True, True], [0.9, 0.1], 0.5)
    assert figures["ham_blocked"]["value"] is None
    assert figures["roc_auc"]["value"] is None


def test_confusion_matrix():
    assert confusion_matrix(TRUTH, PROBABILITY, 0.5) == {
        "spam_called_spam": 3,
        "spam_called_ham": 1,
        "ham_called_ham": 5,
        "ham_called_spam": 1,
    }


def test_calibration_error():
    assert expected_calibration_error([True, False, False, False], [0.25] * 4) == 0
    assert expected_calibration_error([True, False], [1.0, 0.0]) == 0
    assert expected_calibration_error([True, True], [0.6, 0.6]) == pytest.approx(0.4)

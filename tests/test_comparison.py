"""Two versions on the same labelled messages: what the figures say, and what they do not."""

import numpy as np
import pytest

from webapp.extras.lifecycle.comparison import Duel, compare
from webapp.model.data import Example
from webapp.model.labels import SPAM_OR_HAM


class Stub:
    """A model that knows each message's probability by heart."""

    def __init__(self, probabilities, threshold=0.5):
        self.probabilities, self.threshold, self.labels = probabilities, threshold, SPAM_OR_HAM

    def spam_probabilities(self, texts):
        return [self.probabilities[text] for text in texts]


def test_the_evidence_is_that_of_its_formula():
    assert Duel(0, 0).evidence == pytest.approx(1)
    assert Duel(5, 0).evidence == pytest.approx(2**5 / 6)  # by hand
    assert Duel(3, 1).evidence == pytest.approx(2**4 / (5 * 4))
    assert Duel(0, 5_000).evidence > 1e300  # and no overflow
    share = np.linspace(0, 1, 100_001)  # the same as the mean likelihood over all shares, against 1/2
    assert Duel(24, 6).evidence == pytest.approx(np.mean(share**24 * (1 - share) ** 6) * 2**30, rel=1e-4)


def test_one_is_better_from_evidence_20_on_and_the_sentence_says_which():
    duels = (Duel(7, 0), Duel(8, 0), Duel(0, 8), Duel(23, 7), Duel(24, 6))
    assert [duel.better for duel in duels] == [None, "first", "second", None, "first"]
    assert Duel(0, 0).sentence("the old one", "the new one").startswith("There is no message")
    assert Duel(1, 3).sentence("the old one", "the new one") == (
        "Where just one of the two is right, that is the new one 3 times of 4. That may be chance."
    )
    assert Duel(1, 12).sentence("the old one", "the new one") == (
        "The new one is better: where just one of the two is right, that is the new one 12 times of 13."
    )


def test_each_message_is_counted_once_by_who_is_right():
    first = Stub({"a": 0.9, "b": 0.9, "c": 0.1, "d": 0.1, "e": 0.2})
    second = Stub({"a": 0.8, "b": 0.3, "c": 0.7, "d": 0.2, "e": 0.9})
    found = compare(first, second, [Example(text, text < "e", "") for text in "abcde"])
    assert found.duel == (2, 1)
    assert (found.first_accuracy.n, found.first_accuracy.value, found.second_accuracy.value) == (5, 0.6, 0.4)
    assert found.first_accuracy.low == pytest.approx(0.2307, abs=1e-4)  # Wilson
    assert [example.text for example, *_ in found.differing] == ["e", "b", "c"]  # the furthest apart first
    own = compare(Stub({"a": 0.45}, threshold=0.4), Stub({"a": 0.45}, threshold=0.5), [Example("a", True, "")])
    assert own.duel == (1, 0)  # each has its own threshold
    assert compare(first, second, []).first_accuracy.value is None


def test_of_two_equal_versions_few_are_ever_called_better_however_often_one_looks():
    """A simulation of what docs/lifecycle.md promises: 5 % at most, while one looks after each of 500 reviews."""
    trials, reviews = 2_000, 500
    wins = (np.random.default_rng(1).random((trials, reviews)) < 0.5).cumsum(axis=1)
    told = np.array(
        [[bool(Duel(k, n - k).better) for k in range(n + 1)] + [False] * (reviews - n) for n in range(1, reviews + 1)]
    )
    ever = told[np.arange(reviews), wins].any(axis=1)
    assert 0.005 < ever.mean() <= 0.05
    # And one that is right in three of four messages on which they differ is found within 100 reviews.
    wins = (np.random.default_rng(2).random((500, 100)) < 0.75).cumsum(axis=1)
    assert np.mean([any(Duel(n - k, k).better for n, k in enumerate(trial.tolist(), 1)) for trial in wins]) > 0.95

"""Two versions on the same labelled messages: what the figures say, and what they do not."""

import numpy as np
import pytest
from conftest import make_version

from webapp.extras.lifecycle.comparison import Duel, changed_terms, compare
from webapp.model import artifact
from webapp.model.data import Example


class Stub:
    """A model that knows each message's probability by heart."""

    def __init__(self, probabilities, threshold=0.5, weights=()):
        self.probabilities, self.threshold, self.weights = probabilities, threshold, dict(weights)

    def spam_probabilities(self, texts):
        return [self.probabilities[text] for text in texts]

    def term_weights(self):
        return self.weights


@pytest.fixture(scope="module")
def shipped():
    from webapp.config import ROOT

    return artifact.load(ROOT / "saved_models", (ROOT / "saved_models" / "current").read_text().strip())


def test_the_evidence_is_that_of_its_formula():
    assert Duel(0, 0).evidence == pytest.approx(1)
    assert Duel(5, 0).evidence == pytest.approx(2**5 / 6)  # by hand
    assert Duel(3, 1).evidence == pytest.approx(2**4 / (5 * 4))
    assert Duel(0, 9).evidence == pytest.approx(Duel(9, 0).evidence)
    assert Duel(0, 5_000).evidence > 1e300  # and no overflow
    share = np.linspace(0, 1, 100_001)  # the same as the mean likelihood over all shares, against 1/2
    assert Duel(24, 6).evidence == pytest.approx(np.mean(share**24 * (1 - share) ** 6) * 2**30, rel=1e-4)


def test_seven_to_none_could_be_chance_and_eight_to_none_could_not():
    assert (Duel(7, 0).better, Duel(8, 0).better, Duel(0, 8).better) == (None, "first", "second")
    assert (Duel(23, 7).better, Duel(24, 6).better) == (None, "first")


def test_the_sentence_names_the_better_one_or_says_that_it_may_be_chance():
    assert Duel(0, 0).sentence("the old one", "the new one").startswith("There is no message")
    assert Duel(1, 3).sentence("the old one", "the new one") == (
        "Where just one of the two is right, that is the new one 3 times of 4. That may be chance."
    )
    assert Duel(1, 12).sentence("the old one", "the new one") == (
        "The new one is better: where just one of the two is right, that is the new one 12 times of 13."
    )
    assert "the old one 9 times of 9" in Duel(9, 0).sentence("the old one", "the new one")


def test_each_message_is_counted_once_by_who_is_right():
    first = Stub({"a": 0.9, "b": 0.9, "c": 0.1, "d": 0.1, "e": 0.2})
    second = Stub({"a": 0.8, "b": 0.3, "c": 0.7, "d": 0.2, "e": 0.9})
    found = compare(first, second, [Example(text, text < "e", "") for text in "abcde"])
    assert (found.both_right, found.duel, found.neither_right) == (1, (2, 1), 1)
    assert (found.messages, found.first_accuracy.value, found.second_accuracy.value) == (5, 0.6, 0.4)
    assert found.first_accuracy.low == pytest.approx(0.2307, abs=1e-4)  # Wilson
    assert [one.text for one in found.differing] == ["e", "b", "c"]  # the furthest apart first
    assert found.duel.better is None


def test_each_version_has_its_own_threshold():
    examples = [Example("a", True, "")]
    found = compare(Stub({"a": 0.45}, threshold=0.4), Stub({"a": 0.45}, threshold=0.5), examples)
    assert found.duel == (1, 0)


def test_the_better_one_is_named_only_where_it_is_no_chance():
    texts = [str(i) for i in range(12)]
    right, wrong = Stub(dict.fromkeys(texts, 0.9)), Stub(dict.fromkeys(texts, 0.1))
    assert compare(right, wrong, [Example(text, True, "") for text in texts]).duel.better == "first"
    assert compare(wrong, right, [Example(text, True, "") for text in texts]).duel.better == "second"
    assert compare(wrong, right, [Example(text, True, "") for text in texts[:5]]).duel.better is None


def test_no_messages_are_no_figures():
    found = compare(Stub({}), Stub({}), [])
    assert (found.messages, found.duel.messages, found.first_accuracy.value) == (0, 0, None)


def test_terms_that_changed_most_come_first_and_models_without_weights_have_none():
    first, second = Stub({}, weights={"a": 1, "b": 2, "c": 0.5}), Stub({}, weights={"a": 1, "b": -1, "d": 0.7})
    assert [tuple(one) for one in changed_terms(first, second)] == [("b", 2, -1), ("d", 0, 0.7), ("c", 0.5, 0)]
    assert changed_terms(first, Stub({})) == []


def test_the_weight_of_a_term_is_what_it_adds_to_an_ordinary_message(shipped):
    text = "one two three four five six seven eight nine ten eleven twelve thirteen prize"
    words = f"{text} xqz"  # 15 different words, so the weight is the contribution, up to the pairs
    weights, contributions = shipped.term_weights(), shipped.score(words).contributions
    pairs = sum(weights.get(f"{a} {b}", 0) for a, b in zip(words.split(), words.split()[1:], strict=False))
    single = sum(weights.get(word, contributions[word]) for word in words.split())
    assert sum(contributions.values()) == pytest.approx(single + pairs, abs=1e-9)
    assert not [term for term in weights if term.startswith("~")]


def test_a_version_that_is_surer_of_everything_differs_in_its_terms(models, shipped):
    surer = artifact.load(models, make_version(models, 2))
    terms = changed_terms(shipped, surer)
    assert len(terms) == 20
    assert all(one.second == pytest.approx(2 * one.first) for one in terms)

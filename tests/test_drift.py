"""The drift tests: formulas against hand-computed values and libraries, and what they say of the project's messages."""

import csv
import json

import numpy as np
import pytest
from conftest import HAM, SPAM
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.contingency_tables import Table2x2
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_effectsize
from webapp.extras.monitor.two_samples import classifier, fisher_exact, holm, kolmogorov_smirnov, mann_whitney

from webapp.config import ROOT
from webapp.extras.monitor.drift import DRIFTED, NOT_SEEN, TOO_FEW, Window, changed_terms, drift, from_training, window
from webapp.model.reference import TRAITS, observe, summarise, token_shares

# --- Formulas ----------------------------------------------------------------------------------------------


def test_kolmogorov_smirnov_by_hand():
    # below 3 are half of the first and none of the second: nowhere are they further apart
    found = kolmogorov_smirnov(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6]))
    assert found.statistic == found.effect == 0.5
    assert kolmogorov_smirnov(np.arange(60), np.arange(60)).p_value == 1


def test_kolmogorov_smirnov_is_close_to_the_exact_test():
    random = np.random.default_rng(0)
    for shift in (0, 0.2, 0.4):
        then, now = random.normal(size=500), random.normal(shift, size=150)
        exact = stats.ks_2samp(then, now, method="exact")
        found = kolmogorov_smirnov(then, now)
        assert found.statistic == pytest.approx(exact.statistic)
        assert found.p_value == pytest.approx(exact.pvalue, rel=0.25)


def test_kolmogorov_smirnov_is_conservative_where_values_are_tied():
    random = np.random.default_rng(1)
    p_values = [kolmogorov_smirnov(random.poisson(0.7, 300), random.poisson(0.7, 100)).p_value for _ in range(400)]
    assert np.mean(np.array(p_values) < 0.05) < 0.03


def test_fishers_tea_tasting():
    # Fisher 1935: three of four cups right. One table of 70 is as extreme, 16 are like this one, on either side.
    first, second = np.array([1, 1, 1, 0], dtype=bool), np.array([1, 0, 0, 0], dtype=bool)
    found = fisher_exact(first, second)
    assert found.p_value == pytest.approx(2 * (16 + 1) / 70)
    assert found.statistic == -0.5
    # 2 (arcsin sqrt .75 - arcsin sqrt .25) = 2 (pi / 3 - pi / 6)
    assert found.effect == pytest.approx(np.pi / 3)
    assert found.effect == pytest.approx(abs(proportion_effectsize(0.25, 0.75)))


def test_mann_whitney_by_hand_and_as_scikit_learn_has_it():
    # of the nine pairs the current value wins seven and ties one
    assert mann_whitney(np.array([1, 2, 4]), np.array([2, 5, 6])).statistic == pytest.approx(7.5 / 9)
    random = np.random.default_rng(2)
    then, now = random.normal(size=80).round(1), random.normal(0.5, size=50).round(1)
    found = mann_whitney(then, now)
    assert found.statistic == pytest.approx(roc_auc_score([0] * 80 + [1] * 50, [*then, *now]))
    assert found.p_value == pytest.approx(stats.mannwhitneyu(now, then, alternative="greater").pvalue)


def test_holm_by_hand_and_as_statsmodels_has_it():
    # .005 * 4, .01 * 3, .03 * 2, and .04 * 1 is raised to the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    random = np.random.default_rng(3)
    for size in (1, 2, 5, 20):
        p_values = random.random(size) ** 4
        assert holm(list(p_values)) == pytest.approx(multipletests(p_values, method="holm")[1])
    assert holm([]) == []


def test_the_classifier_finds_what_is_there_and_seldom_what_is_not():
    random = np.random.default_rng(4)
    same = [classifier(random.normal(size=(200, 4)), random.normal(size=(100, 4))).p_value for _ in range(200)]
    assert 0.02 <= np.mean(np.array(same) < 0.05) <= 0.08
    for more in ([1, 0, 0, 0], [0.4, 0.4, 0.4, 0.4]):
        found = classifier(random.normal(size=(500, 4)), random.normal(more, size=(200, 4)))
        assert found.p_value < 0.01
        assert 0.6 < found.effect < 0.95
    then, wider = random.normal(size=(500, 4)), random.normal(scale=2, size=(200, 4))
    assert classifier(then, wider).p_value < 0.01
    assert classifier(then, wider) == classifier(then, wider)  # the seed is fixed


# --- Judging -----------------------------------------------------------------------------------------------


def made(random, count, shift=0.0, spam=0.3):
    """Return a window of made-up traits, moved by so many standard deviations."""
    return Window(random.normal(shift, size=(count, len(TRAITS))), np.arange(count) < spam * count)


def states(found):
    return {test["name"]: test["state"] for test in found["tests"]}


def test_no_drift_and_drift():
    random = np.random.default_rng(6)
    reference = made(random, 1000)
    assert set(states(drift(reference, made(random, 200))).values()) == {NOT_SEEN}
    found = drift(reference, made(random, 200, shift=1, spam=0.6))
    assert found["state"] == DRIFTED
    assert set(states(found).values()) == {DRIFTED}
    by_name = {test["name"]: test for test in found["tests"]}
    assert (by_name["called_spam"]["then"], by_name["called_spam"]["now"]) == (0.3, 0.6)
    assert by_name["length"]["now"] - by_name["length"]["then"] == pytest.approx(1, abs=0.3)


def test_a_trifle_in_many_messages_is_significant_but_no_alarm():
    random = np.random.default_rng(7)
    found = drift(made(random, 20_000), made(random, 20_000, shift=0.08, spam=0.33))
    tests = {test["name"]: test for test in found["tests"]}
    assert all(tests[name]["p_corrected"] < 0.05 for name in ("spam_probability", "length", "called_spam"))
    assert all(tests[name]["state"] == NOT_SEEN for name in ("spam_probability", "length", "called_spam"))


def test_the_bounds_of_what_matters_are_a_fifth_of_a_standard_deviation():
    by_name = {
        test["name"]: test["effect_matters_from"] for test in drift(from_training(None), from_training(None))["tests"]
    }
    assert by_name["length"] == pytest.approx(2 * stats.norm.cdf(0.1) - 1, abs=1e-3)
    assert by_name["all_traits"] == pytest.approx(stats.norm.cdf(0.2 / np.sqrt(2)), abs=1e-3)


def test_with_too_few_messages_it_says_so_and_the_others_are_corrected_for_their_number_alone():
    random = np.random.default_rng(8)
    found = drift(made(random, 1000), made(random, 60, shift=0.5))
    assert states(found)["all_traits"] == TOO_FEW
    tests = [test for test in found["tests"] if test["state"] != TOO_FEW]
    assert [test["p_corrected"] for test in tests] == pytest.approx(holm([test["p_value"] for test in tests]))
    assert len(tests) == 4
    nothing = drift(made(random, 1000), made(random, 49, shift=3))
    assert nothing["state"] == TOO_FEW
    assert all(test["p_value"] is None and test["n_current"] == 49 for test in nothing["tests"])


def test_a_version_without_a_reference_has_too_few_messages():
    assert drift(from_training(None), made(np.random.default_rng(9), 500))["state"] == TOO_FEW


def test_without_stored_texts_only_what_the_model_said_is_compared(model):
    random = np.random.default_rng(10)
    current = window(model, [(None, float(p), bool(p > 0.4)) for p in random.random(200)])
    found = drift(made(random, 1000), current)
    by_name = states(found)
    assert by_name["spam_probability"] == by_name["called_spam"] == DRIFTED
    assert by_name["length"] == by_name["unknown_term_share"] == by_name["all_traits"] == TOO_FEW
    assert changed_terms({"free": 0.1}, 1000, current.tokens) == []


@pytest.mark.parametrize("texts", [["ok"] * 200, [HAM, SPAM] * 100, [".", "\n"] * 100])
def test_messages_that_are_all_alike_give_figures_too(model, texts):
    one = window(model, [(text, model.score(text).spam_probability, False) for text in texts])
    for reference in (one, from_training(summarise([observe(model, text) for text in texts], [False] * len(texts)))):
        found = drift(reference, one)
        assert found["state"] == NOT_SEEN
        json.dumps(found, allow_nan=False)
    json.dumps(changed_terms(token_shares(one.tokens), 200, one.tokens), allow_nan=False)


# --- What changed ------------------------------------------------------------------------------------------


def test_terms_are_ordered_by_the_z_of_their_log_odds():
    then = [{"hello", "a"}] * 300 + [{"hello", "b"}] * 700
    now = [{"hello", "a"}] * 120 + [{"hello", "b"}] * 70 + [{"rare", "prize"}] * 10
    changed = changed_terms(token_shares(then), 1000, now)
    by_name = {term["term"]: term for term in changed}
    table = Table2x2(np.array([[120, 80], [300, 700]]) + 0.5)
    assert by_name["a"]["z"] == pytest.approx(table.log_oddsratio / table.log_oddsratio_se, abs=0.01)
    assert (by_name["a"]["share_then"], by_name["a"]["share_now"]) == (0.3, 0.6)
    assert by_name["a"]["examples"] == [0, 1]
    assert by_name["b"]["z"] < 0
    assert [abs(term["z"]) for term in changed] == sorted((abs(term["z"]) for term in changed), reverse=True)


def test_a_new_term_is_shown_and_a_rare_one_is_not():
    now = [{"hello", "prize"}] * 60 + [{"hello", "once"}] + [{"hello"}] * 139
    changed = changed_terms({"hello": 1.0}, 1000, now)
    assert [(term["term"], term["share_then"]) for term in changed] == [("prize", None)]


def test_chance_alone_changes_no_term():
    random = np.random.default_rng(11)
    words = [f"w{i}" for i in range(500)]
    drawn = [set(random.choice(words, 12)) for _ in range(1200)]
    assert changed_terms(token_shares(drawn[:1000]), 1000, drawn[1000:]) == []


# --- The project's messages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    from webapp.model.registry import ModelRegistry

    return ModelRegistry(ROOT / "saved_models").current()


@pytest.fixture(scope="module")
def messages(model):
    """All of the project's messages, observed, with their texts and labels."""
    with (ROOT / "webapp" / "model" / "messages.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scored = [(row["text"], model.score(row["text"]).spam_probability) for row in rows]
    return rows, window(model, [(text, p, p >= model.threshold) for text, p in scored])


def part(whole, places):
    return Window(whole.traits[places], whole.called_spam[places], [whole.tokens[i] for i in places])


def alarms(whole, draw, repetitions):
    """Return the share of windows that alarm; draw(order) picks a window's places from all places in random order."""
    random = np.random.default_rng(12)
    count = 0
    for _ in range(repetitions):
        order = random.permutation(len(whole.traits))
        chosen = draw(order)
        rest = np.setdiff1d(order, chosen)
        count += drift(part(whole, random.choice(rest, 1000, replace=False)), part(whole, chosen))["state"] == DRIFTED
    return count / repetitions


def test_windows_of_the_same_messages_seldom_alarm(messages):
    assert alarms(messages[1], lambda order: order[:200], 100) <= 0.08


@pytest.mark.parametrize("change", ["more spam", "only short", "only with links", "only of the test part, ham"])
def test_windows_of_other_messages_alarm(messages, change):
    rows, whole = messages
    fits = {
        "more spam": lambda row: row["label"] == "spam",
        "only short": lambda row: len(row["text"]) < 100,
        "only with links": lambda row: "[link]" in whole.tokens[rows.index(row)],
        "only of the test part, ham": lambda row: (row["split"], row["label"]) == ("test", "ham"),
    }[change]
    fitting = np.flatnonzero([fits(row) for row in rows])

    def draw(order):
        those = order[np.isin(order, fitting)][:200]
        return np.union1d(those[:150], order[:60])[:200] if change == "more spam" else those

    assert alarms(whole, draw, 10) == 1


def test_the_terms_that_changed_can_be_looked_at(messages):
    rows, whole = messages
    places = [i for i, row in enumerate(rows) if row["label"] == "spam"][:300]
    others = [i for i, row in enumerate(rows) if row["label"] == "ham"][:1000]
    now = part(whole, places)
    changed = changed_terms(token_shares(part(whole, others).tokens), 1000, now.tokens)
    assert 0 < len(changed) <= 10
    for term in changed:
        assert all(term["term"] in now.tokens[place] for place in term["examples"])

"""The drift tests: formulas against hand-computed values and libraries, and what they say of the project's messages."""

import csv
import datetime as dt
import json

import numpy as np
import pytest
from conftest import HAM, SPAM
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_effectsize, proportions_ztest

from webapp.config import ROOT
from webapp.extras.monitor.change import drop_copies, like_hours
from webapp.extras.monitor.drift import (
    DRIFTED,
    NOT_SEEN,
    TOO_FEW,
    Window,
    changed_terms,
    changes,
    classifier,
    drift,
    fisher_exact,
    holm,
    kolmogorov_smirnov,
)
from webapp.extras.monitor.features import FEATURES, extract
from webapp.log.ids import first_id

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
    """Return a window of made-up features, moved by so many standard deviations."""
    values = random.normal(shift, size=(count, len(FEATURES) + 1))
    return Window(values[:, 1:], values[:, 0], np.arange(count) < spam * count)


def states(tests):
    return {test["name"]: test["state"] for test in tests}


def test_no_drift_and_drift():
    random = np.random.default_rng(6)
    reference = made(random, 1000)
    state, tests = drift(reference, made(random, 200))
    assert (state, set(states(tests).values())) == (NOT_SEEN, {NOT_SEEN})
    state, tests = drift(reference, made(random, 200, shift=1, spam=0.6))
    assert (state, set(states(tests).values())) == (DRIFTED, {DRIFTED})


def test_a_trifle_in_many_messages_is_significant_but_no_alarm():
    random = np.random.default_rng(7)
    _, tests = drift(made(random, 20_000), made(random, 20_000, shift=0.08, spam=0.33))
    for test in tests[:3]:
        assert test["p_corrected"] < 0.05
        assert test["state"] == NOT_SEEN


def test_the_bounds_of_what_matters_are_a_fifth_of_a_standard_deviation():
    nothing = made(np.random.default_rng(0), 0)
    by_name = {test["name"]: test["effect_matters_from"] for test in drift(nothing, nothing)[1]}
    assert by_name["length"] == pytest.approx(2 * stats.norm.cdf(0.1) - 1, abs=1e-3)
    assert by_name["form"] == pytest.approx(stats.norm.cdf(0.2 / np.sqrt(2)), abs=1e-3)


def test_with_too_few_messages_it_says_so_and_the_others_are_corrected_for_their_number_alone():
    random = np.random.default_rng(8)
    _, tests = drift(made(random, 1000), made(random, 60, shift=0.5))
    assert states(tests)["form"] == TOO_FEW
    enough = [test for test in tests if test["state"] != TOO_FEW]
    assert [test["p_corrected"] for test in enough] == pytest.approx(holm([test["p_value"] for test in enough]))
    assert len(enough) == 3
    state, tests = drift(made(random, 1000), made(random, 49, shift=3))
    assert state == TOO_FEW
    assert all(test["p_value"] is None and test["n_current"] == 49 for test in tests)


def test_without_stored_texts_only_what_the_model_said_is_compared():
    random = np.random.default_rng(10)
    probability = random.random(200)
    current = Window(np.full((200, len(FEATURES)), np.nan), probability, probability > 0.4, [None] * 200)
    _, tests = drift(made(random, 1000), current)
    assert states(tests) == {
        "spam_probability": DRIFTED, "length": TOO_FEW, "called_spam": DRIFTED, "form": TOO_FEW,
    }  # fmt: skip
    assert changed_terms(current, current) == []
    json.dumps(changes(made(random, 1000), current), allow_nan=False)


@pytest.mark.parametrize("texts", [["ok"] * 200, [HAM, SPAM] * 100, [".", "\n"] * 100])
def test_messages_that_are_all_alike_give_figures_too(model, texts):
    one = window(model, texts)
    state, tests = drift(one, one)
    assert state == NOT_SEEN
    json.dumps([tests, changes(one, one), changed_terms(one, one)], allow_nan=False)


# --- What is compared --------------------------------------------------------------------------------------


def test_features_are_of_the_text_alone():
    values = dict(zip(FEATURES, extract("Pay £5 NOW: http://a.top\ncall 09061701461").values, strict=True))
    assert values["length"] == 41
    assert values["capitals"] == pytest.approx(4 / 41)
    assert values["digits"] == pytest.approx(12 / 41)
    assert (values["lines"], values["links"], values["phone_numbers"], values["amounts_of_money"]) == (1, 1, 1, 1)


def test_a_long_text_costs_no_more_than_its_beginning():
    start = "meet me at the station " * 50
    assert extract(start + "CALL 0906 NOW" * 500).terms == extract(start).terms
    assert extract(start + "x" * 5000).values[0] == len(start) + 5000


def test_a_campaign_of_one_template_is_one_message():
    texts = [f"Your code is {number}" for number in range(100, 120)] + ["see you at six", "SEE YOU, at six!"]
    kept = drop_copies(texts, lambda text: extract(text).copy_keys)
    assert kept == ["Your code is 100", "see you at six"]


def test_like_hours_are_compared_with_like():
    saturday = dt.datetime(2026, 3, 7, 9, tzinfo=dt.UTC)
    week = [first_id(saturday + dt.timedelta(hours=hours)) for hours in range(168)]
    by_day = [first_id(saturday + dt.timedelta(days=3, minutes=minutes)) for minutes in range(0, 120, 10)]
    assert len(like_hours(week, by_day)) == 2 * 5  # nine and ten o'clock of five weekdays
    assert len(like_hours(week, week[:24])) == 24 + 24  # a whole day of the weekend: both of its days


# --- What changed ------------------------------------------------------------------------------------------


def test_each_change_is_a_sentence_and_a_picture():
    random = np.random.default_rng(5)
    then, now = made(random, 500), made(random, 300)
    then.features[:, 0], now.features[:, 0] = random.normal(68, 5, 500), random.normal(112, 5, 300)
    then.features[:, 6], now.features[:, 6] = random.random(500) < 0.04, random.random(300) < 0.31
    told = changes(then._replace(features=abs(then.features)), now._replace(features=abs(now.features)))
    assert "Messages are longer: median 68 → 11" in told[0]["sentence"]
    assert any("More messages hold links: " in one["sentence"] for one in told)
    for one in told:
        assert sum(share for share, _ in one["bins"]) == pytest.approx(1, abs=0.01)
        assert sum(share for _, share in one["bins"]) == pytest.approx(1, abs=0.01)


def holding(*term_sets):
    """Return a window of messages that hold these terms."""
    terms = [frozenset(terms) for terms in term_sets]
    nothing = np.zeros(len(terms))
    return Window(np.zeros((len(terms), len(FEATURES))), nothing, nothing > 0, terms)


def test_terms_are_ordered_by_the_z_of_their_share():
    then = holding(*[{"hello", "alpha"}] * 300, *[{"hello", "beta"}] * 700)
    now = holding(*[{"hello", "alpha"}] * 120, *[{"hello", "beta"}] * 70, *[{"rare", "prize"}] * 10)
    changed = changed_terms(then, now)
    by_name = {term["term"]: term for term in changed}
    assert by_name["alpha"]["z"] == pytest.approx(proportions_ztest([120, 300], [200, 1000])[0], abs=0.01)
    assert (by_name["alpha"]["share_then"], by_name["alpha"]["share_now"]) == (0.3, 0.6)
    assert by_name["alpha"]["examples"] == [0, 1]
    assert by_name["beta"]["z"] < 0
    assert [abs(term["z"]) for term in changed] == sorted((abs(term["z"]) for term in changed), reverse=True)


def test_a_new_term_is_shown_and_a_rare_one_or_a_sign_is_not():
    now = holding(*[{"hello", "prize", "?"}] * 60, {"hello", "rarely"}, *[{"hello"}] * 139)
    assert [term["term"] for term in changed_terms(holding(*[{"hello"}] * 1000), now)] == ["prize"]


def test_chance_alone_changes_no_term():
    random = np.random.default_rng(11)
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(500)]
    drawn = [set(random.choice(words, 12)) for _ in range(1200)]
    assert changed_terms(holding(*drawn[:1000]), holding(*drawn[1000:])) == []


# --- The project's messages --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model():
    from webapp.model.registry import ModelRegistry

    return ModelRegistry(ROOT / "saved_models").current()


def window(model, texts):
    found, probability = [extract(text) for text in texts], np.array(model.spam_probabilities(texts))
    features = np.array([one.values for one in found], dtype=float)
    return Window(features, probability, probability >= model.threshold, [one.terms for one in found])


@pytest.fixture(scope="module")
def messages(model):
    """A third of the project's messages as rows and as a window."""
    with (ROOT / "webapp" / "model" / "messages.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::3]
    return rows, window(model, [row["text"] for row in rows])


def part(whole, places):
    terms = [whole.terms[place] for place in places]
    return Window(whole.features[places], whole.spam_probability[places], whole.called_spam[places], terms)


def alarms(whole, draw, repetitions):
    """Return the share of windows that alarm; draw(order) picks a window's places from all places in random order."""
    random = np.random.default_rng(12)
    count = 0
    for _ in range(repetitions):
        order = random.permutation(len(whole.features))
        chosen = draw(order)
        rest = random.choice(np.setdiff1d(order, chosen), 1000, replace=False)
        count += drift(part(whole, rest), part(whole, chosen))[0] == DRIFTED
    return count / repetitions


def test_windows_of_the_same_messages_seldom_alarm(messages):
    assert alarms(messages[1], lambda order: order[:200], 100) <= 0.08


def test_bursts_of_copies_seldom_alarm(messages):
    """10 % of the messages come in bursts of 20 of one template; without dropping copies a third of windows alarm."""
    _, whole = messages
    random = np.random.default_rng(13)

    def stream(length):
        heads = random.choice(len(whole.features), length)
        return np.repeat(heads, np.where(random.random(length) < 0.1 / 20 / (0.1 / 20 + 0.9), 20, 1))[:length]

    found = [
        drift(*(part(whole, np.unique(places)) for places in (random.permutation(stream(4000))[:1000], stream(200))))[0]
        for _ in range(60)
    ]
    assert found.count(DRIFTED) <= 6  # 8 % would be five


@pytest.mark.parametrize("change", ["more spam", "only short", "only with links"])
def test_windows_of_other_messages_alarm(messages, change):
    rows, whole = messages
    fits = {
        "more spam": [row["label"] == "spam" for row in rows],
        "only short": [len(row["text"]) < 100 for row in rows],
        "only with links": ["[link]" in terms for terms in whole.terms],
    }[change]
    fitting = np.flatnonzero(fits)

    def draw(order):
        those = order[np.isin(order, fitting)][:200]
        return np.union1d(those[:150], order[:60])[:200] if change == "more spam" else those

    assert alarms(whole, draw, 10) == 1


def test_the_terms_that_changed_can_be_looked_at(messages):
    rows, whole = messages
    spam, ham = ([i for i, row in enumerate(rows) if row["label"] == label] for label in ("spam", "ham"))
    now = part(whole, spam[:300])
    changed = changed_terms(part(whole, ham[:1000]), now)
    assert 0 < len(changed) <= 10
    for term in changed:
        assert all(term["term"] in now.terms[place] for place in term["examples"])

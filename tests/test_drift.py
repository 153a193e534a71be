"""The drift tests: formulas against hand-computed values and libraries, and what they say of the project's messages."""

import csv
import datetime as dt
import json

import numpy as np
import pytest
from conftest import HAM, SPAM
from scipy import stats
from statsmodels.stats.proportion import proportion_effectsize, proportions_ztest

from webapp.config import ROOT
from webapp.extras.monitor.change import drop_copies, like_hours
from webapp.extras.monitor.drift import (
    DRIFTED,
    FEATURES,
    NOT_SEEN,
    TOO_FEW,
    Window,
    changed_terms,
    changes,
    classifier,
    drift,
    extract,
    fisher_exact,
    kolmogorov_smirnov,
)
from webapp.log.tables import first_id
from webapp.model.registry import ModelRegistry

# --- Formulas ---


def test_kolmogorov_smirnov():
    # below 3 are half of the first and none of the second: nowhere are they further apart
    assert kolmogorov_smirnov(np.array([1, 2, 3, 4]), np.array([3, 4, 5, 6]))[1] == 0.5
    random = np.random.default_rng(0)
    for shift in (0, 0.2, 0.4):
        then, now = random.normal(size=500), random.normal(shift, size=150)
        exact = stats.ks_2samp(then, now, method="exact")
        assert kolmogorov_smirnov(then, now) == pytest.approx((exact.pvalue, exact.statistic), rel=0.25)
    tied = [kolmogorov_smirnov(random.poisson(0.7, 300), random.poisson(0.7, 100))[0] for _ in range(400)]
    assert np.mean(np.array(tied) < 0.05) < 0.03  # conservative


def test_fishers_tea_tasting():
    # Fisher 1935: three of four cups right. One table of 70 is as extreme, 16 are like this one, on either side.
    p_value, h = fisher_exact(np.array([1, 1, 1, 0], dtype=bool), np.array([1, 0, 0, 0], dtype=bool))
    assert p_value == pytest.approx(2 * (16 + 1) / 70)
    assert h == pytest.approx(np.pi / 3)  # 2 (arcsin sqrt .75 - arcsin sqrt .25)
    assert h == pytest.approx(abs(proportion_effectsize(0.25, 0.75)))


def test_the_classifier_finds_what_is_there_and_seldom_what_is_not():
    random = np.random.default_rng(4)
    same = [classifier(random.normal(size=(200, 4)), random.normal(size=(100, 4)))[0] for _ in range(100)]
    assert np.mean(np.array(same) < 0.05) <= 0.1
    for more in ([1, 0, 0, 0], [0.4, 0.4, 0.4, 0.4]):
        p_value, auc = classifier(random.normal(size=(500, 4)), random.normal(more, size=(200, 4)))
        assert p_value < 0.01
        assert 0.6 < auc < 0.95
    then, wider = random.normal(size=(500, 4)), random.normal(scale=2, size=(200, 4))
    assert classifier(then, wider)[0] < 0.01
    assert classifier(then, wider) == classifier(then, wider)  # the seed is fixed


# --- Judging ---


def made(random, count, shift=0.0, spam=0.3):
    """Return a window of made-up features, moved by so many standard deviations."""
    values = random.normal(shift, size=(count, len(FEATURES) + 1))
    return Window(values[:, 1:], values[:, 0], np.arange(count) < spam * count)


def states(tests):
    return {test["name"]: test["state"] for test in tests}


def test_drift_no_drift_and_too_few_messages():
    random = np.random.default_rng(6)
    reference = made(random, 1000)
    state, tests = drift(reference, made(random, 200))
    assert (state, set(states(tests).values())) == (NOT_SEEN, {NOT_SEEN})
    state, tests = drift(reference, made(random, 200, shift=1, spam=0.6))
    assert (state, set(states(tests).values())) == (DRIFTED, {DRIFTED})
    state, tests = drift(reference, made(random, 60, shift=0.5))
    assert states(tests)["form"] == TOO_FEW
    assert state == DRIFTED
    state, tests = drift(reference, made(random, 49, shift=3))
    assert state == TOO_FEW
    assert all(test["p_corrected"] is None and test["n_current"] == 49 for test in tests)


def test_a_trifle_in_many_messages_is_significant_but_no_alarm():
    random = np.random.default_rng(7)
    _, tests = drift(made(random, 20_000), made(random, 20_000, shift=0.08, spam=0.33))
    for test in tests[:3]:
        assert test["p_corrected"] < 0.05
        assert test["state"] == NOT_SEEN
    matters = {test["name"]: test["effect_matters_from"] for test in tests}  # a fifth of a standard deviation
    assert matters["length"] == pytest.approx(2 * stats.norm.cdf(0.1) - 1, abs=1e-3)
    assert matters["form"] == pytest.approx(stats.norm.cdf(0.2 / np.sqrt(2)), abs=1e-3)


def test_without_stored_texts_only_what_the_model_said_is_compared():
    random = np.random.default_rng(10)
    probability = random.random(200)
    current = Window(np.full((200, len(FEATURES)), np.nan), probability, probability > 0.4, [None] * 200)
    _, tests = drift(made(random, 1000), current)
    assert list(states(tests).values()) == [DRIFTED, TOO_FEW, DRIFTED, TOO_FEW]
    assert changed_terms(current, current) == []
    json.dumps(changes(made(random, 1000), current), allow_nan=False)


# --- What is compared ---


def test_features_are_of_the_text_alone_and_a_long_one_costs_no_more_than_its_beginning():
    values = extract("Pay £5 NOW: http://a.top\ncall 09061701461").values
    assert values == pytest.approx((41, 12 / 41, 4 / 41, 6 / 41, 1 / 41, 1, 1, 1, 1))
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


# --- What changed ---


def test_each_change_is_a_sentence_and_a_picture():
    random = np.random.default_rng(5)
    then, now = made(random, 500), made(random, 300)
    then.features[:, 0], now.features[:, 0] = random.normal(68, 5, 500), random.normal(112, 5, 300)
    then.features[:, 6], now.features[:, 6] = random.random(500) < 0.04, random.random(300) < 0.31
    told = changes(then._replace(features=abs(then.features)), now._replace(features=abs(now.features)))
    assert told[0]["sentence"].startswith("Median length: 68 → 11")
    assert any(one["sentence"].startswith("With links: ") for one in told)
    for one in told:
        for side in zip(*one["bins"], strict=True):
            assert sum(side) == pytest.approx(1, abs=0.01)


def holding(*term_sets):
    """Return a window of messages that hold these terms."""
    nothing = np.zeros(len(term_sets))
    terms = [frozenset(terms) for terms in term_sets]
    return Window(np.zeros((len(terms), len(FEATURES))), nothing, nothing > 0, terms)


def test_terms_are_ordered_by_the_z_of_their_share_and_rare_ones_and_signs_are_left_out():
    then = holding(*[{"hello", "alpha"}] * 300, *[{"hello", "beta"}] * 700)
    new = [{"hello", "rarely"}, *[{"hello", "prize", "?"}] * 10]
    now = holding(*new, *[{"hello", "alpha"}] * 119, *[{"hello", "beta"}] * 70)
    changed = changed_terms(then, now)
    assert [term["term"] for term in changed] == ["beta", "alpha", "prize"]
    assert changed[1]["z"] == pytest.approx(proportions_ztest([119, 300], [200, 1000])[0], abs=0.01)
    assert (changed[1]["share_then"], changed[1]["share_now"], changed[1]["example"]) == (0.3, 0.595, 11)
    random = np.random.default_rng(11)
    words = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(500)]
    drawn = [set(random.choice(words, 12)) for _ in range(1200)]
    assert changed_terms(holding(*drawn[:1000]), holding(*drawn[1000:])) == []  # by chance alone


# --- The project's messages ---


@pytest.fixture(scope="module")
def model():
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


def test_windows_of_the_same_messages_seldom_alarm_and_those_of_others_do(messages):
    rows, whole = messages
    assert alarms(whole, lambda order: order[:200], 100) <= 0.08
    for fits in (
        [row["label"] == "spam" for row in rows],
        [len(row["text"]) < 100 for row in rows],
        ["[link]" in terms for terms in whole.terms],
    ):
        fitting = np.flatnonzero(fits)
        assert alarms(whole, lambda order, fitting=fitting: order[np.isin(order, fitting)][:200], 10) == 1


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


def test_messages_that_are_all_alike_give_figures_too(model):
    for texts in (["ok"] * 200, [HAM, SPAM] * 100, [".", "\n"] * 100):
        one = window(model, texts)
        state, tests = drift(one, one)
        assert state == NOT_SEEN
        json.dumps([tests, changes(one, one), changed_terms(one, one)], allow_nan=False)

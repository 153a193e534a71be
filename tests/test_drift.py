"""The drift tests: formulas against hand-computed values and libraries, and what they say of the project's messages."""

import datetime as dt
import json

import numpy as np
import pytest
from conftest import HAM, SPAM
from scipy import stats
from statsmodels.multivariate.manova import MANOVA
from statsmodels.stats.proportion import proportions_ztest

from webapp.extras.monitor.drift import (
    DRIFTED,
    FEATURES,
    NOT_SEEN,
    TOO_FEW,
    changed_terms,
    changes,
    drift,
    drop_copies,
    extract,
    like_hours,
    rank_test,
)
from webapp.log.tables import first_id


def test_the_rank_test_is_wilcoxons_and_of_many_features_pillais():
    random = np.random.default_rng(0)
    then, now = random.normal(size=(500, 3)), random.normal(0.2, size=(150, 3))
    p_value, effect = rank_test(then[:, :1], now[:, :1])
    assert p_value == pytest.approx(stats.mannwhitneyu(then[:, 0], now[:, 0], use_continuity=False).pvalue, rel=0.01)
    # by hand: 1, 2 | 3, 4 have mean ranks two apart, of which the standard deviation is sqrt 1.25; chance adds 1
    assert rank_test(np.array([[1], [2]]), np.array([[3], [4]]))[1] == pytest.approx((4 / 1.25 - 1) ** 0.5)
    assert 0.05 < effect < 0.4  # Cohen's d, .2
    ranks = stats.rankdata(np.vstack([then, now]), axis=0)
    pillai = MANOVA(ranks, np.column_stack([np.ones(650), np.arange(650) >= 500])).mv_test().results["x1"]["stat"]
    assert rank_test(then, now)[0] == pytest.approx(pillai.loc["Pillai's trace", "Pr > F"], rel=0.02)


def test_the_distance_is_in_standard_deviations():
    random = np.random.default_rng(4)
    for more in ([1, 0, 0, 0], [0.4, 0.4, 0.4, 0.4]):
        p_value, effect = rank_test(random.normal(size=(500, 4)), random.normal(more, size=(200, 4)))
        assert p_value < 0.01
        assert effect == pytest.approx(np.linalg.norm(more), rel=0.25)
    twice = np.repeat(random.normal(size=(500, 1)), 2, axis=1)
    assert rank_test(twice[:300], twice[300:]) == pytest.approx(rank_test(twice[:300, :1], twice[300:, :1]))


def made(random, count, shift=0.0):
    """Return made-up features, moved by so many standard deviations."""
    return random.normal(shift, size=(count, len(FEATURES)))


def test_drift_no_drift_and_too_few_messages():
    random = np.random.default_rng(6)
    reference = made(random, 1000)
    assert drift(reference, made(random, 200))["state"] == NOT_SEEN
    assert drift(reference, made(random, 200, shift=0.3))["state"] == DRIFTED
    assert drift(reference, made(random, 50, shift=1))["state"] == DRIFTED
    few = drift(reference, made(random, 49, shift=3))
    assert (few["state"], few["p_corrected"], few["effect"], few["n_current"]) == (TOO_FEW, None, None, 49)
    trifle = drift(made(random, 20_000), made(random, 20_000, shift=0.04))  # significant, but no alarm
    assert trifle["p_corrected"] < 0.001
    assert trifle["effect"] == pytest.approx(0.04 * len(FEATURES) ** 0.5, abs=0.02)
    assert trifle["state"] == NOT_SEEN


def test_features_are_of_the_text_alone():
    values = extract("Pay £5 NOW: http://a.top\ncall 09061701461").values
    assert values == pytest.approx((41, 12 / 41, 4 / 41, 6 / 41, 1 / 41, 1, 1, 1, 1))
    start = "meet me at the station " * 50
    assert extract(start + "CALL 0906 NOW" * 500).terms == extract(start).terms
    assert extract(start + "x" * 5000).values[0] == len(start) + 5000


def test_a_campaign_of_one_template_is_one_message():
    template = "Hi {}, your parcel is waiting at the depot, pay the fee of £2 today: http://post.{}.top/pay"
    texts = [template.format(name, name) for name in ["anna", "ben", "carl", "dora", "emil", "fred", "gina", "hans"]]
    texts += ["see you at six", "SEE YOU, at six!", "see you at the depot today"]
    terms = [extract(text).terms for text in texts]
    assert drop_copies(terms, 100) == [0, 8, 10]
    assert drop_copies(terms, 4) == [0, 4, 8, 10]  # of each four
    assert drop_copies([{"a hash"}] * 3, 3) == [0]


def test_like_hours_are_compared_with_like():
    saturday = dt.datetime(2026, 3, 7, 9, tzinfo=dt.UTC)
    week = [first_id(saturday + dt.timedelta(hours=hours)) for hours in range(168)]
    by_day = [first_id(saturday + dt.timedelta(days=3, minutes=minutes)) for minutes in range(0, 120, 10)]
    assert len(like_hours(week, by_day)) == 2 * 5  # nine and ten o'clock of five weekdays
    assert len(like_hours(week, week[:24])) == 24 + 24  # a whole day of the weekend: both of its days


def test_each_change_is_a_sentence_and_a_picture():
    random = np.random.default_rng(5)
    then, now = made(random, 500), made(random, 300)
    then[:, 2], now[:, 2] = random.normal(68, 1, 500).round(), random.normal(112, 1, 300).round()
    then[:, 6], now[:, 6] = 0, (random.random(300) < 0.05) / 400  # a letter of 400 in one message of twenty
    then[:, 8], now[:, 8] = 3 * (random.random(500) < 0.04), 3 * (random.random(300) < 0.31)  # links in each message
    told = changes(abs(then), abs(now))
    assert [one["sentence"] for one in told] == [
        "Median length: 68 → 112 characters",
        "With links: 3.80 → 31 % of the messages",
        "Letters and signs beyond plain English: 0 → 0.013 % of the characters",
    ]
    for one in told:
        for side in zip(*one["bins"], strict=True):
            assert sum(side) == pytest.approx(1, abs=0.01)


def test_terms_are_ordered_by_the_z_of_their_share():
    then = ["hello alpha"] * 300 + ["hello beta"] * 700
    now = ["hello rarely"] + ["hello prize?"] * 10 + ["alpha, the hello of ur"] * 119 + ["hello beta"] * 70
    changed = changed_terms(then, now)
    assert [term["term"] for term in changed] == ["beta", "alpha", "prize"]
    alpha = changed[1]
    assert alpha["z"] == pytest.approx(proportions_ztest([119, 300], [200, 1000])[0], abs=0.01)
    assert (alpha["share_then"], alpha["share_now"], alpha["example"]) == (0.3, 0.595, "alpha, the hello of ur")
    assert changed_terms([], []) == []


def test_rare_words_are_no_change():
    random = np.random.default_rng(12)
    words = np.array(["".join(chr(97 + int(digit)) for digit in f"{i:05d}") for i in range(5000)])
    shares = 1 / np.arange(1, 5001)  # as in languages (Zipf 1935)
    shown = 0
    for _ in range(8):
        texts = list(map(" ".join, random.choice(words, (450, 12), p=shares / shares.sum())))
        shown += bool(changed_terms(texts[:400], texts[400:]))
    assert shown <= 2  # in 5 % of such windows


def features(model, texts):
    probability = np.array(model.spam_probabilities(texts))
    return np.column_stack([probability, probability >= model.threshold, [extract(text).values for text in texts]])


@pytest.fixture(scope="module")
def messages(model, project_messages):
    """A third of the project's messages as rows and their features."""
    rows = project_messages[::3]
    return rows, features(model, [row["text"] for row in rows])


def alarms(whole, draw, repetitions):
    """Return the share of windows that alarm; draw(order) picks a window's places from all places in random order."""
    random = np.random.default_rng(12)
    count = 0
    for _ in range(repetitions):
        order = random.permutation(len(whole))
        chosen = draw(order)
        rest = random.choice(np.setdiff1d(order, chosen), 1000, replace=False)
        count += drift(whole[rest], whole[chosen])["state"] == DRIFTED
    return count / repetitions


def test_the_same_messages_seldom_alarm_and_others_do(messages):
    rows, whole = messages
    assert alarms(whole, lambda order: order[:200], 100) <= 0.08
    for fits in (
        [row["label"] == "spam" for row in rows],
        [len(row["text"]) < 100 for row in rows],
        ["[link]" in extract(row["text"]).terms for row in rows],
    ):
        fitting = np.flatnonzero(fits)
        assert alarms(whole, lambda order, fitting=fitting: order[np.isin(order, fitting)][:200], 10) == 1


def test_bursts_of_copies_seldom_alarm(messages):
    """10 % of the messages come in bursts of 20 of one template; without dropping copies a third of windows alarm."""
    rows, whole = messages
    random = np.random.default_rng(13)
    terms = [extract(row["text"]).terms or {row["text"]} for row in rows]

    def stream(length):
        heads = random.choice(len(whole), length)
        return np.repeat(heads, np.where(random.random(length) < 0.1 / 20 / (0.1 / 20 + 0.9), 20, 1))[:length]

    def features_of(places):
        return whole[places[drop_copies([terms[place] for place in places], 200)]]

    found = [drift(features_of(stream(1000)), features_of(stream(200)))["state"] for _ in range(40)]
    assert found.count(DRIFTED) <= 5  # 8 % would be three


def test_messages_that_are_all_alike_give_figures_too(model):
    for texts in (["ok"] * 200, [HAM, SPAM] * 100, [".", "\n"] * 100):
        one = features(model, texts)
        test = drift(one, one)
        assert test["state"] == NOT_SEEN
        json.dumps([test, changes(one, one), changed_terms(texts, texts)], allow_nan=False)

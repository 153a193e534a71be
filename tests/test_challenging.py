"""A challenger's record on live traffic: who is right where they differ, and how many reviews would tell."""

import datetime as dt
from math import comb

import numpy as np
import pytest
from scipy.stats import binomtest

from webapp.extras.lifecycle.challenging import MOST, discordant_needed, record, reviews_needed
from webapp.extras.lifecycle.comparison import mcnemar
from webapp.extras.review.queues import claim_first, upcoming, waiting
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.log.ids import new_id
from webapp.log.tables import Row
from webapp.log.writer import LogWriter

CURRENT, CHALLENGER = "20260101-000000-aaaaaaa", "20260102-000000-bbbbbbb"
on_both = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def log(engine):
    """Log predictions: log("spam", "ham", 3) are three that the current version calls spam, the challenger ham."""

    def add(label, challenger_label, count=1, current=CURRENT, challenger=CHALLENGER):
        rows = [
            Row(
                id=new_id(),
                created_at=dt.datetime.now(dt.UTC),
                source="api",
                text="hello",
                text_hash=None,
                label=label,
                spam_probability=0.7 if label == "spam" else 0.2,
                threshold=0.5,
                model_version=current,
                explanation=[],
                latency_ms=1.0,
                request_id=None,
                sender_report=None,
                challenger_version=challenger_label and challenger,
                challenger_label=challenger_label,
                challenger_probability=challenger_label and 0.5,
            )
            for _ in range(count)
        ]
        LogWriter(engine).add_predictions(rows)
        return [row["id"] for row in rows]

    return add


def review(engine, ids, true_label, queue="challenger"):
    for id_ in ids:
        give_review(engine, id_, "ann", true_label, queue)


@on_both
def test_a_version_that_was_never_tried_has_an_empty_record(engine, log):
    log("spam", None, 3)
    found = record(engine, CHALLENGER)
    assert (found.current, found.scored, found.reviewed, found.p_value) == (None, 0, 0, 1)
    assert "has not scored a message yet" in found.sentence


@on_both
def test_who_is_right_is_told_by_the_messages_on_which_they_differ(engine, log):
    log("ham", "ham", 80)
    log("spam", None, 5)
    better, worse = log("spam", "ham", 9), log("ham", "spam", 3)
    found = record(engine, CHALLENGER)
    assert (found.current, found.scored, found.differing, found.reviewed) == (CURRENT, 92, 12, 0)
    assert found.differing_share["low"] < 12 / 92 < found.differing_share["high"]
    assert "differ on 12 of the 92 messages" in found.sentence
    assert f"about {found.reviews_needed} reviews" in found.sentence
    review(engine, better, "ham")
    found = record(engine, CHALLENGER)
    assert (found.reviewed, found.only_current_right, found.only_challenger_right) == (9, 0, 9)
    assert found.reviews_needed is None
    assert found.p_value == pytest.approx(2 / 2**9)
    assert "challenger is better: where they differ, it was right 9 times of 9" in found.sentence
    review(engine, worse, "ham")
    found = record(engine, CHALLENGER)
    assert (found.only_current_right, found.only_challenger_right) == (3, 9)
    assert found.p_value > 0.05
    assert "the challenger was right on 9. That may be chance" in found.sentence
    assert found.challenger_right_share["n"] == 12


@on_both
def test_unsure_disputed_reported_and_uncertain_reviews_do_not_count(engine, log):
    ids = log("spam", "ham", 6)
    review(engine, ids[:1], "unsure")
    review(engine, ids[1:2], "spam")
    give_review(engine, ids[1], "ben", "ham", "challenger")  # now nobody knows
    review(engine, ids[2:3], "ham", "reported")
    review(engine, ids[3:4], "spam", "uncertain")
    review(engine, ids[4:5], "ham", "random")
    found = record(engine, CHALLENGER)
    assert (found.only_current_right, found.only_challenger_right) == (0, 1)


@on_both
def test_a_trial_beside_another_version_is_another_trial(engine, log):
    review(engine, log("spam", "ham", 4), "ham")
    review(engine, log("spam", "ham", 4, challenger="20260103-000000-ccccccc"), "ham")
    review(engine, log("ham", "spam", 2, current="20260104-000000-ddddddd"), "ham")
    found = record(engine, CHALLENGER)
    assert (found.current, found.scored) == ("20260104-000000-ddddddd", 2)
    assert (found.only_current_right, found.only_challenger_right) == (2, 0)


@on_both
def test_how_often_each_is_right_overall_comes_from_the_random_sample_alone(engine, log):
    log("ham", "ham", 30)
    review(engine, log("spam", "ham", 10), "ham")  # not of the sample, so not of the figure
    now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    draw(engine, now - dt.timedelta(days=1), now, 20, seed=1)
    rows = upcoming(engine, "random", "ann", limit=20)
    review(engine, [row["id"] for row in rows], "ham", "random")
    found = record(engine, CHALLENGER)
    reached = found.sampled
    assert len(rows) <= reached <= 20  # members at its end that were reviewed otherwise need not be reached
    assert found.challenger_accuracy["value"] == 1
    assert found.current_accuracy["n"] == reached
    assert found.only_challenger_right == 10


@on_both
def test_the_queue_offers_what_they_differ_on_newest_first_until_it_is_reviewed(engine, log):
    log("ham", "ham", 3)
    ids = log("spam", "ham", 3) + log("ham", "spam", 2)
    assert [row["id"] for row in upcoming(engine, "challenger", "ann")] == ids[::-1]
    assert waiting(engine, "ann")["challenger"] == 5
    assert claim_first(engine, "challenger", "ann", ids[::-1]) == ids[-1]
    assert [row["id"] for row in upcoming(engine, "challenger", "ben")] == ids[-2::-1]
    review(engine, ids[-1:], "ham")
    review(engine, ids[:1], "ham", "random")
    assert [row["id"] for row in upcoming(engine, "challenger", "ben")] == ids[-2:0:-1]
    assert waiting(engine, "ann")["challenger"] == 3


def power(right, n):
    """Return how likely p < .05 is after n reviews, added up by hand."""
    telling = [k for k in range(n + 1) if binomtest(k, n).pvalue < 0.05]
    return sum(comb(n, k) * right**k * (1 - right) ** (n - k) for k in telling)


@pytest.mark.parametrize("right", [0.6, 2 / 3, 0.8, 0.9, 0.2, 1.0])
def test_the_planned_number_is_the_first_that_tells_in_80_percent_of_cases(right):
    n = discordant_needed(right)
    assert power(right, n) >= 0.8 > max(power(right, fewer) for fewer in range(max(n - 8, 1), n))


def test_the_planned_number_is_near_that_of_the_known_formula():
    for right in (0.55, 0.6, 0.7):  # Connor 1987, for the chi-squared test, which is a little less strict
        formula = (1.96 * 0.5 + 0.8416 * (right * (1 - right)) ** 0.5) ** 2 / (right - 0.5) ** 2
        assert formula <= discordant_needed(right) <= formula + 1.3 / (right - 0.5) + 4


def test_few_reviews_are_no_reason_for_bold_plans():
    assert reviews_needed(0, 0) == discordant_needed(2 / 3) == 72
    assert reviews_needed(0, 1) == reviews_needed(1, 0) == 71
    assert reviews_needed(0, 4) > 60
    assert reviews_needed(200, 200) == MOST
    assert 1 <= reviews_needed(20, 33) < 100


def test_the_planned_number_of_reviews_tells_as_often_as_promised():
    """A simulation: after as many reviews as were planned, 80 % of trials tell that the challenger is better."""
    random = np.random.default_rng(0)
    n = discordant_needed(0.7)
    told = np.mean([binomtest(int(k), n).pvalue < 0.05 for k in random.binomial(n, 0.7, 1000)])
    assert 0.77 <= told <= 0.86


def test_who_stops_at_the_first_dip_is_misled_and_who_waits_for_the_planned_number_is_not():
    """A simulation of equally good versions: the warning in docs/lifecycle.md."""
    n, trials = discordant_needed(2 / 3), 400
    telling = np.array([[k <= m and mcnemar(k, m - k) < 0.05 for k in range(n + 1)] for m in range(n + 1)])
    heads = np.random.default_rng(1).random((trials, n)).round().astype(int).cumsum(axis=1)
    dips = telling[np.arange(1, n + 1), heads]
    assert dips.any(axis=1).mean() > 0.12
    assert dips[:, -1].mean() < 0.06

"""The shadow test: who is right where a challenger and the served version differ, and when that is known."""

import datetime as dt
import itertools
import string

import numpy as np
import pytest

from webapp.extras.lifecycle.comparison import Duel
from webapp.extras.lifecycle.trial import reviews_needed, shadow_report
from webapp.extras.review.fitted import note_fitted
from webapp.extras.review.queues import count_waiting, upcoming
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.log.ids import new_id
from webapp.log.tables import Row
from webapp.log.writer import LogWriter

OTHERS = map("".join, itertools.product(string.ascii_lowercase, repeat=3))  # texts that are no copies
CURRENT, CHALLENGER = "20260101-000000-aaaaaaa", "20260102-000000-bbbbbbb"
on_both = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def registry(app):
    return app.extensions["inference"].registry


@pytest.fixture
def log(engine):
    """Log predictions: log("spam", "ham", 3) are three that the current version calls spam, the challenger ham."""

    def add(label, challenger_label, count=1, current=CURRENT, challenger=CHALLENGER, text=None):
        rows = [
            Row(
                id=new_id(),
                created_at=dt.datetime.now(dt.UTC),
                source="api",
                text=text or f"hello {next(OTHERS)}",
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
def test_a_version_that_was_never_tried_has_an_empty_record(engine, registry, log):
    log("spam", None, 3)
    found = shadow_report(engine, registry, CHALLENGER)
    assert (found.current, found.scored, found.duel) == (None, 0, (0, 0))
    assert "has not scored a message yet" in found.sentence


@on_both
def test_who_is_right_is_told_by_the_messages_on_which_they_differ(engine, registry, log):
    log("ham", "ham", 80)
    log("spam", None, 5)
    better, worse = log("spam", "ham", 9), log("ham", "spam", 3)
    found = shadow_report(engine, registry, CHALLENGER)
    assert (found.current, found.scored, found.differing, found.duel) == (CURRENT, 92, 12, (0, 0))
    assert found.differing_share.low < 12 / 92 < found.differing_share.high
    assert "differ on 12 of the 92 messages. None of these" in found.sentence
    review(engine, better, "ham")
    found = shadow_report(engine, registry, CHALLENGER)
    assert found.duel == (0, 9)
    assert (
        "The challenger is better: where just one of the two is right, that is the challenger 9 times" in found.sentence
    )
    review(engine, worse, "ham")
    found = shadow_report(engine, registry, CHALLENGER)
    assert found.duel == (3, 9)
    assert "that is the challenger 9 times of 12. That may be chance." in found.sentence


@on_both
def test_unsure_reported_and_uncertain_reviews_do_not_count(engine, registry, log):
    ids = log("spam", "ham", 6)
    review(engine, ids[:1], "unsure")
    review(engine, ids[1:2], "spam")
    give_review(engine, ids[1], "ben", "ham", "challenger")  # the newest verdict counts
    review(engine, ids[2:3], "ham", "reported")
    review(engine, ids[3:4], "spam", "uncertain")
    review(engine, ids[4:5], "ham", "random")
    found = shadow_report(engine, registry, CHALLENGER)
    assert found.duel == (0, 2)


@on_both
def test_a_trial_beside_another_version_is_another_trial(engine, registry, log):
    review(engine, log("spam", "ham", 4), "ham")
    review(engine, log("spam", "ham", 4, challenger="20260103-000000-ccccccc"), "ham")
    review(engine, log("ham", "spam", 2, current="20260104-000000-ddddddd"), "ham")
    found = shadow_report(engine, registry, CHALLENGER)
    assert (found.current, found.scored) == ("20260104-000000-ddddddd", 2)
    assert found.duel == (2, 0)


@on_both
def test_how_often_each_is_right_overall_comes_from_the_random_sample_alone(engine, registry, log):
    log("ham", "ham", 30)
    review(engine, log("spam", "ham", 10), "ham")  # not of the sample, so not of the figure
    now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    draw(engine, now - dt.timedelta(days=1), now, 20, seed=1)
    rows = upcoming(engine, "random", limit=20)
    review(engine, [row["id"] for row in rows], "ham", "random")
    found = shadow_report(engine, registry, CHALLENGER)
    reached = found.sampled
    assert len(rows) <= reached <= 20  # members at its end that were reviewed otherwise need not be reached
    assert found.challenger_accuracy.value == 1
    assert found.current_accuracy.n == reached
    assert found.duel == (0, 10)


@on_both
def test_the_queue_offers_what_they_differ_on_newest_first_until_it_is_reviewed(engine, log):
    log("ham", "ham", 3)
    ids = log("spam", "ham", 3) + log("ham", "spam", 2)
    assert [row["id"] for row in upcoming(engine, "challenger")] == ids[::-1]
    assert count_waiting(engine)["challenger"] == 5
    review(engine, ids[-1:], "ham")
    review(engine, ids[:1], "ham", "random")
    assert [row["id"] for row in upcoming(engine, "challenger")] == ids[-2:0:-1]
    assert count_waiting(engine)["challenger"] == 3


def test_no_number_is_promised_before_20_reviews(engine, registry, log):
    review(engine, log("spam", "ham", 6), "ham")
    review(engine, log("spam", "ham", 4), "spam")
    assert shadow_report(engine, registry, CHALLENGER).sentence.endswith("6 times of 10. That may be chance.")
    review(engine, log("spam", "ham", 9), "ham")
    review(engine, log("spam", "ham", 5), "spam")
    sentence = shadow_report(engine, registry, CHALLENGER).sentence
    assert "15 times of 24. That may be chance. If it goes on like this, about" in sentence
    needed = reviews_needed(Duel(9, 15))
    assert f"about {needed} more" in sentence
    right = round(9 / 24 * (24 + needed))
    assert Duel(right, 24 + needed - right).better == "second"
    assert reviews_needed(Duel(100, 100)) is None


def test_of_two_equal_versions_few_are_ever_called_better_however_often_one_looks():
    """A simulation of what docs/lifecycle.md promises: 5 % at most, while one looks after each of 500 reviews."""
    trials, reviews = 2_000, 500
    wins = (np.random.default_rng(1).random((trials, reviews)) < 0.5).cumsum(axis=1)
    told = np.array(
        [[bool(Duel(k, n - k).better) for k in range(n + 1)] + [False] * (reviews - n) for n in range(1, reviews + 1)]
    )
    ever = told[np.arange(reviews), wins].any(axis=1)
    assert 0.005 < ever.mean() <= 0.05


def test_a_better_challenger_is_found():
    """A simulation: right in three of four messages on which they differ, it is told within 100 reviews."""
    wins = (np.random.default_rng(2).random((500, 100)) < 0.75).cumsum(axis=1)
    told = [any(Duel(n - k, k).better == "second" for n, k in enumerate(trial.tolist(), 1)) for trial in wins]
    assert np.mean(told) > 0.95


@on_both
def test_copies_count_once_and_what_one_has_learnt_does_not_count(engine, registry, log):
    copies = log("spam", "ham", 5, text="Win a prize 1 now")
    learnt = log("spam", "ham", 1, text="Hello from the project, all is well")
    review(engine, [*copies, *learnt], "ham")
    assert shadow_report(engine, registry, CHALLENGER).duel == (0, 2)
    note_fitted(engine, CHALLENGER, learnt)
    assert shadow_report(engine, registry, CHALLENGER).duel == (0, 1)

"""Reviews, samples and queues in the log: what counts as the truth, and who looks at what."""

import datetime as dt
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import HAM, execute, messages

from webapp.errors import InvalidInput
from webapp.extras.review import queues
from webapp.extras.review.queues import count_waiting, upcoming
from webapp.extras.review.reviews import give_review, last_review, truth_of, undo
from webapp.extras.review.samples import draw, open_sample, reached_members
from webapp.log.tables import predictions, reviews, sample_members

on_both = pytest.mark.databases("sqlite", "postgresql")

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
EARLIER = LATER - dt.timedelta(days=30)


@pytest.fixture
def ids(app):
    """The ids of 40 logged messages, oldest first; every other one is spam."""
    texts = [text for _, text in messages(40)]
    return [row["id"] for row in app.extensions["inference"].predict(texts, "api")]


def truth(engine, id_):
    return execute(engine, sa.select(truth_of(predictions.c.id)).where(predictions.c.id == id_))[0]


def members(engine, sample):
    query = sa.select(sample_members.c.prediction_id).where(sample_members.c.sample_id == sample)
    return execute(engine, query.order_by(sample_members.c.position))


@on_both
def test_the_newest_verdict_counts_and_undo_returns_to_the_one_before(engine, ids):
    for reviewer, label in (("anna", "ham"), ("ben", "spam"), ("anna", "spam"), ("anna", "spam"), ("ben", "unsure")):
        give_review(engine, ids[0], reviewer, label, "random")
    give_review(engine, ids[1], "carl", "ham", "random")
    assert len(execute(engine, sa.select(reviews.c.id))) == 5  # the same said twice is stored once
    assert truth(engine, ids[0]) is None
    for reviewer, label in (("ben", "spam"), ("anna", "spam"), ("ben", "ham"), ("ben", "ham"), ("anna", None)):
        newest = last_review(engine, reviewer)
        assert undo(engine, reviewer, newest) == (newest and ids[0])
        assert undo(engine, reviewer, newest) is None  # a double click
        assert truth(engine, ids[0]) == label
    assert truth(engine, ids[1]) == "ham"


@on_both
def test_a_verdict_that_is_sent_twice_at_once_is_stored_once(engine, ids):
    for id_ in ids[:10]:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _, id_=id_: give_review(engine, id_, "anna", "ham", "random"), range(4)))
    assert len(execute(engine, sa.select(reviews.c.id))) == 10


@on_both
def test_a_sample_is_fixed_by_its_seed_and_does_not_change_when_messages_arrive(app, engine, ids):
    now = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=2)
    first, same, other = (draw(engine, EARLIER, now, 20, seed) for seed in (7, 7, 8))
    drawn = members(engine, first)
    assert drawn == members(engine, same)
    assert set(drawn) != set(members(engine, other))
    assert drawn != sorted(drawn)
    app.extensions["inference"].predict([HAM], "api")
    assert members(engine, first) == drawn
    with pytest.raises(InvalidInput, match="no predictions from 30 November 2020"):
        draw(engine, dt.datetime(2020, 11, 30, tzinfo=dt.UTC), dt.datetime(2020, 12, 1, tzinfo=dt.UTC), 5, seed=1)


@on_both
def test_members_count_up_to_the_furthest_reviewed_in_order_and_nothing_after_a_skipped_one(engine, ids):
    drawn = members(engine, draw(engine, EARLIER, LATER, 10, seed=1))
    give_review(engine, drawn[1], "anna", "spam", "uncertain")  # came up elsewhere, before its turn
    give_review(engine, drawn[3], "anna", "spam", "uncertain")
    assert reached_members(engine, EARLIER, LATER) == []
    assert open_sample(engine)[1:] == (0, 10)  # what does not count is no progress
    for position in (0, 2, 5):
        give_review(engine, drawn[position], "anna", "ham", "random")
    assert [row.prediction_id for row in reached_members(engine, EARLIER, LATER)] == drawn[:3]
    give_review(engine, drawn[4], "anna", "unsure", "random")  # reached, without a truth
    reached = reached_members(engine, EARLIER, LATER)
    assert [row.true_label for row in reached] == ["ham", "spam", "ham", "spam", "unsure", "ham"]
    assert [row.prediction_id for row in reached] == drawn[:6]
    assert reached[0].weight == pytest.approx(40 / 6)
    assert open_sample(engine)[1:] == (6, 10)
    for prediction_id in drawn[6:]:
        give_review(engine, prediction_id, "import", "ham", "import")
    draw(engine, EARLIER, LATER, 10, seed=1)
    assert len(reached_members(engine, EARLIER, LATER)) == 10  # each once, all known, however they came to be
    assert not reached_members(engine, EARLIER, EARLIER + dt.timedelta(days=1))


@on_both
def test_what_waits_in_each_queue_and_in_which_order(app, engine, ids, monkeypatch):
    draw(engine, EARLIER, LATER, 5, seed=1)
    drawn = members(engine, draw(engine, EARLIER, LATER, 10, seed=2))  # the newest sample is the one to review
    assert count_waiting(engine) == {"random": 10, "uncertain": 40, "reported": 0, "challenger": 0}
    give_review(engine, drawn[0], "anna", "unsure", "random")
    give_review(engine, drawn[2], "ben", "spam", "api")
    assert [row["id"] for row in upcoming(engine, "random", limit=3)] == [drawn[1], drawn[3], drawn[4]]
    rows = upcoming(engine, "uncertain", limit=100)
    distances = [abs(row["spam_probability"] - row["threshold"]) for row in rows]
    assert len(rows) == 38
    assert distances == sorted(distances)
    for id_, report in ((drawn[3], "wrong"), (drawn[4], "right"), (drawn[5], "wrong"), (drawn[2], "wrong")):
        app.extensions["inference"].log.set_sender_report(id_, report)
    assert [row["id"] for row in upcoming(engine, "reported")] == sorted([drawn[3], drawn[5]], reverse=True)
    monkeypatch.setattr(queues, "COUNT_UP_TO", 5)
    monkeypatch.setattr(queues, "LOOKS_AT", 8)  # of which two may be reviewed
    assert count_waiting(engine)["uncertain"] == 6
    assert {row["id"] for row in upcoming(engine, "uncertain")} <= set(ids[-8:])

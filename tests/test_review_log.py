"""Reviews, samples and queues in the log: what counts as the truth, and who looks at what."""

import datetime as dt

import pytest
import sqlalchemy as sa
from conftest import HAM, messages

from webapp.errors import InvalidInput, NotFound
from webapp.extras.review import listing, queues
from webapp.extras.review.listing import Filters, list_predictions
from webapp.extras.review.queues import count_waiting, upcoming
from webapp.extras.review.reviews import give_review, reviews_of, truth_of, undo
from webapp.extras.review.samples import allocate, counted_members, draw, other_reviews, progress, reached_members
from webapp.log.ids import first_id, moment_of, new_id
from webapp.log.tables import predictions, sample_members

pytestmark = pytest.mark.databases("sqlite", "postgresql")

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
EARLIER = LATER - dt.timedelta(days=30)


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def ids(app):
    """The ids of 40 logged messages, oldest first; every other one is spam."""
    texts = [text for _, text in messages(40)]
    return [row["id"] for row in app.extensions["inference"].predict(texts, "api")]


def truth(engine, id_):
    with engine.connect() as connection:
        return connection.execute(sa.select(truth_of(predictions.c.id)).where(predictions.c.id == id_)).scalar()


def members(engine, sample):
    query = sa.select(sample_members.c.prediction_id).where(sample_members.c.sample_id == sample)
    with engine.connect() as connection:
        return list(connection.execute(query.order_by(sample_members.c.position)).scalars())


# --- Reviews and the truth ---


def test_one_verdict_is_the_truth_and_unsure_is_none(engine, ids):
    give_review(engine, ids[0], "anna", "unsure", "random")
    assert truth(engine, ids[0]) is None
    give_review(engine, ids[0], "ben", "spam", "random")
    assert truth(engine, ids[0]) == "spam"


def test_the_newest_verdict_counts_and_undo_returns_to_the_one_before(engine, ids):
    for reviewer, label in (("anna", "ham"), ("anna", "spam"), ("ben", "unsure")):
        give_review(engine, ids[0], reviewer, label, "random")
    assert truth(engine, ids[0]) is None
    assert undo(engine, "ben") == ids[0]
    assert truth(engine, ids[0]) == "spam"
    assert undo(engine, "anna") == ids[0]
    assert truth(engine, ids[0]) == "ham"


def test_the_same_verdict_twice_is_stored_once(engine, ids):
    for reviewer, label in (("anna", "ham"), ("anna", "ham"), ("ben", "ham"), ("anna", "ham")):
        give_review(engine, ids[0], reviewer, label, "random")
    assert [row["reviewer"] for row in reviews_of(engine, [ids[0]])[ids[0]]] == ["anna", "ben", "anna"]


def test_undo_takes_back_the_newest_review_of_the_same_reviewer_only(engine, ids):
    give_review(engine, ids[0], "anna", "spam", "random")
    give_review(engine, ids[1], "anna", "spam", "random")
    give_review(engine, ids[2], "ben", "spam", "random")
    assert undo(engine, "anna") == ids[1]
    assert undo(engine, "anna") == ids[0]
    assert undo(engine, "anna") is None
    assert truth(engine, ids[2]) == "spam"


def test_a_review_of_nothing_is_not_found(engine, ids):
    with pytest.raises(NotFound):
        give_review(engine, "nothing", "anna", "spam", "random")


# --- Samples ---


def test_a_day_gets_its_share_by_largest_remainders():
    # 10 of 47, 16 and 37: exactly 4.7, 1.6 and 3.7, rounded down 4, 1 and 3; two are left, for .7 and .7
    assert allocate(10, [47, 16, 37]) == [5, 1, 4]
    assert allocate(3, [1, 0, 1]) == [1, 0, 1]
    assert allocate(7, [5, 5, 5]) == [3, 2, 2]


def log_three_days(engine):
    """Log 30, 60 and 90 predictions on three days; return the first midnight."""
    midnight = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    rows = []
    for day, count in enumerate((30, 60, 90)):
        for number in range(count):
            at = midnight + dt.timedelta(days=day, seconds=number)
            rows.append(
                {"id": first_id(at)[:14] + new_id()[14:], "created_at": at, "source": "api", "text": "hello"}
                | {"label": "ham", "spam_probability": 0.1, "threshold": 0.5, "model_version": "v", "latency_ms": 0.1}
            )
    with engine.begin() as connection:
        connection.execute(sa.insert(predictions), rows)
    return midnight


def test_each_day_is_in_the_sample_in_proportion_to_its_traffic(engine):
    midnight = log_three_days(engine)
    drawn = members(engine, draw(engine, midnight, midnight + dt.timedelta(days=3), 18, seed=1))
    days = [moment_of(id_).day for id_ in drawn]
    assert [days.count(day) for day in (1, 2, 3)] == [3, 6, 9]
    assert days != sorted(days)


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(engine):
    midnight = log_three_days(engine)
    first, same, other = (
        members(engine, draw(engine, midnight, midnight + dt.timedelta(days=3), 20, seed)) for seed in (7, 7, 8)
    )
    assert first == same
    assert set(first) != set(other)


def test_a_sample_does_not_change_when_messages_arrive(app, engine, ids):
    sample = draw(engine, EARLIER, LATER, 20, seed=1)
    before = members(engine, sample)
    app.extensions["inference"].predict([HAM], "api")[0]
    assert members(engine, sample) == before


@pytest.mark.parametrize("size", [0, 10_001])
def test_a_sample_of_no_sensible_size_is_refused(engine, ids, size):
    with pytest.raises(InvalidInput, match="1 to 10,000"):
        draw(engine, EARLIER, LATER, size, seed=1)


def test_a_sample_of_an_empty_range_is_refused(engine, ids):
    with pytest.raises(InvalidInput, match="no predictions from 30 November 2020"):
        draw(engine, dt.datetime(2020, 11, 30, tzinfo=dt.UTC), dt.datetime(2020, 12, 1, tzinfo=dt.UTC), 5, seed=1)


def test_progress_tells_reviewed_and_unsure_messages_apart(engine, ids):
    sample = draw(engine, EARLIER, LATER, 10, seed=1)
    first, second, third, *_ = members(engine, sample)
    give_review(engine, first, "anna", "spam", "random")
    give_review(engine, second, "anna", "unsure", "random")
    give_review(engine, third, "anna", "spam", "random")
    assert progress(engine, sample) == (3, 1, 10)


def test_members_count_up_to_the_furthest_reviewed_in_order(engine, ids):
    sample = draw(engine, EARLIER, LATER, 10, seed=1)
    drawn = members(engine, sample)
    give_review(engine, drawn[1], "anna", "spam", "uncertain")  # came up elsewhere, before its turn
    give_review(engine, drawn[3], "anna", "spam", "uncertain")
    assert counted_members(engine, EARLIER, LATER) == []
    for id_ in (drawn[0], drawn[2]):
        give_review(engine, id_, "anna", "ham", "random")
    assert [row.prediction_id for row in counted_members(engine, EARLIER, LATER)] == drawn[:3]
    assert {queue: len(right) for queue, right in other_reviews(engine, EARLIER, LATER).items()} == {"uncertain": 1}


def test_nothing_after_a_skipped_message_counts(engine, ids):
    drawn = members(engine, draw(engine, EARLIER, LATER, 10, seed=1))
    for position in (0, 1, 3):
        give_review(engine, drawn[position], "anna", "ham", "random")
    assert [row.prediction_id for row in counted_members(engine, EARLIER, LATER)] == drawn[:2]
    give_review(engine, drawn[2], "anna", "unsure", "random")  # reached, without a truth
    counted = reached_members(engine, EARLIER, LATER)
    assert [(row.prediction_id, row.true_label) for row in counted] == list(
        zip(drawn[:4], ["ham", "ham", "unsure", "ham"], strict=True)
    )
    assert len(counted_members(engine, EARLIER, LATER)) == 3


def test_a_member_of_two_samples_counts_once(engine, ids):
    for _ in range(2):
        drawn = members(engine, draw(engine, EARLIER, LATER, 10, seed=1))
    give_review(engine, drawn[0], "anna", "ham", "random")
    assert len(counted_members(engine, EARLIER, LATER)) == 1


def test_figures_are_of_a_range_and_of_a_model_version(engine, ids):
    drawn = members(engine, draw(engine, EARLIER, LATER, 10, seed=1))
    give_review(engine, drawn[0], "anna", "ham", "random")
    give_review(engine, drawn[5], "anna", "ham", "all")
    (row,) = counted_members(engine, EARLIER, LATER)
    for find in (counted_members, other_reviews):
        assert len(find(engine, EARLIER, LATER, row.model_version)) == 1
        assert not find(engine, EARLIER, LATER, "another")
        assert not find(engine, EARLIER, EARLIER + dt.timedelta(days=1))


# --- Queues ---


def test_the_random_queue_follows_the_newest_sample_in_its_order(engine, ids):
    draw(engine, EARLIER, LATER, 5, seed=1)
    newer = draw(engine, EARLIER, LATER, 10, seed=2)
    drawn = members(engine, newer)
    give_review(engine, drawn[0], "anna", "unsure", "random")
    give_review(engine, drawn[2], "ben", "spam", "api")
    assert [row["id"] for row in upcoming(engine, "random", limit=3)] == [drawn[1], drawn[3], drawn[4]]


def test_the_uncertain_queue_begins_with_what_is_nearest_to_the_threshold(engine, ids):
    rows = upcoming(engine, "uncertain", limit=100)
    distances = [abs(row["spam_probability"] - row["threshold"]) for row in rows]
    assert len(rows) == 40
    assert distances == sorted(distances)


def test_the_uncertain_queue_looks_at_the_newest_only(engine, ids, monkeypatch):
    monkeypatch.setattr(queues, "NEWEST", 5)
    assert {row["id"] for row in upcoming(engine, "uncertain")} == set(ids[-5:])


def test_the_reported_queue_holds_what_senders_called_wrong_newest_first(app, engine, ids):
    for id_, report in ((ids[3], "wrong"), (ids[4], "right"), (ids[5], "wrong")):
        app.extensions["inference"].log.set_sender_report(id_, report)
    assert [row["id"] for row in upcoming(engine, "reported")] == [ids[5], ids[3]]
    give_review(engine, ids[5], "ben", "ham", "reported")
    assert [row["id"] for row in upcoming(engine, "reported")] == [ids[3]]


def test_what_waits_is_counted_up_to_a_thousand(engine, ids, monkeypatch):
    draw(engine, EARLIER, LATER, 10, seed=1)
    expected = {"random": 10, "uncertain": 40, "reported": 0, "challenger": 0}
    assert count_waiting(engine) == expected
    monkeypatch.setattr(queues, "COUNT_UP_TO", 5)
    assert count_waiting(engine)["uncertain"] == 6


# --- The list ---


def all_pages(engine, filters, limit):
    """Return the ids on each page."""
    pages, before = [], None
    while True:
        page = list_predictions(engine, filters, before, limit)
        pages.append([row["id"] for row in page.rows])
        before = page.before
        if not before:
            return pages


def test_pages_follow_one_another_without_gap_or_overlap(engine, ids):
    pages = all_pages(engine, Filters(), 15)
    assert [len(page) for page in pages] == [15, 15, 10]
    assert sum(pages, []) == ids[::-1]


def test_a_page_gives_up_after_so_many_predictions_and_says_where_to_go_on(engine, ids, monkeypatch):
    monkeypatch.setattr(listing, "LOOKS_AT", 10)
    page = list_predictions(engine, Filters(text="no such words"))
    assert page.rows == []
    assert page.looked_back_to == moment_of(ids[30])
    assert sum(all_pages(engine, Filters(), 7), []) == ids[::-1]


@pytest.mark.parametrize(
    ("text", "found"), [("TRAIN", 4), ("shall we take", 20), ("100%", 0), ("t_ain", 0), ("%", 0), ("'", 0)]
)
def test_text_is_searched_as_it_is_written_in_capitals_or_not(engine, ids, text, found):
    assert len(list_predictions(engine, Filters(text=text)).rows) == found


def test_filters_narrow_the_list(app, engine, ids):
    app.extensions["inference"].predict([HAM], "form")
    give_review(engine, ids[3], "anna", "ham", "all")
    give_review(engine, ids[5], "anna", "unsure", "all")
    found = [row["true_label"] for row in list_predictions(engine, Filters(reviewed=True)).rows]
    assert found == [None, "ham"]
    assert len(list_predictions(engine, Filters(reviewed=False)).rows) == 39
    assert len(list_predictions(engine, Filters(source="form")).rows) == 1
    assert list_predictions(engine, Filters(model_version="another")).rows == []
    assert list_predictions(engine, Filters(since=LATER)).rows == []
    assert list_predictions(engine, Filters(until=EARLIER)).rows == []
    assert {row["label"] for row in list_predictions(engine, Filters(label="ham")).rows} == {"ham"}


def test_reviewed_predictions_are_paged_too(engine, ids):
    for id_ in ids[::2]:
        give_review(engine, id_, "anna", "ham", "all")
        give_review(engine, id_, "ben", "ham", "all")
    assert sum(all_pages(engine, Filters(reviewed=True), 3), []) == ids[::2][::-1]

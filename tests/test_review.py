"""Reviewing: the pages as a browser without JavaScript sees them, the API, the import, and what follows from it."""

import datetime as dt
import html
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, execute, hidden, messages, sign_in, stored
from test_api import assert_problem

from webapp.errors import InvalidInput
from webapp.extras.review import queues, samples
from webapp.extras.review.queues import count_waiting, upcoming
from webapp.extras.review.reviews import give_review, last_review, truth_of, undo
from webapp.extras.review.samples import open_sample, reached_members
from webapp.log.tables import predictions, reviews, sample_members

on_both = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def reviewer(app):
    return sign_in(app)


@pytest.fixture
def ids(app):
    """The ids of 30 logged messages, oldest first; every other one is spam."""
    texts = [text for _, text in messages(30)]
    return [row["id"] for row in app.extensions["inference"].predict(texts, "api")]


def shown(page):
    """Return the id of the message that a page has open, None if there is none."""
    found = re.search(r'name="prediction_id" value="([^"]+)"', page.text)
    return found and found[1]


def look(client, queue="random", **parameters):
    answer = client.get("/review", query_string={"queue": queue, **parameters})
    assert answer.status_code == 200
    return answer


def label(client, prediction_id, true_label, queue="random", address="/review", **fields):
    fields = {"prediction_id": prediction_id, "true_label": true_label, "queue": queue, **fields}
    return client.post(address, data=fields, follow_redirects=True)


def draw(client, size=10, days=7):
    return client.post("/review/sample", data={"size": size, "days": days}, follow_redirects=True)


# --- The pages ---


def test_the_form_says_what_comes_next_until_something_is_reviewed(client, reviewer, ids):
    assert "flask demo" not in client.get("/").text
    assert "flask demo" in reviewer.get("/").text
    label(reviewer, ids[0], "ham")
    assert "flask demo" not in reviewer.get("/").text


def test_an_empty_log_says_how_messages_get_there(reviewer):
    for queue in ("random", "uncertain", "reported", "all"):
        assert "No messages yet" in look(reviewer, queue).text
    assert "There are no predictions from" in draw(reviewer).text


@on_both
def test_a_sample_is_drawn_and_each_verdict_leads_to_the_next_message_until_it_is_done(app, reviewer, ids):
    assert "Draw a random sample" in look(reviewer).text
    page = draw(reviewer, size=4)
    assert "0 of 4" in page.text
    for number, true_label in enumerate(["spam", "ham", "unsure", "ham"], start=1):
        assert shown(page) in ids
        page = label(reviewer, shown(page), true_label)
        assert f"{number} of 4" in page.text
    assert "This sample is done" in page.text
    assert [row.true_label for row in stored(app, reviews)] == ["spam", "ham", "unsure", "ham"]
    assert {row.queue for row in stored(app, reviews)} == {"random"}


@on_both
def test_a_sample_of_which_all_was_purged_is_none(app, reviewer, ids, flask):
    draw(reviewer)
    flask("log", "purge", "--older-than", "0d")
    app.extensions["inference"].predict([SPAM], "api")
    page = look(reviewer).text
    assert "Draw a random sample" in page
    assert "in this sample" not in page


def test_a_sample_that_cannot_be_drawn_says_why_also_where_one_is_open(reviewer, ids):
    for _ in range(2):
        for size, days, reason in (
            (0, 7, "1 to 10,000"),
            (10_001, 7, "1 to 10,000"),
            (5, 0, "1 to 3,650 days"),
            ("x", 7, "1 to 10,000"),
        ):
            answer = reviewer.post("/review/sample", data={"size": size, "days": days})
            assert answer.status_code == 422
            assert reason in answer.text
            assert "Draw the sample" in answer.text
        draw(reviewer)


@on_both
def test_undo_takes_the_last_verdict_back_and_shows_its_message_again(app, reviewer, ids):
    first = shown(draw(reviewer))
    assert shown(label(reviewer, first, "spam")) != first
    label(reviewer, first, "spam", "all")
    for left in (1, 0):
        page = look(reviewer).text
        for _ in range(2):  # a double click
            form = {"queue": "random", "undo": hidden(page, "undo")}
            answer = reviewer.post("/review/undo", data=form, follow_redirects=True)
            assert ("Taken back" in answer.text, len(stored(app, reviews))) == (True, left)
    assert shown(answer) == first
    assert "Undo" not in answer.text


def test_in_the_random_queue_the_verdict_is_out_of_sight_until_the_reviewer_gave_theirs(reviewer, ids):
    page = draw(reviewer)
    first = shown(page)
    before, _, after = page.text.partition("What did the model say?")
    assert not re.search('likely spam|<mark|class="spam-text', before)
    assert "likely spam" in after
    label(reviewer, first, "spam")
    assert "What did the model say?" not in look(reviewer, id=first.upper()).text
    other = look(reviewer, "uncertain").text
    assert "What did the model say?" not in other
    assert "likely spam" in other
    assert "<mark" in other


def test_reported_messages_come_with_what_the_sender_said(app, reviewer, ids):
    assert "Messages come here when" in look(reviewer, "reported").text
    app.extensions["inference"].log.set_sender_report(ids[4], "wrong")
    page = look(reviewer, "reported")
    assert shown(page) == ids[4]
    assert "the sender says the verdict is wrong" in page.text
    assert "Nothing waits here" in label(reviewer, ids[4], "ham", "reported").text


def test_a_nonsense_verdict_is_refused(app, reviewer, ids):
    for fields in ({"true_label": "maybe", "queue": "all"}, {"true_label": "ham", "queue": "nonsense"}):
        assert reviewer.post("/review", data={"prediction_id": ids[0], **fields}).status_code == 422
    assert reviewer.post("/review", data={"prediction_id": "x", "true_label": "ham", "queue": "all"}).status_code == 404
    for address in ("/review?queue=nonsense", "/review?queue=all&id=nothing"):
        assert reviewer.get(address).status_code == 404
    assert stored(app, reviews) == []


def test_html_in_a_message_stays_text_and_parameters_cannot_change_where_links_lead(app, reviewer):
    app.extensions["inference"].predict(["<script>alert(1)</script> <b>WIN</b>"], "api")
    for queue in ("uncertain", "all"):
        page = look(reviewer, queue, _external=1, _scheme="javascript", _anchor="x", endpoint="y").text
        assert not re.search("<script>alert|<b>|javascript:", page)


# --- The list of all messages ---


def listed(page):
    """Return the snippets on a page of the list."""
    return [html.unescape(snippet) for snippet in re.findall(r'class="snippet">(.*?)</span>', page.text)]


def test_the_list_shows_the_newest_first_and_is_searched_and_filtered(reviewer, ids):
    texts = [text for _, text in messages(30)][::-1]
    page = look(reviewer, "all", limit=20)
    assert listed(page) == texts[:20]
    page = reviewer.get(html.unescape(re.search(r'href="([^"]+)" rel="next"', page.text)[1]))
    assert listed(page) == texts[20:]
    assert 'rel="next"' not in page.text
    assert "Back to the newest" in page.text
    label(reviewer, ids[0], "ham", "all")
    tomorrow = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=1)
    assert listed(look(reviewer, "all", text="TAXI")) == [text for text in texts if "taxi" in text]
    assert len(listed(look(reviewer, "all", reviewed="no", until=tomorrow))) == 29
    assert "No message fits" in look(reviewer, "all", model_version="another").text
    assert "A date is written as" in look(reviewer, "all", until="yesterday").text


def test_a_verdict_in_the_list_leads_to_the_message_below_with_the_filters_kept(reviewer, ids):
    page = look(reviewer, "all", label="spam")
    first = re.search(r"id=([\w-]{36})", page.text)[1]
    page = look(reviewer, "all", label="spam", id=first)
    following = re.search(r'name="next" value="([^"]+)"', page.text)[1]
    action = html.unescape(re.search(r'action="(/review\?[^"]+)" class="answers"', page.text)[1])
    page = label(reviewer, first, "spam", "all", address=action, next=following)
    assert shown(page) == following
    assert "label=spam" in page.request.url


# --- The API ---


def put(client, id_, body, key):
    return client.put(f"/api/v1/predictions/{id_}/review", json=body, headers=key)


@on_both
def test_the_newest_review_counts_and_the_api_lists_all_predictions(client, reviewer, ids, key):
    answer = put(client, ids[29], {"true_label": "ham"}, key)
    assert (answer.status_code, answer.json) == (200, {"true_label": "ham"})
    label(reviewer, ids[29], "spam", "all")
    assert re.search("Reviewed as .*spam</span>", look(reviewer, "all", id=ids[29]).text)
    for query, expected in (("label=spam", ids[1::2]), ("reviewed=true", [ids[29]]), ("reviewed=false", ids[:29])):
        address, found = f"/api/v1/predictions?limit=4&{query}", []
        while address:  # pages follow one another without gap or overlap
            answer = client.get(address, headers=key).json
            found += answer["predictions"]
            address = answer["next"]
        assert [row["id"] for row in found] == expected[::-1]
        assert {row["true_label"] for row in found if row["id"] == ids[29]} <= {"spam"}
        assert {row["true_label"] for row in found if row["id"] != ids[29]} <= {None}


def test_a_review_that_cannot_be_used_is_refused(app, client, ids, key):
    for body in ({"true_label": "maybe"}, {}, {"true_label": "ham", "by": "me"}, []):
        assert_problem(put(client, ids[0], body, key), 422)
    address = f"/api/v1/predictions/{ids[0]}/review"
    assert_problem(client.put(address, data="true_label=ham", headers=key), 415)
    assert_problem(client.put(address, data="{", content_type="application/json", headers=key), 400)
    assert_problem(put(client, "nothing", {"true_label": "ham"}, key), 404)
    assert stored(app, reviews) == []


def test_the_api_filters_the_list(client, ids, key):
    def count(**parameters):
        answer = client.get("/api/v1/predictions", query_string={"limit": 100, **parameters}, headers=key)
        assert answer.status_code == 200
        return len(answer.json["predictions"])

    for text, found in (("free TRAIN", 0), ("the TRAIN", 3), ("100%", 0), ("t_ain", 0), ("'", 0)):
        assert count(text=text) == found
    assert count(since="2020-01-01", until="2020-01-02") == 0
    assert count(since="2020-01-01") == 30
    assert count(label="spam") + count(label="ham") == 30
    assert count(before=ids[4].upper()) == 4
    for query in ("since=yesterday", "until=1700000000", "limit=101", "limit=0", "label=eggs", "lable=spam"):
        problem = assert_problem(client.get(f"/api/v1/predictions?{query}", headers=key), 422)
        assert problem["errors"][0]["field"] == query.partition("=")[0]
        assert "Value error" not in problem["detail"]  # pydantic's own words


# --- The import ---


def as_csv(*rows):
    return "".join(",".join(row) + "\n" for row in [("id", "true_label"), *rows])


@on_both
def test_labels_from_a_file_are_taken_in_steps_and_a_later_file_changes_them(app, flask, ids, tmp_path, monkeypatch):
    monkeypatch.setattr("webapp.extras.review.reviews.KEYS_AT_ONCE", 1)
    path = tmp_path / "truth.csv"
    path.write_text(as_csv((ids[0], "ham"), (ids[1], "spam"), ("nothing", "ham")))
    result = flask("review", "import", path)
    assert result.exit_code == 0
    assert "2 new, 0 as before, 1 unknown, nothing the first of them." in result.output
    assert {(row.reviewer, row.queue) for row in stored(app, reviews)} == {("import", "import")}
    rows = [(ids[0], "spam"), (ids[1], "spam"), (ids[2], "unsure"), (ids[3], " ")]  # the last is not labelled yet
    result = flask("review", "import", "-", input=as_csv(*rows))
    assert "2 new, 1 as before, 0 unknown." in result.output
    assert [row.true_label for row in stored(app, reviews)] == ["ham", "spam", "spam", "unsure"]
    assert flask("review", "import", "-", input=as_csv(("nothing", "ham"))).exit_code == 1


def test_a_bad_row_is_named_and_nothing_of_the_file_is_stored(app, flask, ids):
    first = (ids[0], "ham")
    for content, reason in (
        (as_csv(first, (ids[1], "eggs")), "line 3"),
        (as_csv(first, ("", "ham")), "line 3"),
        ('{"id": "x\\ud83d", "true_label": "ham"}', "line 1"),
        (as_csv(first, (ids[1],)), "line 3"),
        (as_csv(first, (ids[0], "spam")), "line 3: the same id has ham in a row before"),
        ("", "is empty"),
        ("id,label\nx,ham\n", "id,true_label"),
    ):
        result = flask("review", "import", "-", input=content)
        assert result.exit_code == 2
        assert reason in result.output
        assert len(result.output.splitlines()) == 1
    assert stored(app, reviews) == []


def test_labels_come_in_any_file_that_train_would_read(app, flask, ids, tmp_path):
    for content, true_label in (
        (f"prediction_id;true_label\n{ids[0]};Spam \n".encode("utf-16"), "spam"),
        (f"\ufeffsep=,\r\nnote,ID,True_Label\r\ncafe,{ids[0]},HAM\r\n".encode(), "ham"),
        (f'{{"id": "{ids[0]}", "true_label": "spam"}}\n'.encode(), "spam"),
        (f"id,prediction_id,true_label\n7,{ids[0]},Not Spam\n".encode(), "ham"),
        (f'"id"\t"true_label"\n"{ids[0].upper()}"\t"1"\n'.encode(), "spam"),
        (f'{{"id": "{ids[0]}", "true_label": 0}}\n'.encode(), "ham"),
        (f'{{"id": "{ids[0]}", "true_label": true}}\n'.encode(), "spam"),
    ):
        (tmp_path / "truth").write_bytes(content)
        result = flask("review", "import", tmp_path / "truth")
        assert result.exit_code == 0, result.output
        assert stored(app, reviews)[-1].true_label == true_label


# --- What counts as the truth, and what waits ---

LATER = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
EARLIER = LATER - dt.timedelta(days=30)


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
    first, same, other = (samples.draw(engine, EARLIER, now, 20, seed) for seed in (7, 7, 8))
    drawn = members(engine, first)
    assert drawn == members(engine, same)
    assert set(drawn) != set(members(engine, other))
    assert drawn != sorted(drawn)
    app.extensions["inference"].predict([HAM], "api")
    assert members(engine, first) == drawn
    with pytest.raises(InvalidInput, match="no predictions from 30 November 2020"):
        samples.draw(engine, EARLIER.replace(2020, 11, 30), EARLIER.replace(2020, 12, 1), 5, seed=1)


@on_both
def test_members_count_up_to_the_furthest_reviewed_in_order_and_nothing_after_a_skipped_one(engine, ids):
    drawn = members(engine, samples.draw(engine, EARLIER, LATER, 10, seed=1))
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
    assert reached[0].weight == pytest.approx(30 / 6)
    assert open_sample(engine)[1:] == (6, 10)
    for prediction_id in drawn[6:]:
        give_review(engine, prediction_id, "import", "ham", "import")
    samples.draw(engine, EARLIER, LATER, 10, seed=1)
    assert len(reached_members(engine, EARLIER, LATER)) == 10  # each once, all known, however they came to be
    assert not reached_members(engine, EARLIER, EARLIER + dt.timedelta(days=1))


@on_both
def test_what_waits_in_each_queue_and_in_which_order(app, engine, ids, monkeypatch):
    samples.draw(engine, EARLIER, LATER, 5, seed=1)
    drawn = members(engine, samples.draw(engine, EARLIER, LATER, 10, seed=2))  # the newest sample is the one to review
    assert count_waiting(engine) == {"random": 10, "uncertain": 30, "reported": 0, "challenger": 0}
    give_review(engine, drawn[0], "anna", "unsure", "random")
    give_review(engine, drawn[2], "ben", "spam", "api")
    assert [row["id"] for row in upcoming(engine, "random", limit=3)] == [drawn[1], drawn[3], drawn[4]]
    rows = upcoming(engine, "uncertain", limit=100)
    distances = [abs(row["spam_probability"] - row["threshold"]) for row in rows]
    assert len(rows) == 28
    assert distances == sorted(distances)
    for id_, report in ((drawn[3], "wrong"), (drawn[4], "right"), (drawn[5], "wrong"), (drawn[2], "wrong")):
        app.extensions["inference"].log.set_sender_report(id_, report)
    assert [row["id"] for row in upcoming(engine, "reported")] == sorted([drawn[3], drawn[5]], reverse=True)
    monkeypatch.setattr(queues, "COUNT_UP_TO", 5)
    monkeypatch.setattr(queues, "LOOKS_AT", 8)  # of which two may be reviewed
    assert count_waiting(engine)["uncertain"] == 6
    assert {row["id"] for row in upcoming(engine, "uncertain")} <= set(ids[-8:])

"""Reviewing: the pages as a browser without JavaScript sees them, the API, and the import."""

import csv
import datetime as dt
import html
import io
import re

import pytest
import sqlalchemy as sa
from conftest import HAM, PASSWORD, SPAM, messages
from test_api import assert_problem

from webapp.app import create_app
from webapp.extras.review import listing
from webapp.log.database import write_transaction
from webapp.log.ids import new_id
from webapp.log.tables import predictions, reviews

pytestmark = pytest.mark.databases("sqlite", "postgresql")


def sign_in(app):
    """Return a client that has signed in: each one is another reviewer."""
    client = app.test_client()
    assert client.post("/login", data={"password": PASSWORD}).status_code == 303
    return client


@pytest.fixture
def reviewer(app):
    return sign_in(app)


@pytest.fixture
def ids(app):
    """The ids of 30 logged messages, oldest first; every other one is spam."""
    texts = [text for _, text in messages(30)]
    return [row["id"] for row in app.extensions["inference"].predict(texts, "api")]


@pytest.fixture
def key(flask):
    """The header with an API key named helpdesk."""
    return {"Authorization": f"Bearer {flask('api-key', 'create', 'helpdesk').stdout.strip()}"}


def stored(app, table=reviews):
    with app.extensions["engine"].connect() as connection:
        return connection.execute(sa.select(table).order_by(table.c[0])).mappings().all()


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


def test_reviews_are_for_the_signed_in(client, ids):
    assert "/login" in client.get("/review").location
    answer = client.post("/review", data={"prediction_id": ids[0], "true_label": "ham", "queue": "all"})
    assert answer.status_code == 403


def test_an_empty_log_says_how_messages_get_there(reviewer):
    for queue in ("random", "uncertain", "reported", "all"):
        assert "No messages yet" in look(reviewer, queue).text


def test_without_a_sample_the_page_offers_to_draw_one(reviewer, ids):
    page = look(reviewer)
    assert "Draw a random sample" in page.text
    assert shown(page) is None
    page = draw(reviewer)
    assert "0 of 10" in page.text
    assert shown(page) in ids


@pytest.mark.parametrize(
    ("size", "days", "reason"), [(0, 7, "1 to 10,000"), (5, 0, "1 to 3,650 days"), ("x", 7, "1 to 10,000")]
)
def test_a_sample_that_cannot_be_drawn_says_why(reviewer, ids, size, days, reason):
    answer = reviewer.post("/review/sample", data={"size": size, "days": days})
    assert answer.status_code == 422
    assert reason in answer.text
    assert "Draw the sample" in answer.text
    draw(reviewer)
    answer = reviewer.post("/review/sample", data={"size": size, "days": days})
    assert reason in answer.text  # also where a sample's message is open


def test_a_sample_of_an_empty_log_says_so(reviewer):
    assert "There are no predictions from" in draw(reviewer).text


def test_each_verdict_leads_to_the_next_message_until_the_sample_is_done(app, reviewer, ids):
    page = draw(reviewer, size=4)
    for number, true_label in enumerate(["spam", "ham", "unsure", "ham"], start=1):
        page = label(reviewer, shown(page), true_label)
        assert f"{number} of 4" in page.text
    assert "This sample is done" in page.text
    assert ", 1 unsure" in page.text
    assert [row["true_label"] for row in stored(app)] == ["spam", "ham", "unsure", "ham"]
    assert {row["queue"] for row in stored(app)} == {"random"}


def test_undo_takes_the_last_verdict_back_and_shows_its_message_again(app, reviewer, ids):
    first = shown(draw(reviewer))
    second = shown(label(reviewer, first, "spam"))
    assert second != first
    page = reviewer.post("/review/undo", data={"queue": "random"}, follow_redirects=True)
    assert "Taken back" in page.text
    assert shown(page) == first
    assert stored(app) == []
    page = reviewer.post("/review/undo", data={"queue": "random"}, follow_redirects=True)
    assert "nothing left to take back" in page.text


def test_in_the_random_queue_the_verdict_is_out_of_sight_until_the_reviewer_gave_theirs(reviewer, ids):
    page = draw(reviewer)
    first = shown(page)
    before, _, after = page.text.partition("What did the model say?")
    assert "likely spam" not in before
    assert "<mark" not in before
    assert 'class="spam-text' not in before
    assert "likely spam" in after
    label(reviewer, first, "spam")
    assert "What did the model say?" not in look(reviewer, id=first).text


def test_other_queues_show_verdict_probability_and_marked_terms(reviewer, ids):
    page = look(reviewer, "uncertain").text
    assert "What did the model say?" not in page
    assert "likely spam" in page
    assert "<mark" in page


def test_after_some_reviews_it_says_how_many_more_make_the_figure_precise(reviewer, ids):
    page = draw(reviewer, size=25)
    for _ in range(19):
        page = label(reviewer, shown(page), "ham")
    assert "± 2 points" not in page.text
    for _ in range(1):
        page = label(reviewer, shown(page), "ham")
    assert re.search(r"± 2 points after 10 more,\s+to ± 1 after 10 more", page.text)  # there are 30 messages
    assert "5 are left here, so draw a larger sample" in page.text


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
    assert look(reviewer, "uncertain", id=ids[0]).status_code == 200
    assert reviewer.get("/review?queue=nonsense").status_code == 404
    assert reviewer.get("/review?queue=all&id=nothing").status_code == 404
    assert stored(app) == []


def test_html_in_a_message_stays_text(app, reviewer):
    app.extensions["inference"].predict(["<script>alert(1)</script> <b>WIN</b>"], "api")[0]
    for queue in ("uncertain", "all"):
        page = look(reviewer, queue).text
        assert "<script>alert" not in page
        assert "<b>" not in page


def test_where_texts_are_not_stored_the_page_says_so_and_only_unsure_can_be_chosen(tmp_path):
    app = create_app(tmp_path / "i", TESTING=True, WTF_CSRF_ENABLED=False, ADMIN_PASSWORD=PASSWORD, STORE_TEXT=False)
    app.extensions["inference"].predict([SPAM], "api")[0]
    page = look(sign_in(app), "uncertain").text
    assert "review import FILE" in page
    assert "was not stored" in page
    assert re.findall(r'value="(\w+)" data-key="\w" aria-pressed="false" disabled', page) == ["spam", "ham"]
    app.extensions["engine"].dispose()


# --- The list of all messages ---


def listed(page):
    """Return the snippets on a page of the list."""
    return [html.unescape(snippet) for snippet in re.findall(r'class="snippet">(.*?)</span>', page.text)]


def test_the_list_shows_the_newest_first_and_pages_by_key(app, reviewer, ids, monkeypatch):
    monkeypatch.setattr("webapp.extras.review.routes.PER_PAGE", 20)
    texts = [text for _, text in messages(30)][::-1]
    page = look(reviewer, "all")
    assert listed(page) == texts[:20]
    address = html.unescape(re.search(r'href="([^"]+)" rel="next"', page.text)[1])
    page = reviewer.get(address)
    assert listed(page) == texts[20:]
    assert 'rel="next"' not in page.text
    assert "Back to the newest" in page.text


def test_the_list_is_searched_and_filtered(app, reviewer, ids):
    label(reviewer, ids[0], "ham", "all")
    today, tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=days) for days in (0, 1))
    assert listed(look(reviewer, "all", text="TAXI")) == [
        text for _, text in messages(30)[::-1] if "taxi" in text.lower()
    ]
    assert len(listed(look(reviewer, "all", reviewed="yes"))) == 1
    assert len(listed(look(reviewer, "all", reviewed="no", source="api"))) == 29
    assert len(listed(look(reviewer, "all", until=f"{today:%Y-%m-%d}"))) == 30
    assert "No message fits" in look(reviewer, "all", since=f"{tomorrow:%Y-%m-%d}").text
    assert "No message fits" in look(reviewer, "all", model_version="another").text
    for date in ("yesterday", "9999-12-31"):
        assert "A date is written as" in look(reviewer, "all", until=date).text


def test_a_rare_search_gives_up_in_time_and_offers_to_look_further_back(reviewer, ids, monkeypatch):
    monkeypatch.setattr(listing, "LOOKS_AT", 10)
    page = look(reviewer, "all", text="no such words").text
    assert "Looked through" in page
    assert "none fits" in page
    assert "Look further back" in page


def test_a_verdict_in_the_list_leads_to_the_message_below_with_the_filters_kept(app, reviewer, ids):
    page = look(reviewer, "all", label="spam")
    first = re.search(r"id=([\w-]{36})", page.text)[1]
    page = look(reviewer, "all", label="spam", id=first)
    following = re.search(r'name="next" value="([^"]+)"', page.text)[1]
    action = html.unescape(re.search(r'action="(/review\?[^"]+)" class="answers"', page.text)[1])
    page = label(reviewer, first, "spam", "all", address=action, next=following)
    assert shown(page) == following
    assert "label=spam" in page.request.url


def test_parameters_cannot_change_where_the_links_lead(reviewer, ids):
    page = reviewer.get("/review?queue=all&_external=1&_scheme=javascript&_anchor=x&endpoint=y")
    assert page.status_code == 200
    assert "javascript:" not in page.text


# --- The API ---


def put(client, id_, body, key):
    return client.put(f"/api/v1/predictions/{id_}/review", json=body, headers=key)


def test_the_api_wants_a_key(client, ids):
    assert_problem(client.get("/api/v1/predictions"), 401)
    assert_problem(put(client, ids[0], {"true_label": "ham"}, {}), 401)


def test_the_newest_review_counts_and_the_api_lists_them_all(client, reviewer, ids, key):
    answer = put(client, ids[0], {"true_label": "ham"}, key)
    assert answer.status_code == 200
    assert (answer.json["reviewer"], answer.json["queue"]) == ("key:helpdesk", "api")
    label(reviewer, ids[0], "spam", "all")
    (row,) = client.get("/api/v1/predictions?reviewed=true", headers=key).json["predictions"]
    assert row["true_label"] == "spam"
    assert [review["true_label"] for review in row["reviews"]] == ["ham", "spam"]
    assert "not counted any more" in look(reviewer, "all", id=ids[0]).text


@pytest.mark.parametrize("body", [{"true_label": "maybe"}, {}, {"true_label": "ham", "by": "me"}, []])
def test_a_review_that_cannot_be_used_is_refused(app, client, ids, key, body):
    assert_problem(put(client, ids[0], body, key), 422)
    assert stored(app) == []


def test_a_review_must_be_json(client, ids, key):
    address = f"/api/v1/predictions/{ids[0]}/review"
    assert_problem(client.put(address, data="true_label=ham", headers=key), 415)
    assert_problem(client.put(address, data="{", content_type="application/json", headers=key), 400)


def test_a_review_of_nothing_is_not_found(client, key):
    assert_problem(put(client, "nothing", {"true_label": "ham"}, key), 404)


def test_the_api_lists_predictions_with_their_reviews_page_by_page(client, ids, key):
    put(client, ids[29], {"true_label": "ham"}, key)
    address, found = "/api/v1/predictions?limit=12&source=api", []
    while address:
        answer = client.get(address, headers=key).json
        found += answer["predictions"]
        address = answer["next"]
    assert [row["id"] for row in found] == ids[::-1]
    assert found[0]["true_label"] == "ham"
    assert found[0]["reviews"][0]["reviewer"] == "key:helpdesk"
    assert found[1]["true_label"] is None
    assert found[1]["reviews"] == []


def test_the_api_filters_the_list(client, ids, key):
    put(client, ids[3], {"true_label": "unsure"}, key)
    start = client.get(f"/api/v1/predictions/{ids[15]}").json["created_at"]

    def count(**parameters):
        answer = client.get("/api/v1/predictions", query_string={"limit": 100, **parameters}, headers=key)
        assert answer.status_code == 200
        return len(answer.json["predictions"])

    assert count(reviewed="true") == 1
    assert count(reviewed="false") == 29
    assert count(text="free TRAIN") == 0
    assert count(text="the TRAIN") == 3
    assert count(since="2020-01-01", until="2020-01-02T00:00:00Z") == 0
    assert count(since=start[:-13] + "Z") >= 15
    assert count(label="spam") + count(label="ham") == 30


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("since=yesterday", "since"),
        ("until=1700000000", "until"),
        ("limit=101", "limit"),
        ("limit=0", "limit"),
        ("label=eggs", "label"),
        ("lable=spam", "lable"),
    ],
)
def test_a_filter_that_cannot_be_used_is_named(client, key, query, field):
    problem = assert_problem(client.get(f"/api/v1/predictions?{query}", headers=key), 422)
    assert problem["errors"][0]["field"] == field


# --- The import ---


def as_csv(*rows, header=("id", "true_label")):
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return file.getvalue()


def test_labels_from_a_file_are_taken_and_a_later_file_changes_them(app, flask, ids, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(as_csv((ids[0], "ham"), (ids[1], "spam"), ("nothing", "ham"), (ids[0], "ham")))
    result = flask("review", "import", path)
    assert result.exit_code == 0
    assert "2 new, 0 changed, 0 as before, 1 unknown." in result.output
    assert "nothing" in result.output
    assert [(row["prediction_id"], row["true_label"], row["reviewer"], row["queue"]) for row in stored(app)] == [
        (ids[0], "ham", "import", "import"),
        (ids[1], "spam", "import", "import"),
    ]
    result = flask("review", "import", "-", input=as_csv((ids[0], "spam"), (ids[1], "spam"), (ids[2], "unsure")))
    assert "1 new, 1 changed, 1 as before, 0 unknown." in result.output
    assert [row["true_label"] for row in stored(app)] == ["ham", "spam", "spam", "unsure"]


def test_only_some_unknown_ids_are_listed(flask, ids):
    rows = [(new_id(), "ham") for _ in range(1000)] + [(id_, "ham") for id_ in ids]
    result = flask("review", "import", "-", input=as_csv(*rows))
    assert "30 new, 0 changed, 0 as before, 1,000 unknown." in result.output
    assert result.output.rstrip().endswith(", ...")
    assert result.output.count("-") == 5 * 4


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([("ID0", "ham"), ("ID1", "eggs")], "line 3"),
        ([("ID0", "ham"), ("", "ham")], "line 3"),
        ([("ID0", "ham"), ("ID1",)], "line 3"),
        ([("ID0", "ham"), ("ID1", "ham"), ("ID0", "spam")], "line 4"),
    ],
)
def test_a_bad_row_is_named_and_nothing_of_the_file_is_stored(app, flask, ids, rows, reason):
    rows = [[cell.replace("ID0", ids[0]).replace("ID1", ids[1]) for cell in row] for row in rows]
    for _ in range(2):
        result = flask("review", "import", "-", input=as_csv(*rows))
        assert result.exit_code == 2
        assert reason in result.output
        assert len(result.output.splitlines()) == 1
    assert stored(app) == []


@pytest.mark.parametrize("content", ["", "id,label\nx,ham\n", "id\tx"])
def test_a_file_with_other_columns_is_refused(flask, content):
    result = flask("review", "import", "-", input=content)
    assert result.exit_code == 2
    assert "id,true_label" in result.output or "is empty" in result.output


@pytest.mark.parametrize(
    "content",
    [
        "prediction_id;true_label\nID0;Spam \nID1;HAM\n".encode("utf-16"),
        b"\xef\xbb\xbfsep=,\r\nnote,ID,True_Label\r\ncaf\xe9,ID0,SPAM\r\n,ID1,ham\r\n",
        b'{"id": "ID0", "true_label": "spam"}\n{"id": "ID1", "true_label": "ham"}\n',
    ],
    ids=["UTF-16 with semicolons", "Excel", "JSON Lines"],
)
def test_labels_come_in_any_file_that_train_would_read(app, flask, ids, tmp_path, content):
    encoding = "utf-16" if content.startswith(b"\xff\xfe") else "latin-1"
    text = content.decode(encoding).replace("ID0", ids[0]).replace("ID1", ids[1])
    (tmp_path / "truth").write_bytes(text.encode(encoding))
    result = flask("review", "import", tmp_path / "truth")
    assert result.exit_code == 0, result.output
    assert [(row["prediction_id"], row["true_label"]) for row in stored(app)] == [(ids[0], "spam"), (ids[1], "ham")]


def test_a_file_that_knows_no_prediction_fails(app, flask, ids):
    result = flask("review", "import", "-", input=as_csv((new_id(), "ham"), (new_id(), "spam")))
    assert result.exit_code == 1
    assert "0 new, 0 changed, 0 as before, 2 unknown." in result.output


def test_predictions_are_logged_while_a_file_is_read(app, flask, ids):
    """Only the copying at the end locks the log."""

    class SlowFile(io.BytesIO):
        def readinto(self, buffer):
            app.extensions["inference"].predict([HAM], "api")[0]
            return super().readinto(buffer)

    from webapp.extras.review.import_reviews import import_reviews

    result = import_reviews(app.extensions["engine"], SlowFile(as_csv((ids[0], "ham"), (ids[1], "ham")).encode()))
    assert result.new == 2
    assert len(stored(app, predictions)) > 30


def test_a_log_that_cannot_be_written_is_said_and_stores_nothing(app, reviewer, ids, monkeypatch):
    monkeypatch.setattr("webapp.log.database.BUSY_TIMEOUT_S", 0.1)
    app.extensions["engine"].dispose()  # its open connections still have the long timeout
    with write_transaction(app.extensions["engine"]):
        answer = reviewer.post("/review", data={"prediction_id": ids[0], "true_label": "ham", "queue": "all"})
    assert answer.status_code == 503
    assert stored(app) == []

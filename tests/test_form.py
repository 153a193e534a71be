"""The form and its answer page, as a browser without JavaScript sees them."""

import datetime as dt
import re

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, execute, stored

from webapp.log.tables import failures, predictions
from webapp.web.words import how_long_ago

pytestmark = pytest.mark.databases("sqlite", "postgresql")


def send(client, text):
    return client.post("/", data={"text": text}, follow_redirects=True)


def test_messages_get_a_verdict_in_words_with_its_reasons_marked(client):
    page = send(client, SPAM).text
    for words in ("Looks like spam", "% likely spam", '<mark class="spam', "Contributions"):
        assert words in page
    assert "Looks fine" in send(client, HAM).text
    # Only what weighed much is marked.
    page = send(client, "Your parcel is waiting, pay £1.99 at http://royal-parcel.top or it goes back.").text
    assert re.search(r'<mark class="spam s3"[^>]*>http://royal-parcel.top</mark>', page)
    assert ">is</mark>" not in page
    assert "in a link" not in send(client, "Meet @ five @ six, call now").text


def test_what_is_just_below_the_threshold_is_not_shown_as_having_reached_it(app, client):
    address = client.post("/", data={"text": HAM}).location
    execute(app.extensions["engine"], sa.update(predictions).values(spam_probability=0.5999, threshold=0.6))
    page = " ".join(client.get(address).text.split())
    assert "59 % likely spam. It would be called spam from 60 % upwards" in page


def test_a_message_of_which_nothing_is_known_is_shown_without_reasons(app, client):
    address = client.post("/", data={"text": HAM}).location
    execute(app.extensions["engine"], sa.update(predictions).values(explanation=[]))
    page = client.get(address).text
    assert [words in page for words in ("knows no word", HAM[:10], "Contributions")] == [True, True, False]


def test_the_form_says_that_messages_are_stored_and_how_right_the_model_is(client):
    page = " ".join(client.get("/").text.split())
    assert "Each message is stored" in page
    assert re.search(r"It was right on [0-9.]+ % of [0-9,]+ messages of kinds that it had never seen", page)


def test_the_answer_has_an_address_of_its_own_and_reloading_it_does_not_predict_again(app, client):
    answer = client.post("/", data={"text": HAM})
    assert answer.status_code == 303
    for _ in range(2):
        assert client.get(answer.location).status_code == 200
    assert len(stored(app)) == 1


def test_times_are_told_as_people_tell_them():
    now = dt.datetime.now(dt.UTC)
    told = {-5: "just now", 50: "just now", 60: "1 minute ago", 7300: "2 hours ago", 90_000: "1 day ago"}
    assert {seconds: how_long_ago(now - dt.timedelta(seconds=seconds)) for seconds in told} == told


def test_a_message_that_cannot_be_checked_comes_back_with_the_reason(app, client):
    for text, reason in (("", "is empty"), (" \n\t ", "is empty"), ("x" * 10_001, "at most 10,000 characters")):
        answer = client.post("/", data={"text": text})
        assert answer.status_code == 422
        for words in (reason, "<textarea", text.strip()):
            assert words in answer.text
        assert not stored(app)
        assert reason in stored(app, failures)[-1].what
    # Browsers send a line break as two characters, but it counts as one.
    assert client.post("/", data={"text": "x\r\n" * 5000}).status_code == 303


def test_the_senders_report_is_stored_with_the_prediction_as_long_as_there_is_one(app, client, flask):
    address = client.post("/", data={"text": HAM}).location
    form = {"report": "maybe"}
    assert client.post(f"{address}/report", data=form).status_code == 422
    assert stored(app, predictions)[0].sender_report is None
    for form["report"] in ("right", "wrong", "unsure"):
        page = client.post(f"{address}/report", data=form, follow_redirects=True).text
        assert "Thank you" in page
        assert re.search(rf'value="{form["report"]}"\s+aria-pressed="true"', page)
        assert stored(app, predictions)[0].sender_report == form["report"]
    flask("log", "purge", "--older-than", "0d")
    assert client.post(f"{address}/report", data=form).status_code == 404
    assert client.get(address).status_code == 404

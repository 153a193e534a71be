"""Records of files and streams: each is logged once, however often it is repeated."""

import datetime as dt

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM

from webapp.errors import InvalidInput, LogUnavailable
from webapp.log.export import purge
from webapp.log.origins import add_predictions
from webapp.log.tables import origins, predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def inference(app):
    return app.extensions["inference"]


def count(app, table):
    with app.extensions["engine"].connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_a_repeated_record_keeps_its_prediction(app, inference):
    first = inference.predict_once({"stream t/0/1": SPAM, "stream t/0/2": HAM}, "stream")
    again = inference.predict_once({"stream t/0/3": SPAM, "stream t/0/2": HAM, "stream t/0/1": SPAM}, "stream")
    assert list(again) == ["stream t/0/3", "stream t/0/2", "stream t/0/1"]
    for origin, row in first.items():
        assert again[origin] == row
    assert again["stream t/0/3"]["id"] != first["stream t/0/1"]["id"]  # the same text, but another record
    assert count(app, predictions) == count(app, origins) == 3


def test_more_records_than_one_statement_takes(app, inference):
    texts = {f"batch r/{number}": f"message {number}" for number in range(1200)}
    first = inference.predict_once(texts, "batch")
    assert inference.predict_once(texts, "batch") == first
    assert [row["text"] for row in first.values()] == list(texts.values())
    assert count(app, predictions) == 1200


def test_a_text_that_cannot_be_used_is_named_and_none_is_logged(app, inference):
    with pytest.raises(InvalidInput, match="stream t/0/2 is empty"):
        inference.predict_once({"stream t/0/1": SPAM, "stream t/0/2": " "}, "stream")
    assert count(app, predictions) == 0


def test_of_two_that_log_the_same_record_one_is_refused_as_a_whole(app, inference):
    taken = inference.predict_once({"stream t/0/1": SPAM}, "stream")["stream t/0/1"]
    other = {**taken, "id": "00000000-0000-7000-8000-000000000000"}
    new = {**taken, "id": "00000000-0000-7000-8000-000000000001"}
    with pytest.raises(LogUnavailable):
        add_predictions(inference.log.engine, {"stream t/0/2": new, "stream t/0/1": other})
    assert count(app, predictions) == count(app, origins) == 1


def test_purging_a_prediction_forgets_its_record(app, inference):
    inference.predict_once({"stream t/0/1": SPAM}, "stream")
    purge(inference.log.engine, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert count(app, predictions) == count(app, origins) == 0

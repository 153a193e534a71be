"""Records of files and streams: each is logged once, however often it is repeated."""

import datetime as dt

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM

from webapp.errors import InvalidInput
from webapp.log.export import purge
from webapp.log.tables import idempotency_keys, new_id, predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def inference(app):
    return app.extensions["inference"]


def count(app, table):
    with app.extensions["engine"].connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def predict(inference, texts, source="stream"):
    return dict(zip(texts, inference.predict(list(texts.values()), source, list(texts)), strict=True))


def test_a_repeated_record_keeps_its_prediction(app, inference):
    first = predict(inference, {"stream t/0/1": SPAM, "stream t/0/2": HAM})
    again = predict(inference, {"stream t/0/3": SPAM, "stream t/0/2": HAM, "stream t/0/1": SPAM})
    assert list(again) == ["stream t/0/3", "stream t/0/2", "stream t/0/1"]
    for key, row in first.items():
        assert again[key] == {**again[key], **row}
    assert again["stream t/0/3"]["id"] != first["stream t/0/1"]["id"]  # the same text, but another record
    assert count(app, predictions) == count(app, idempotency_keys) == 3


def test_more_records_than_one_statement_takes(app, inference):
    texts = {f"batch r/{number}": f"message {number}" for number in range(1200)}
    first = predict(inference, texts, "batch")
    again = predict(inference, texts, "batch")
    assert [row["id"] for row in again.values()] == [row["id"] for row in first.values()]
    assert [row["text"] for row in first.values()] == list(texts.values())
    assert count(app, predictions) == 1200


def test_a_text_that_cannot_be_used_leaves_none_logged(app, inference):
    with pytest.raises(InvalidInput, match="is empty"):
        predict(inference, {"stream t/0/1": SPAM, "stream t/0/2": " "})
    assert count(app, predictions) == 0


def test_what_another_process_logs_meanwhile_counts(app, inference, monkeypatch):
    taken = predict(inference, {"stream t/0/1": SPAM})["stream t/0/1"]
    find, found = inference.log.find_by_key, [{}]  # the first look comes too early to see it
    monkeypatch.setattr(inference.log, "find_by_key", lambda keys: found.pop() if found else find(keys))
    both = predict(inference, {"stream t/0/2": HAM, "stream t/0/1": SPAM})
    assert both["stream t/0/1"]["id"] == taken["id"]
    assert count(app, predictions) == count(app, idempotency_keys) == 2


def test_rows_get_their_ids_when_they_are_stored(inference):
    rows = inference.score([SPAM], "batch", inference.registry.current())
    assert "id" not in rows[0]
    before = new_id()
    inference.log.add(predictions, rows)
    assert rows[0]["id"] > before


def test_purging_a_prediction_forgets_its_record(app, inference):
    predict(inference, {"stream t/0/1": SPAM})
    purge(inference.log.engine, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    assert count(app, predictions) == count(app, idempotency_keys) == 0

"""The sums by the hour: always what the log itself would say."""

import datetime as dt
import random
from collections import Counter

import pytest
import sqlalchemy as sa

from webapp.errors import NotReady
from webapp.extras.monitor import rollups
from webapp.extras.monitor.rollups import LATENCY_BUCKET, PREDICTIONS, REQUESTS, bucket_ms, count, refresh_rollups
from webapp.extras.review.sampling import fair_sample
from webapp.log.ids import first_id, moment_of, new_id
from webapp.log.tables import failures, hourly_predictions, predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")

NOW = dt.datetime(2026, 3, 4, 12, 34, 56, tzinfo=dt.UTC)


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def log(engine):
    """Put predictions into the log: log(100, hours=48, until=NOW) spreads them evenly."""

    def put(number, hours, until=NOW):
        rows = []
        for i in range(number):
            at = until - dt.timedelta(hours=hours) * (number - i) / number
            rows.append(
                {
                    "id": first_id(at)[:-12] + new_id()[-12:],
                    "created_at": at,
                    "source": random.choice(["form", "api"]),
                    "text": f"message {i}",
                    "label": random.choice(["spam", "ham"]),
                    "spam_probability": 0.5,
                    "threshold": 0.4,
                    "model_version": random.choice(["v1", "v2"]),
                    "latency_ms": random.lognormvariate(0, 1.5),
                }
            )
        with engine.begin() as connection:
            connection.execute(sa.insert(predictions), rows)
        return rows

    return put


def hour_of(row):
    return row["created_at"].replace(minute=0, second=0, microsecond=0)


def test_counts_are_those_of_the_log_before_and_after_the_sums_are_made(engine, log):
    rows = log(500, hours=30) + log(200, hours=2, until=dt.datetime.now(dt.UTC))
    expected = Counter((hour_of(row), row["label"], row["source"]) for row in rows)
    assert count(engine, PREDICTIONS, ("hour", "label", "source")) == expected
    log(50, hours=1)  # late rows of an hour that was summed up already are not seen ...
    with engine.begin() as connection:
        rollups.forget_sums(connection)
    assert count(engine, PREDICTIONS)[()] == 750  # ... until it is counted anew


def test_new_rows_are_added_to_their_hour(engine, log):
    log(100, hours=0.5)
    refresh_rollups(engine)
    log(100, hours=0.2, until=dt.datetime.now(dt.UTC))
    assert count(engine, PREDICTIONS)[()] == 200
    refresh_rollups(engine, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2))
    with engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.sum(hourly_predictions.c.count))).scalar() == 200
    assert count(engine, PREDICTIONS)[()] == 200


def test_counts_can_be_of_a_range_and_a_version(engine, log):
    rows = log(300, hours=10)
    since = NOW.replace(minute=0, second=0) - dt.timedelta(hours=5)
    chosen = [row for row in rows if since <= row["created_at"] and row["model_version"] == "v2"]
    assert count(engine, PREDICTIONS, since=since, model_version="v2")[()] == len(chosen)
    assert count(engine, PREDICTIONS, until=since)[()] == sum(row["created_at"] < since for row in rows)


def test_two_that_sum_up_at_once_count_each_row_once(engine, log, monkeypatch):
    log(100, hours=3)
    summed, real = [], rollups.SUMS[PREDICTIONS]

    def meanwhile(*arguments):
        if not summed:
            summed.append(True)
            refresh_rollups(engine)
        return real(*arguments)

    monkeypatch.setitem(rollups.SUMS, PREDICTIONS, meanwhile)
    refresh_rollups(engine)
    assert count(engine, PREDICTIONS)[()] == 100


def test_summing_up_for_long_gives_up_and_goes_on_where_it_was(engine, log):
    log(100, hours=80)
    with pytest.raises(NotReady, match="Please try again"):
        refresh_rollups(engine, patience_s=-1)
    with engine.connect() as connection:
        assert 0 < connection.execute(sa.select(sa.func.sum(hourly_predictions.c.count))).scalar() < 100
    assert count(engine, PREDICTIONS)[()] == 100


def test_failures_are_counted_by_kind(engine, client):
    for _ in range(3):
        client.post("/api/v1/predict", json={"text": ""})
    client.post("/api/v1/predict", data="no json")
    counted = count(engine, REQUESTS, ("source", "status"))
    assert counted == {("api", 422): 3, ("api", 415): 1}
    with engine.begin() as connection:
        connection.execute(sa.update(failures).values(source="form"))
    refresh_rollups(engine, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2))
    assert count(engine, REQUESTS, ("source",)) == {("form",): 4}


def test_a_request_with_many_texts_is_one_and_rows_of_files_are_none(engine, client, app):
    client.post("/api/v1/predict/batch", json={"texts": ["one", "two", "three"]})
    client.post("/", data={"text": "a message"})
    app.extensions["inference"].predict(["a row", "another"], "batch")
    for now in (dt.datetime.now(dt.UTC), dt.datetime.now(dt.UTC) + dt.timedelta(minutes=2)):  # before and after summing
        refresh_rollups(engine, now)
        assert count(engine, REQUESTS, ("source", "status")) == {("api", 200): 1, ("form", 200): 1}


def test_a_latency_bucket_stands_for_its_latencies_to_five_per_cent(engine, log):
    rows = log(500, hours=1)
    with engine.connect() as connection:
        query = sa.select(predictions.c.latency_ms, LATENCY_BUCKET)
        for latency, bucket in connection.execute(query):
            assert bucket_ms(bucket) == pytest.approx(latency, rel=0.051, abs=0.0006)
    assert len(rows) == 500
    assert [bucket_ms(bucket) for bucket in (-288, 40, -85, 295)] == [0.012, 40, 1.5, 9500]


def test_the_log_can_be_recounted_by_a_command(flask, log):
    log(20, hours=5)
    assert "20 predictions counted" in flask("log", "recount").output


def test_an_id_tells_its_time():
    assert moment_of(first_id(NOW)) == NOW
    now = dt.datetime.now(dt.UTC)
    assert abs(moment_of(new_id()) - now) < dt.timedelta(seconds=1)
    assert first_id(now - dt.timedelta(seconds=1)) < new_id() < first_id(now + dt.timedelta(seconds=1))


def test_a_fair_sample_gives_every_row_the_same_chance(engine, log, monkeypatch):
    rows = {row["id"] for row in log(4000, hours=10)}
    whole = (NOW - dt.timedelta(hours=11), NOW)
    drawn = fair_sample(engine, *whole, 100, "seed")
    assert len(set(drawn)) == 100
    assert set(drawn) <= rows
    assert drawn == fair_sample(engine, *whole, 100, "seed")
    assert drawn != fair_sample(engine, *whole, 100, "another seed")
    early = sum(moment_of(id_) < NOW - dt.timedelta(hours=5) for id_ in fair_sample(engine, *whole, 1000))
    assert 420 < early < 580  # 500 expected, standard deviation 14 or so
    monkeypatch.setattr("webapp.extras.review.sampling.MANY", 1000)
    assert {id_[-1] for id_ in fair_sample(engine, *whole, 20)} == {"0"}
    assert fair_sample(engine, NOW, NOW + dt.timedelta(hours=1), 10) == []

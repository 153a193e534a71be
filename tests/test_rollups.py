"""The sums by the hour, always what the log itself would say; and latency, errors and traffic, which come from them."""

import datetime as dt
import random
from collections import Counter

import numpy as np
import pytest
import sqlalchemy as sa
from conftest import execute

from webapp.errors import InvalidInput
from webapp.extras.monitor import rollups
from webapp.extras.monitor.report import errors, quantiles, traffic_and_latency
from webapp.extras.monitor.rollups import Span, count, refresh_rollups, span
from webapp.extras.review.samples import fair_sample
from webapp.log.tables import failures, first_id, hourly_predictions, hourly_requests, moment_of, new_id, predictions

on_both = pytest.mark.databases("sqlite", "postgresql")

NOW = dt.datetime(2026, 3, 4, 12, 34, 56, tzinfo=dt.UTC)


def row_at(at, **values):
    row = {"id": first_id(at)[:-12] + new_id()[-12:], "created_at": at, "source": "api", "label": "ham"}
    row |= {"spam_probability": 0.5, "threshold": 0.4, "model_version": "v1", "latency_ms": 1.0}
    return row | values


@pytest.fixture
def put(engine):
    """Put a prediction into the log: put(2, label="spam"), two hours ago."""

    def put(hours_ago, number=1, **values):
        rows = [row_at(NOW - dt.timedelta(hours=hours_ago), **values) for _ in range(number)]
        execute(engine, sa.insert(predictions), rows)

    return put


@pytest.fixture
def log(engine):
    """Put predictions into the log: log(100, hours=48, until=NOW) spreads them evenly."""

    def put(number, hours, until=NOW):
        choices = {"source": ["form", "api"], "label": ["spam", "ham"], "model_version": ["v1", "v2"]}
        rows = []
        for i in range(number):
            chosen = {name: random.choice(values) for name, values in choices.items()}
            at = until - dt.timedelta(hours=hours) * (number - i) / number
            rows.append(row_at(at, latency_ms=random.lognormvariate(0, 1.5), **chosen))
        execute(engine, sa.insert(predictions), rows)
        return rows

    return put


def summed(engine):
    return execute(engine, sa.select(sa.func.sum(hourly_predictions.c.count)))[0]


@on_both
def test_sums_are_those_of_the_log(engine, log):
    now = dt.datetime.now(dt.UTC)
    rows = log(300, hours=30) + log(200, hours=2, until=now)
    expected = Counter(
        (row["created_at"].replace(minute=0, second=0, microsecond=0), row["label"], row["source"]) for row in rows
    )
    assert count(engine, hourly_predictions, ("hour", "label", "source")) == expected
    assert 300 < summed(engine) < 500  # those of the last minute are counted as they are
    refresh_rollups(engine, now + dt.timedelta(minutes=2))
    assert summed(engine) == count(engine, hourly_predictions)[()] == 500
    since = NOW.replace(minute=0, second=0) - dt.timedelta(hours=5)
    chosen = [row for row in rows if since <= row["created_at"] and row["model_version"] == "v2"]
    assert count(engine, hourly_predictions, span=Span("", since, now + rollups.HOUR, "v2"))[()] == len(chosen)
    before = Span("", dt.datetime(2020, 1, 1, tzinfo=dt.UTC), since)
    assert count(engine, hourly_predictions, span=before)[()] == sum(row["created_at"] < since for row in rows)


def test_rows_that_come_late_are_seen_once_the_log_is_recounted(engine, log, flask):
    log(20, hours=5)
    refresh_rollups(engine)
    log(20, hours=5)
    assert count(engine, hourly_predictions)[()] == 20
    assert "40 predictions counted" in flask("log", "recount").output


@on_both
def test_requests_are_counted_by_status_and_rows_of_files_are_none(engine, client, app):
    for _ in range(3):
        client.post("/api/v1/predict", json={"text": ""})
    client.post("/api/v1/predict", data="no json")
    client.post("/api/v1/predict/batch", json={"texts": ["one", "two", "three"]})  # many texts are one request
    client.post("/", data={"text": "a message"})
    for _ in range(2):  # some clients give all their requests one id
        client.post("/", data={"text": "a message"}, headers={"X-Request-ID": "mobile-app"})
    app.extensions["inference"].predict(["a row", "another"], "batch")
    expected = {("api", 422): 3, ("api", 415): 1, ("api", 200): 1, ("form", 200): 3}
    for minutes in (0, 2):  # before and after they are summed up
        refresh_rollups(engine, dt.datetime.now(dt.UTC) + dt.timedelta(minutes=minutes))
        assert count(engine, hourly_requests, ("source", "status")) == expected


@on_both
def test_a_fair_sample_gives_every_row_the_same_chance(engine, log, monkeypatch):
    rows = {row["id"] for row in log(4000, hours=10)}
    whole = (NOW - dt.timedelta(hours=11), NOW)
    drawn = fair_sample(engine, *whole, 100, "seed")
    assert len(set(drawn)) == 100
    assert set(drawn) <= rows
    early = sum(moment_of(id_) < NOW - dt.timedelta(hours=5) for id_ in fair_sample(engine, *whole, 1000))
    assert 420 < early < 580  # 500 expected, standard deviation 14 or so
    monkeypatch.setattr("webapp.extras.review.samples.MANY", 1000)
    assert {id_[-1] for id_ in fair_sample(engine, *whole, 20)} == {"0"}
    assert fair_sample(engine, NOW, NOW + dt.timedelta(hours=1), 10) == []


def test_a_span_is_of_whole_hours_and_begins_with_the_log(engine, put):
    assert len(span(engine, "all", now=NOW).steps()) == 1
    put(30)
    assert span(engine, "7d", now=NOW).since == dt.datetime(2026, 3, 3, 6, tzinfo=dt.UTC)
    assert len(span(engine, "all", now=NOW).steps()) == 31
    put(1000)
    day = span(engine, "24h", now=NOW)
    assert (day.since.isoformat(), day.until.isoformat()) == ("2026-03-03T13:00:00+00:00", "2026-03-04T13:00:00+00:00")
    assert len(day.steps()) == 24
    week = span(engine, "7d", now=NOW)
    assert [step.hour for step in week.steps()] == [0] * 8  # days, of which the first and the last are not whole
    put(27 * 365 * 24)  # a clock that was wrong
    months = span(engine, "all", now=NOW).steps()
    assert (len(months), {step.day for step in months}) == (325, {1})
    with pytest.raises(InvalidInput, match="24h, 7d, 30d, all"):
        span(engine, "yesterday")


@on_both
def test_traffic_by_label_and_hour(engine, put):
    put(1, label="spam")
    put(1)
    put(10_000, 2)
    put(5, source="form", model_version="v2")
    put(50)
    traffic, _ = traffic_and_latency(engine, span(engine, "24h", now=NOW))
    assert (traffic["predictions"], traffic["called_spam"], traffic["called_ham"]) == (3, 1, 2)
    hours = {point["at"][11:13]: point for point in traffic["over_time"]}
    assert (len(hours), hours["11"]) == (24, {"at": "2026-03-04T11:00:00+00:00", "spam": 1, "ham": 1})
    assert traffic_and_latency(engine, span(engine, "24h", "v2", NOW))[0]["predictions"] == 1
    week, _ = traffic_and_latency(engine, span(engine, "7d", now=NOW))
    days = {point["at"][:10]: point["spam"] + point["ham"] for point in week["over_time"]}
    assert {day: number for day, number in days.items() if number} == {"2026-03-02": 1, "2026-03-04": 3}
    months, _ = traffic_and_latency(engine, span(engine, "all", now=NOW))
    counts = [(point["at"][:10], point["ham"]) for point in months["over_time"]]
    assert (counts[0], counts[1], counts[-1]) == (("2025-01-01", 2), ("2025-02-01", 0), ("2026-03-01", 3))


@on_both
def test_quantiles_are_those_of_numpy_to_two_digits(engine, put):
    _, empty = traffic_and_latency(engine, span(engine, "24h", now=NOW))
    assert (empty["p50"], empty["p99"]) == (None, None)
    latencies = np.random.default_rng(0).lognormal(0, 1.5, 100)
    for value in latencies:
        put(2, latency_ms=float(value))
    put(3, source="form", latency_ms=40.6)
    _, latency = traffic_and_latency(engine, span(engine, "24h", now=NOW))
    expected = np.quantile([*latencies, 40.6], [0.5, 0.95, 0.99], method="inverted_cdf")
    assert [latency[name] for name in ("p50", "p95", "p99")] == pytest.approx(expected, rel=0.05)
    assert latency["by_source"]["form"] == {"n": 1, "p50": 41.0, "p95": None, "p99": None}  # of so few: the slowest
    assert quantiles(Counter({-90: 98, -80: 1, 40: 1})) == {"p50": 1.0, "p95": 1.0, "p99": 2.0}


def test_errors_tell_refused_from_failed(engine, put):
    assert errors(engine, span(engine, "24h", now=NOW))["share_failed"] is None
    put(1, 6)
    put(1, 100, source="batch")
    kinds = [(1, 422, "Cannot be used"), (2, 422, "Cannot be used"), (2, 500, "Something"), (2, 422, "Another")]
    for hours_ago, status, what in kinds:
        row = row_at(NOW - dt.timedelta(hours=hours_ago))
        row = {name: row[name] for name in ("id", "created_at", "source")}
        execute(engine, sa.insert(failures).values(**row, status=status, what=what))
    counted = errors(engine, span(engine, "24h", now=NOW))
    assert (counted["requests"], counted["refused"], counted["failed"]) == (10, 3, 1)
    assert counted["share_failed"] == 0.1
    assert counted["by_kind"][0] == {"source": "api", "status": 422, "what": "Cannot be used", "count": 2}
    assert {point["at"][11:13]: point["refused"] for point in counted["over_time"]}["10"] == 2

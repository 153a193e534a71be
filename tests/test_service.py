"""Latency, errors and traffic: hand-computed cases, and agreement with the log itself."""

import datetime as dt
from collections import Counter

import numpy as np
import pytest
import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.monitor.service import errors, histogram, latency, predictions_of, quantiles, traffic
from webapp.extras.monitor.span import span
from webapp.log.ids import first_id, new_id
from webapp.log.tables import failures, predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")

NOW = dt.datetime(2026, 3, 4, 12, 34, 56, tzinfo=dt.UTC)


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


def put(engine, hours_ago, label="ham", source="api", latency_ms=1.0, model_version="v1"):
    at = NOW - dt.timedelta(hours=hours_ago)
    row = {
        "id": first_id(at)[:-12] + new_id()[-12:],
        "created_at": at,
        "source": source,
        "label": label,
        "spam_probability": 0.5,
        "threshold": 0.4,
        "model_version": model_version,
        "latency_ms": latency_ms,
    }
    with engine.begin() as connection:
        connection.execute(sa.insert(predictions), [row])


def fail(engine, hours_ago, status, what="Something"):
    at = NOW - dt.timedelta(hours=hours_ago)
    row = {"id": first_id(at)[:-12] + new_id()[-12:], "created_at": at, "source": "api", "status": status, "what": what}
    with engine.begin() as connection:
        connection.execute(sa.insert(failures), [row])


def traffic_of(engine, chosen):
    return traffic(predictions_of(engine, chosen), chosen)


def latency_of(engine, chosen):
    return latency(predictions_of(engine, chosen), chosen)


def test_a_span_does_not_begin_before_the_log(engine):
    put(engine, 2)
    assert span(engine, "7d", now=NOW).since == dt.datetime(2026, 3, 4, 10, tzinfo=dt.UTC)
    assert len(span(engine, "7d", now=NOW).steps()) == 3


def test_a_span_ends_with_the_current_hour_and_knows_the_one_before(engine):
    put(engine, 1000)
    day = span(engine, "24h", now=NOW)
    assert (day.since.isoformat(), day.until.isoformat()) == ("2026-03-03T13:00:00+00:00", "2026-03-04T13:00:00+00:00")
    assert (day.before.since, day.before.until) == (day.since - dt.timedelta(days=1), day.since)
    assert len(day.steps()) == 24
    week = span(engine, "7d", now=NOW)
    assert [step.hour for step in week.steps()] == [0] * 8  # days, of which the first and the last are not whole
    with pytest.raises(InvalidInput, match="24h, 7d, 30d, all"):
        span(engine, "yesterday")


def test_all_begins_with_the_first_prediction(engine):
    assert len(span(engine, "all", now=NOW).steps()) == 1
    put(engine, 30)
    everything = span(engine, "all", now=NOW)
    assert everything.since == dt.datetime(2026, 3, 3, 6, tzinfo=dt.UTC)
    assert len(everything.steps()) == 31


def test_traffic_by_label_source_and_hour(engine):
    put(engine, 1, "spam")
    put(engine, 1)
    put(engine, 1000)
    put(engine, 5, source="form", model_version="v2")
    put(engine, 50)
    counted = traffic_of(engine, span(engine, "24h", now=NOW))
    assert (counted["predictions"], counted["called_spam"], counted["share_called_spam"]) == (3, 1, 0.3333)
    assert counted["by_source"] == {"api": 2, "form": 1}
    hours = {point["at"][11:13]: point for point in counted["over_time"]}
    assert len(hours) == 24
    assert hours["11"] == {"at": "2026-03-04T11:00:00+00:00", "spam": 1, "ham": 1, "api": 2, "form": 0}
    assert hours["07"]["ham"] == 1
    assert traffic_of(engine, span(engine, "24h", "v2", NOW))["predictions"] == 1
    week = traffic_of(engine, span(engine, "7d", now=NOW))
    assert week["predictions"] == 4
    days = {point["at"][:10]: point["spam"] + point["ham"] for point in week["over_time"]}
    assert {day: number for day, number in days.items() if number} == {"2026-03-02": 1, "2026-03-04": 3}


def test_an_empty_span_has_no_figures_but_no_faults(engine):
    empty = span(engine, "24h", now=NOW)
    assert traffic_of(engine, empty)["share_called_spam"] is None
    assert latency_of(engine, empty)["p99"] is None
    assert latency_of(engine, empty)["histogram"] == []
    assert errors(engine, empty)["share_failed"] is None


def test_quantiles_are_those_of_numpy_to_two_digits(engine):
    latencies = np.random.default_rng(0).lognormal(0, 1, 300)
    for value in latencies:
        put(engine, 2, latency_ms=float(value))
    put(engine, 3, source="form", latency_ms=40.0)
    figures = latency_of(engine, span(engine, "24h", now=NOW))
    expected = np.quantile([*latencies, 40.0], [0.5, 0.95, 0.99], method="inverted_cdf")
    assert [figures[name] for name in ("p50", "p95", "p99")] == pytest.approx(expected, rel=0.05)
    assert figures["by_source"]["form"] == {"n": 1, "p50": 40.0, "p95": None, "p99": None}
    assert figures["n"] == sum(bar["count"] for bar in figures["histogram"]) == 301


def test_quantiles_by_hand():
    assert quantiles(Counter({-90: 98, -80: 1, 40: 1})) == {"p50": 1.0, "p95": 1.0, "p99": 2.0}
    assert quantiles(Counter({-90: 20})) == {"p50": 1.0, "p95": 1.0, "p99": None}  # of 20 it would be the slowest


def test_the_histogram_shows_where_latencies_are_and_nothing_beyond():
    assert histogram({-185: 2, -170: 1, -90: 4}) == [
        {"from": 0.1, "to": 0.2, "count": 2},
        {"from": 0.2, "to": 0.5, "count": 1},
        {"from": 0.5, "to": 1.0, "count": 0},
        {"from": 1.0, "to": 2.0, "count": 4},
    ]


def test_errors_tell_refused_from_failed(engine):
    for _ in range(6):
        put(engine, 1)
    for _ in range(100):
        put(engine, 1, source="batch")  # rows of a file are no requests
    fail(engine, 1, 422, "The input cannot be used")
    fail(engine, 2, 422, "The input cannot be used")
    fail(engine, 2, 500)
    fail(engine, 2, 422, "Another")
    counted = errors(engine, span(engine, "24h", now=NOW))
    assert (counted["requests"], counted["refused"], counted["failed"]) == (10, 3, 1)
    assert (counted["share_refused"], counted["share_failed"]) == (0.3, 0.1)
    assert counted["by_kind"][0] == {"source": "api", "status": 422, "what": "The input cannot be used", "count": 2}
    assert {point["at"][11:13]: point["refused"] for point in counted["over_time"]}["10"] == 2

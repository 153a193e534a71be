"""The clock is set back: no row is lost or there twice, and every page says what is true."""

import datetime as dt
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import HAM, PASSWORD, SPAM, execute
from repetitions import of_a_kind

from webapp.extras.monitor.rollups import count_predictions
from webapp.log.tables import hourly_predictions, moment_of, predictions

REAL, REAL_NS = dt.datetime, time.time_ns
PAGES = ("/", "/monitor", "/monitor?range=all", "/review", "/models", "/batch", "/metrics", "/readyz")
HOUR = 3600


class _Kind(type):
    def __instancecheck__(cls, thing):
        return isinstance(thing, REAL)


class Clock(REAL, metaclass=_Kind):
    """datetime, by a clock that is so many seconds ahead of the right one."""

    ahead = 0.0

    def __new__(cls, *parts, **named):
        return REAL(*parts, **named)

    @classmethod
    def now(cls, tz=None):
        return REAL.now(tz) + dt.timedelta(seconds=Clock.ahead)


@pytest.fixture
def clock(app, monkeypatch):
    monkeypatch.setattr(Clock, "ahead", 0.0)
    monkeypatch.setattr(dt, "datetime", Clock)
    monkeypatch.setattr(time, "time_ns", lambda: REAL_NS() + int(Clock.ahead * 1e9))
    return Clock


def predict(app, times=40):
    """Send so many messages from several threads; return the ids of the answers."""
    with ThreadPoolExecutor(4) as clients:
        answers = clients.map(
            lambda number: app.test_client().post("/api/v1/predict", json={"text": f"{SPAM} {number}"}), range(times)
        )
        return [answer.json["id"] for answer in answers]


@pytest.mark.databases(*of_a_kind("sqlite", "postgresql"))
@pytest.mark.parametrize("back", of_a_kind(3 * HOUR, 90, 400 * 24 * HOUR))
def test_after_a_clock_was_set_back_every_row_is_there_once_and_counted_once(app, client, clock, back):
    engine = app.extensions["engine"]
    client.post("/login", data={"password": PASSWORD})
    clock.ahead = back
    answered = predict(app)
    clock.ahead = back + 300
    assert count_predictions(engine) == 40
    assert execute(engine, sa.select(sa.func.sum(hourly_predictions.c.count))) == [40]  # so they are summed up by now
    clock.ahead = 0
    answered += predict(app)
    assert abs(moment_of(answered[-1]) - REAL.now(dt.UTC)) < dt.timedelta(minutes=5)
    for ahead in (0, 150, back / 2, back + 2 * HOUR):  # until the clock has come past the leap again
        clock.ahead = ahead
        assert count_predictions(engine) == len(answered)
        answered += predict(app, 5)
        assert count_predictions(engine) == len(answered)
        assert {path: client.get(path).status_code for path in PAGES} == dict.fromkeys(PAGES, 200)
        assert client.get(f"/predictions/{answered[0]}").status_code == 200
    assert sorted(execute(engine, sa.select(predictions.c.id))) == sorted(answered)
    assert len(set(answered)) == len(answered)


def test_whoever_waits_after_wrong_passwords_does_not_wait_for_the_clock(client, clock):
    clock.ahead = 3 * HOUR
    while client.post("/login", data={"password": "wrong"}).status_code != 429:
        pass
    assert client.post("/login", data={"password": PASSWORD}).status_code == 429
    clock.ahead = 0
    assert client.post("/login", data={"password": PASSWORD}).status_code == 303


def test_a_message_from_the_future_is_shown_as_of_now(client, clock):
    clock.ahead = 3 * HOUR
    address = client.post("/", data={"text": HAM}).location
    clock.ahead = 0
    assert "just now" in client.get(address).text

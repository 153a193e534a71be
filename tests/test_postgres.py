"""What is PostgreSQL's own: time limits, encodings, what it cannot hold, and a log that several hosts share."""

import datetime as dt
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from clients import Load, assert_answered_means_stored, wait_until
from conftest import HAM, PASSWORD, Browser, Server, execute, need
from postgres import pgbouncer

from webapp.app import create_app
from webapp.extras.monitor.rollups import count, refresh_rollups
from webapp.log.database import TIMEOUTS
from webapp.log.tables import hourly_predictions, predictions

pytestmark = pytest.mark.databases("postgresql")


@pytest.fixture
def hosts(tmp_path, database_url):
    """Two servers with folders of their own and one log."""
    same = {
        "HAMLET_DATABASE_URL": database_url,
        "HAMLET_SECRET_KEY": "the same on all hosts, and long enough",
        "HAMLET_WORKERS": "2",
    }
    hosts = [Server(tmp_path / name, **same) for name in ("one", "two")]
    with ThreadPoolExecutor() as pool:  # at once: the second has to wait while the first makes the tables
        list(pool.map(Server.start, hosts))
    yield hosts
    for host in hosts:
        host.stop(signal.SIGKILL)


def test_a_locked_table_is_a_503_in_time_and_then_all_is_well(client, engine, monkeypatch):
    for module in ("database", "writer"):
        monkeypatch.setattr(f"webapp.log.{module}.TIMEOUTS", TIMEOUTS.replace("5s", "1s"))
    with engine.begin() as other:
        other.execute(sa.text("LOCK TABLE predictions, schema_version"))
        started = time.monotonic()
        answer = client.post("/api/v1/predict", json={"text": HAM})
        assert answer.status_code == 503
        assert "try again" in answer.json["detail"]
        assert client.get("/readyz").status_code == 503
        assert time.monotonic() - started < 5
        assert client.get("/healthz").status_code == 200
    assert client.post("/api/v1/predict", json={"text": HAM}).status_code == 200
    assert client.get("/readyz").status_code == 200


def test_predictions_do_not_wait_for_those_that_take_turns(client, engine):
    with engine.execution_options(transaction="write").connect() as other:
        other.execute(sa.text("SELECT 1"))
        started = time.monotonic()
        assert client.post("/api/v1/predict", json={"text": HAM}).status_code == 200
        assert time.monotonic() - started < 2


def test_what_it_cannot_hold_is_refused_as_the_sender_s_fault(client, key):
    assert client.get("/api/v1/predictions?text=a%00b", headers=key).status_code == 422
    assert client.get("/api/v1/predictions/a%00b").status_code == 422
    assert client.get("/predictions/a%00b").status_code == 422
    answer = client.post("/api/v1/predict", json={"text": "a\0b"})
    assert (answer.status_code, "NUL" in answer.json["detail"]) == (422, True)


def test_a_database_that_cannot_hold_every_message_is_refused(postgres, tmp_path):
    refused = pytest.raises(SystemExit, match="cannot start: .* encoded as SQL_ASCII.* createdb --encoding UTF8")
    with postgres.database("ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0") as url, refused:
        create_app(tmp_path / "instance", DATABASE_URL=url)


def test_times_are_utc_whatever_the_server_s_time_zone(postgres, client, database_url, engine):
    postgres.execute(f"ALTER DATABASE {engine.url.database} SET timezone = 'Asia/Kathmandu'")
    engine.dispose()
    id_ = client.post("/api/v1/predict", json={"text": HAM}).json["id"]
    created_at = dt.datetime.fromisoformat(client.get(f"/api/v1/predictions/{id_}").json["created_at"])
    assert abs(dt.datetime.now(dt.UTC) - created_at) < dt.timedelta(minutes=1)
    (hour,) = count(engine, hourly_predictions, ("hour",)).elements()
    assert hour[0] <= created_at < hour[0] + dt.timedelta(hours=1)


def test_sums_are_right_while_others_sum_up_and_predict(client, engine, monkeypatch):
    """Each look at the sums sees one moment: no row is missing, none is counted twice."""
    monkeypatch.setattr("webapp.extras.monitor.rollups.SETTLED", dt.timedelta(seconds=2))  # a busy machine commits late
    stop, seen, stored = threading.Event(), [], []

    def predict():
        while not stop.is_set():
            client.application.test_client().post("/api/v1/predict", json={"text": HAM})

    def sum_up():
        while not stop.is_set():
            refresh_rollups(engine)

    threads = [threading.Thread(target=work) for work in (predict, predict, sum_up, sum_up)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 4
    while time.monotonic() < deadline:
        stored.append(len(execute(engine, sa.select(predictions.c.id))))
        seen.append(count(engine, hourly_predictions)[()])
    stop.set()
    for thread in threads:
        thread.join()
    assert stored[-1] > 20
    assert all(before <= counted for before, counted in zip(stored, seen, strict=True))
    assert count(engine, hourly_predictions)[()] == len(set(execute(engine, sa.select(predictions.c.id))))


def test_two_hosts_under_load_lose_nothing_when_a_worker_or_the_database_dies(hosts, postgres):
    with Load(hosts[0].port) as one, Load(hosts[1].port) as other:
        both = (one, other)
        for load in both:
            load.wait_for(50)
        os.kill(hosts[0].workers()[0], signal.SIGKILL)
        for load in both:
            load.wait_for(50)
            assert load.refused == {}
        for how in ("fast", "immediate"):  # as an update does, and as a crash
            postgres.stop(how)
            for host in hosts:
                status, answer = host.call("/readyz")
                assert (status, answer["title"]) == (503, "The log cannot be used")
                assert host.call("/api/v1/predictions/x")[0] == 503
            for load in both:
                wait_until(lambda load=load: load.refused[503] > 0)
            postgres.start()
            wait_until(lambda: [host.call("/readyz")[0] for host in hosts] == [200, 200])
            for load in both:
                load.wait_for(20)  # what was asked before is answered
            before = [dict(load.refused) for load in both]
            for load in both:
                load.wait_for(50)
            assert [dict(load.refused) for load in both] == before  # by itself, and no dead connection was left over
    for load in both:
        assert set(load.refused) == {503}
        assert_answered_means_stored(hosts[0], load)
    assert other.cut_off == []  # one may have lost what the dead worker had
    last = list(one.answered.values())[-1]
    assert all(host.call(f"/api/v1/predictions/{last}")[0] == 200 for host in hosts)
    assert "Traceback" not in "".join(host.output() for host in hosts)


def test_behind_pgbouncer_each_transaction_may_have_another_session(tmp_path, database_url):
    program = need("pgbouncer", "on Debian, apt-get install pgbouncer")
    with pgbouncer(program, database_url) as url:
        wait_until(lambda: socket.create_connection(("127.0.0.1", sa.make_url(url).port)).close() is None)
        with Server(tmp_path / "instance", HAMLET_DATABASE_URL=url) as server:
            with Load(server.port, clients=12) as load:
                for _ in range(30):
                    load.wait_for(10)
                    id_ = list(load.answered.values())[-1]
                    assert server.call(f"/api/v1/predictions/{id_}")[1]["id"] == id_
                    assert server.call("/readyz")[0] == 200
                browser = Browser(server.url, PASSWORD)
                assert [browser.ask(path)[0] for path in ("/review", "/monitor")] == [200, 200]
            assert (load.refused, load.cut_off) == ({}, [])
            assert_answered_means_stored(server, load)


def test_time_limits_hold_in_each_transaction_and_not_longer(engine):
    """A session is shared with other programs where a pooler lends it."""
    ask = sa.text("SELECT current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')")
    for options, limits in (({}, "5s 20s"), ({"no_timeout": True}, "0 0")):
        with engine.execution_options(**options).connect() as connection:
            assert connection.execute(ask).scalar() == limits
            connection.commit()
            driver = connection.connection.driver_connection
            assert driver.execute(str(ask)).fetchone() == ("0 0",)
            driver.rollback()

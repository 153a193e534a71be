"""Another program holds the log: requests wait for it, or say clearly that they cannot; then all goes on."""

import contextlib
import sqlite3
import time

import pytest
from clients import Load, assert_answered_means_stored, wait_until
from conftest import HAM
from repetitions import of_a_kind

from webapp.log.database import BUSY_TIMEOUT_S

SLACK_S = 30  # for a loaded machine


@contextlib.contextmanager
def locked(server, how):
    """Hold the log for what is done within."""
    path = server.instance_folder / "log.db"
    with contextlib.closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as other:
        other.execute(f"BEGIN {how}")
        yield
        other.execute("ROLLBACK")


@pytest.mark.parametrize("how", of_a_kind("EXCLUSIVE", "IMMEDIATE"))
def test_a_log_that_is_locked_for_ten_seconds(shared_server, how):
    server = shared_server
    with Load(server.port) as load:
        load.wait_for(20)
        with locked(server, how):
            released_at = time.monotonic() + 10
            asked_at = time.monotonic()
            assert server.call("/api/v1/predict", {"text": HAM}, timeout=60)[0] == 503
            assert BUSY_TIMEOUT_S <= time.monotonic() - asked_at < 2 * BUSY_TIMEOUT_S + SLACK_S
            assert server.call("/readyz", timeout=60)[0] == 503
            asked_at = time.monotonic()
            assert [server.call(path)[0] for path in ("/healthz", "/", "/login")] == [200] * 3
            assert time.monotonic() - asked_at < BUSY_TIMEOUT_S  # what needs no log does not wait with the others
            time.sleep(max(0, released_at - time.monotonic()))
        load.wait_for(20)
        wait_until(lambda: server.call("/readyz", timeout=60)[0] == 200)
    assert (load.cut_off, set(load.refused)) == ([], {503})
    assert "database is locked" in server.output()
    assert_answered_means_stored(server, load)


def test_a_log_that_is_locked_for_a_moment_only_makes_them_wait(shared_server):
    server = shared_server
    with Load(server.port) as load:
        load.wait_for(20)
        for _ in range(3):
            with locked(server, "IMMEDIATE"):
                time.sleep(BUSY_TIMEOUT_S / 10)
            load.wait_for(5)
    assert (load.cut_off, dict(load.refused)) == ([], {})
    assert_answered_means_stored(server, load)

"""A real gunicorn: what was answered is in the log, whatever happens to the processes."""

import http.client
import signal
import sqlite3
import threading
import time
from contextlib import closing

import pytest
from conftest import HAM, SPAM


def stored(server):
    if server.database_url is None:
        with closing(sqlite3.connect(server.instance_folder / "log.db")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return server.stored()


def load(server, answered, failed, stop, threads=8):
    """Keep sending until told to stop; collect the ids of what was answered."""

    def send():
        while not stop.is_set():
            try:
                status, answer = server.call("/api/v1/predict", {"text": SPAM})
            except (OSError, http.client.HTTPException):
                failed.append("no connection")
                time.sleep(0.05)
                continue
            answered.append(answer["id"]) if status == 200 else failed.append(status)

    started = [threading.Thread(target=send) for _ in range(threads)]
    for thread in started:
        thread.start()
    return started


def finish(stop, threads):
    stop.set()
    for thread in threads:
        thread.join()


def test_it_starts_from_any_directory_and_says_where_it_listens(server):
    assert f"Hamlet is ready: open {server.url}" in server.output()


def test_every_worker_answers_and_the_access_log_has_id_and_time_but_no_text(server):
    status, answer = server.call("/api/v1/predict", {"text": SPAM})
    assert (status, answer["label"]) == (200, "spam")
    time.sleep(0.3)
    lines = [line for line in server.output().splitlines() if "POST /api/v1/predict 200" in line]
    assert len(lines) == 1
    assert lines[0].endswith(" ms")
    assert "prize" not in server.output()


def test_nobody_can_write_a_line_of_their_own_into_the_access_log(server):
    assert server.call("/nothing%0Aforged%20line?secret")[0] == 404
    time.sleep(0.3)
    (line,) = [line for line in server.output().splitlines() if "forged" in line]
    assert " GET /nothing%0Aforged%20line 404 " in line


@pytest.mark.databases("sqlite", "postgresql")
@pytest.mark.parametrize("repetition", range(3))
def test_sigkill_of_all_processes_loses_nothing_that_was_answered(server, repetition):
    answered, failed, stop = [], [], threading.Event()
    threads = load(server, answered, failed, stop)
    time.sleep(1 + repetition / 3)
    server.stop(signal.SIGKILL)
    finish(stop, threads)
    assert len(answered) > 20
    ids = stored(server)
    assert set(answered) <= set(ids)
    assert len(ids) == len(set(ids))
    server.start()
    assert server.call(f"/api/v1/predictions/{answered[-1]}")[0] == 200


def test_a_stop_lets_requests_in_flight_finish(server):
    answered, failed, stop = [], [], threading.Event()
    threads = load(server, answered, failed, stop)
    time.sleep(1)
    server.stop()
    finish(stop, threads)
    assert server.process.returncode == 0
    assert set(failed) <= {"no connection"}
    assert set(answered) <= set(stored(server))


def test_a_reload_under_load_fails_no_request(server):
    answered, failed, stop = [], [], threading.Event()
    threads = load(server, answered, failed, stop, threads=4)
    for _ in range(3):
        time.sleep(0.5)
        server.process.send_signal(signal.SIGHUP)
    time.sleep(2)
    finish(stop, threads)
    assert failed == []
    assert set(answered) == set(stored(server))


@pytest.mark.databases("sqlite", "postgresql")
def test_large_batches_from_all_sides_are_stored_whole(server):
    answers = []
    texts = [f"{HAM} {i}" for i in range(1000)]
    threads = [
        threading.Thread(target=lambda: answers.append(server.call("/api/v1/predict/batch", {"texts": texts})))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for status, _ in answers] == [200] * 6
    ids = [prediction["id"] for _, answer in answers for prediction in answer["predictions"]]
    assert len(set(ids)) == 6000
    assert set(ids) == set(stored(server))


def test_a_wrong_port_gets_one_clear_line(tmp_path):
    from conftest import Server

    server = Server(tmp_path / "instance", PORT="eighty")
    with pytest.raises(AssertionError, match="PORT=eighty: must be a whole number"):
        server.start()
    assert "Traceback" not in server.output()


def test_whoever_sends_too_much_gets_the_answer_and_no_broken_connection(server):
    too_much = {"text": "x" * 5_000_000}
    assert {server.call("/api/v1/predict", too_much)[0] for _ in range(20)} == {413}

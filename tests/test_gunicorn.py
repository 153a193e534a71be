"""A real gunicorn, as it runs every day; tests/faults has what may happen to it."""

import threading
import time

import pytest
from clients import Load, assert_answered_means_stored
from conftest import HAM, SPAM


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


def test_a_stop_lets_requests_in_flight_finish(server):
    with Load(server.port) as load:
        load.wait_for(50)
        server.stop()
    assert server.process.returncode == 0
    assert load.refused == {}
    assert_answered_means_stored(server, load)


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
    assert set(ids) == set(server.stored())


def test_a_wrong_port_gets_one_clear_line(tmp_path):
    from conftest import Server

    server = Server(tmp_path / "instance", PORT="eighty")
    with pytest.raises(AssertionError, match="PORT=eighty: must be a whole number"):
        server.start()
    assert "Traceback" not in server.output()


def test_whoever_sends_too_much_gets_the_answer_and_no_broken_connection(server):
    too_much = {"text": "x" * 5_000_000}
    assert {server.call("/api/v1/predict", too_much)[0] for _ in range(20)} == {413}

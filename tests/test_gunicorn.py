"""A real gunicorn, as it runs every day; tests/faults has what may happen to it."""

import contextlib
import os
import re
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection

import pytest
import sqlalchemy as sa
from clients import Load, wait_until
from conftest import HAM, PASSWORD, SPAM, Browser, Server, need_module

from webapp.config import MAX_BODY
from webapp.worker import PATIENCE_S


def test_the_access_log_has_id_and_time_but_no_text_and_nobody_can_write_a_line_of_their_own(shared_server):
    assert shared_server.call("/api/v1/predict", {"text": SPAM})[1]["label"] == "spam"
    assert shared_server.call("/nothing%0Aforged%20line?secret")[0] == 404
    for words in ("POST /api/v1/predict 200", "GET /nothing%0Aforged%20line 404"):
        found = wait_until(lambda words=words: re.findall(rf".*{words}.*", shared_server.output()))
        assert re.fullmatch(rf"\[.+\] [0-9a-f]{{32}} {words} \d+ ms", *found)
    assert not re.search("prize|secret", shared_server.output())


@pytest.mark.databases("sqlite", "postgresql")
def test_large_batches_from_all_sides_are_stored_whole(server):
    body = {"texts": [f"{HAM} {i}" for i in range(1000)]}
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: server.call("/api/v1/predict/batch", body), range(4)))
    assert [status for status, _ in answers] == [200] * 4
    ids = [prediction["id"] for _, answer in answers for prediction in answer["predictions"]]
    assert (len(set(ids)), set(ids)) == (4000, set(server.stored()))


def test_who_has_to_wait_is_counted_once(tmp_path):
    """A batch begins on the event loop, and is begun anew in a thread."""
    with Server(tmp_path / "instance", HAMLET_MAX_REQUESTS_PER_MINUTE="3", HAMLET_WORKERS="1") as server:
        if (second := time.time() % 60) > 50:
            time.sleep(60 - second)  # so that all are of one minute
        statuses = [server.call("/api/v1/predict/batch", {"texts": [HAM] * 30})[0] for _ in range(4)]
    assert statuses == [200, 200, 200, 429]


def test_a_purge_beside_it_refuses_nobody(server, make_app):
    beside = make_app(server.instance_folder)
    for _ in range(3):
        assert server.call("/api/v1/predict/batch", {"texts": [HAM] * 1000})[0] == 200
    with Load(server.port) as load:
        load.wait_for(20)
        purged = beside.test_cli_runner().invoke(args=["log", "purge", "--older-than", "0d"])
        load.wait_for(20)
    assert re.match(r"3,\d+ predictions deleted", purged.output)
    assert (load.cut_off, load.refused) == ([], {})


def test_waitress_which_windows_gets_serves_the_same(tmp_path):
    need_module("waitress", "pip install waitress")
    command = [sys.executable, "-c", "from webapp.__main__ import serve_with_waitress; serve_with_waitress()"]
    with Server(tmp_path / "instance", command, PYTHONPATH=os.pathsep.join(sys.path)) as server, ExitStack() as clients:
        for kind in ["half a header", "half a body", "half a chunk"] * 20:
            clients.enter_context(slow_client(server, SLOW[kind]))
        status, headers, _ = server.send_form(SPAM)
        assert (status, headers["Location"][:13]) == (303, "/predictions/")
        assert server.call("/api/v1/predict", {"text": HAM})[1]["label"] == "ham"
        assert server.call("/api/v1/predict", {"text": "x" * 2_000_000})[0] == 413
        assert "hamlet_predictions_total" in server.call("/metrics")[1]
        assert "Sign out" in Browser(server.url, PASSWORD).ask("/review")[1]


def test_gunicorn_s_own_threads_serve_refuse_and_stop_the_same(tmp_path):
    command = [sys.executable, "-m", "gunicorn", "wsgi:app", "--worker-class", "gthread"]
    server = Server(tmp_path / "instance", command, PORT="1")
    command += ["--bind", f"127.0.0.1:{server.port}"]
    server.start()
    assert f"Hamlet is ready: open {server.url}" in server.output()
    assert server.call("/api/v1/predict", {"text": HAM})[0] == 200
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as client:  # the whole message, and more
        body = b'{"text": "hello"}' + b" " * MAX_BODY
        client.sendall(JSON + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))
        assert client.recv(12) == b"HTTP/1.1 413"
    started = time.monotonic()
    server.stop()
    assert time.monotonic() - started < 10
    assert [path.name for path in server.instance_folder.glob("log.db*")] == ["log.db"]


def test_gunicorn_by_its_own_name_reads_the_same_settings_in_any_locale(tmp_path):
    locale = {"LC_ALL": "C", "PYTHONUTF8": None, "LANG": None}
    command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
    server = Server(tmp_path / "für Hamlet ✓", command, SCRIPT_NAME="spam/", **locale)
    server.url += "/spam"  # a sub-path that the proxy leaves in the address
    with server:
        assert server.call("/api/v1/predict", {"text": HAM})[0] == 200
        for path in ("/", ""):
            assert 'href="/spam/login"' in server.call(path)[1]
        assert server.call("/api/openapi.json")[1]["servers"][0]["url"] == "/spam"
        server.url = server.url.removesuffix("/spam")
        assert server.call("/healthz")[0] == 200  # for those who ask it directly
        assert 'href="/spam/login"' in server.call("/")[1]


def test_python_wsgi_py_starts_the_server(tmp_path):
    with Server(tmp_path / "instance", [sys.executable, "wsgi.py"]) as server:
        assert server.call("/healthz")[0] == 200


JSON = b"POST /api/v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SLOW = {  # what a client sends before it falls silent
    "nothing": b"",
    "half a header": JSON + b"X-A: ",
    "half a body": JSON + b"Content-Length: 100\r\n\r\n{",
    "half a body, asked for": JSON + b"Expect: 100-continue\r\nContent-Length: 100\r\n\r\n{",
    "half a chunk": JSON + b"Transfer-Encoding: chunked\r\n\r\n64\r\n{",
    "little of much": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n{",
    "no reading": b"GET /bootstrap/static/css/bootstrap.min.css HTTP/1.1\r\nHost: x\r\n\r\n" * 40,
}


def slow_client(server, beginning):
    client = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.sendall(beginning)
    return client


def test_slow_clients_hold_nobody_up_and_are_let_go(shared_server):
    server = shared_server
    with ExitStack() as clients:
        slow = [(kind, clients.enter_context(slow_client(server, SLOW[kind]))) for kind in [*SLOW, "half a body"] * 40]
        started = time.monotonic()
        for _ in range(10):
            assert server.call("/api/v1/predict", {"text": HAM})[0] == 200
        assert time.monotonic() - started < PATIENCE_S  # so before any of them was let go
        for kind, client in slow:  # the last bytes of each, and then the end of its connection
            if kind != "no reading":
                answer = b"".join(iter(lambda client=client: client.recv(65536), b"")).split(b"\r\n\r\n")[-2:]
                assert (b'"status":400' in answer[-1]) == ("body" in kind or "chunk" in kind), (kind, answer)
    assert "Traceback" not in server.output()


def test_who_sends_too_much_is_answered_at_once_and_no_connection_is_broken(shared_server):
    too_much = {"text": "x" * 5_000_000}
    assert {shared_server.call("/api/v1/predict", too_much)[0] for _ in range(20)} == {413}
    with socket.create_connection(("127.0.0.1", shared_server.port), timeout=5) as client:
        client.sendall(SLOW["little of much"] + b"x" * 2_000_000)
        assert client.recv(12) == b"HTTP/1.1 404"


def test_clients_that_go_away_leave_no_connection_behind(shared_server):
    def open_files():
        return sum(len(os.listdir(f"/proc/{worker}/fd")) for worker in shared_server.workers())

    before = open_files()
    for _ in range(20):
        slow_client(shared_server, SLOW["little of much"]).close()
    wait_until(lambda: open_files() <= before, 10)


def test_a_connection_is_kept_for_longer_than_proxies_keep_theirs(shared_server):
    with contextlib.closing(HTTPConnection("127.0.0.1", shared_server.port, timeout=20)) as proxy:
        proxy.request("GET", "/healthz")
        proxy.getresponse().read()
        kept = proxy.sock
        kept.settimeout(3)
        with pytest.raises(TimeoutError):  # gunicorn's own keepalive is 2 seconds
            kept.recv(1)
        proxy.request("GET", "/healthz")
        assert proxy.getresponse().status == 200
        assert proxy.sock is kept


def test_a_server_that_was_held_up_answers_those_who_asked_in_time(shared_server):
    """As by a slow disk: what they sent is read before it counts how long they were silent."""
    server = shared_server
    with ExitStack() as clients:
        asking = [clients.enter_context(slow_client(server, b"")) for _ in range(8)]
        wait_until(lambda: server.call("/healthz")[0] == 200)
        os.killpg(server.process.pid, signal.SIGSTOP)
        for client in asking:
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(PATIENCE_S)
        os.killpg(server.process.pid, signal.SIGCONT)
        assert [client.recv(12) for client in asking] == [b"HTTP/1.1 200"] * 8


def test_a_refused_form_of_somebody_signed_in_is_one_failure(shared_server):
    browser = Browser(shared_server.url, PASSWORD)
    count = sa.text("SELECT count(*) FROM failures")
    [before] = shared_server.execute(count)
    assert browser.send("/", text=" ")[0] == 422  # its page asks the log who is signed in
    assert shared_server.execute(count) == [before + 1]

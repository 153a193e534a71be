"""What docs/deploy.md describes, for real: gunicorn, nginx in front of it, and systemd's units."""

import json
import re
import shlex
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urlencode

import proxy
import pytest
from clients import wait_until
from conftest import FORM, JSON, Server, hidden, need
from flask import request

from webapp.config import MAX_BODY, ROOT, SETTINGS

SERVICE, SOCKET = re.findall(r"```ini\n(.*?)```", proxy.GUIDE, re.DOTALL)
PREDICT, MESSAGE = "/api/v1/predict", b'{"text": "Win a prize"}'


@pytest.fixture(scope="module")
def hamlet(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("hamlet") / "instance", HAMLET_TRUSTED_PROXIES="1") as server:
        yield server


@pytest.fixture(scope="module")
def nginx(hamlet, tmp_path_factory):
    with proxy.nginx(tmp_path_factory.mktemp("nginx"), hamlet.port) as ports:
        yield ports


def ask(port, path="/", body=None, headers=None, sender="127.0.0.1"):
    with closing(HTTPConnection("127.0.0.1", port, timeout=30, source_address=(sender, 0))) as connection:
        connection.request("POST" if body else "GET", path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_form_works_through_nginx_and_over_https_its_cookie_is_secure(nginx, scheme):
    _, headers, page = ask(nginx[scheme], headers={"X-Forwarded-Proto": "https", "X-Forwarded-SSL": "on"})  # forged
    assert ("; Secure" in headers["Set-Cookie"]) == (scheme == "https")
    form = {"csrf_token": hidden(page, "csrf_token"), "text": "Win a prize"}
    browser = {"Cookie": headers["Set-Cookie"].split(";")[0], "Referer": f"{scheme}://127.0.0.1:{nginx[scheme]}/"}
    status, headers, _ = ask(nginx[scheme], "/", urlencode(form), FORM | browser)
    assert status == 303
    assert "Was this right?" in ask(nginx[scheme], headers["Location"])[2]


def test_nginx_passes_json_its_request_id_and_as_much_as_hamlet_takes(nginx):
    status, headers, _ = ask(nginx["http"], PREDICT, MESSAGE, JSON | {"X-Request-ID": "mine"})
    assert (status, headers["X-Request-ID"]) == (200, "mine")
    assert ask(nginx["http"], PREDICT, b" " * MAX_BODY, JSON)[0] == 400  # Hamlet's word: it is no JSON
    status, _, page = ask(nginx["http"], PREDICT, b" " * (MAX_BODY + 1), JSON)
    assert (status, "nginx" in page) == (413, True)
    # Files for the batch page may be larger.
    status, headers, _ = ask(nginx["http"], "/batch", b" " * (MAX_BODY + 1), {"Content-Type": "text/plain"})
    assert (status, headers["Location"]) == (303, "/login?next=/batch")  # Hamlet's word: for those who signed in


def test_nginx_shows_the_metrics_to_this_machine_alone(nginx):
    status, _, text = ask(nginx["http"], "/metrics")
    assert (status, "hamlet_requests_total" in text) == (200, True)
    for path in ("/metrics", "//metrics", "/metrics/", "/metrics%2f", "/metrics?x", "/static/../metrics"):
        assert ask(nginx["http"], path, sender="127.0.0.2")[0] == 403
    assert ask(nginx["http"], sender="127.0.0.2")[0] == 200


def test_cloudflare_before_nginx_says_two_addresses_and_one_protocol(make_app):
    app = make_app(TRUSTED_PROXIES=2)
    app.add_url_rule("/seen", view_func=lambda: f"{request.remote_addr} {request.host_url}")
    seen = {"X-Forwarded-For": "1.1.1.1, 9.9.9.9, 172.68.1.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "h.x"}
    assert app.test_client().get("/seen", headers=seen).text == "9.9.9.9 https://h.x/"


# --- The container: no engine runs in tests, so its files are read, and what they run is run ---

STEPS = re.findall(r"^([A-Z]+) (.*)$", re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()), re.MULTILINE)
COMPOSE = (ROOT / "compose.yaml").read_text()


def test_the_image_runs_as_nobody_special_keeps_its_log_in_a_volume_and_holds_nothing_private():
    last = [step for step, _ in STEPS]
    assert dict(STEPS)["USER"] == "hamlet"
    assert last.index("USER") < last.index("CMD")
    assert dict(STEPS)["VOLUME"] == "/data"
    environment = dict(pair.split("=", 1) for pair in shlex.split(dict(STEPS)["ENV"]))
    assert environment["HOST"] == "0.0.0.0"
    assert all(environment[f"HAMLET_{name}_FOLDER"].startswith("/data/") for name in ("INSTANCE", "MODELS"))
    for name in {*environment, *re.findall(r"(HAMLET_\w+): ", COMPOSE)}:
        assert name.removeprefix("HAMLET_") in {*SETTINGS, "PYTHONDONTWRITEBYTECODE"}, name
    assert {"instance", ".env", ".git", "data"} <= set((ROOT / ".dockerignore").read_text().split("\n"))


def test_the_image_s_health_check_tells_a_server_from_none(shared_server):
    command = json.loads(dict(STEPS)["HEALTHCHECK"].partition("CMD ")[2])
    for port, code in ((shared_server.port, 0), (1, 1)):
        done = subprocess.run([sys.executable, *command[1:]], env={"PORT": str(port)}, capture_output=True, timeout=60)
        assert done.returncode == code


def test_a_stop_answers_all_that_is_in_flight_and_logs_what_it_answers(server):
    senders = [HTTPConnection("127.0.0.1", server.port, timeout=30) for _ in range(8)]
    for sender in senders:  # each waits with its message until Hamlet asks for it
        sender.putrequest("POST", PREDICT)
        for name, value in (JSON | {"Content-Length": len(MESSAGE), "Expect": "100-continue"}).items():
            sender.putheader(name, value)
        sender.endheaders()
        assert sender.sock.recv(100).startswith(b"HTTP/1.1 100")
    server.process.terminate()
    wait_until(lambda: "Handling signal: term" in server.output())
    answered = []
    for sender in senders:
        with closing(sender):
            sender.send(MESSAGE)
            answered.append(json.load(sender.getresponse())["id"])
    assert server.process.wait(30) == 0
    assert [path.name for path in server.instance_folder.glob("log.db*")] == ["log.db"]  # with all that was in its -wal
    assert sorted(answered) == server.stored()


def test_a_stop_in_the_moment_when_a_worker_is_forked_is_not_lost(tmp_path):
    settings = "import time; exec(open('gunicorn.conf.py').read()); post_fork = lambda server, worker: time.sleep(1)"
    (tmp_path / "slow.py").write_text(settings.replace("gunicorn.conf.py", str(ROOT / "gunicorn.conf.py")))
    command = [sys.executable, "-m", "gunicorn", "-c", tmp_path / "slow.py"]
    server = Server(tmp_path / "instance", command, HAMLET_WORKERS="1").spawn()
    wait_until(lambda: "Booting worker" in server.output())
    server.process.terminate()
    assert server.process.wait(10) == 0


def test_systemd_accepts_the_units(tmp_path):
    (tmp_path / "hamlet.service").write_text(SERVICE.replace("/opt/hamlet/.venv/bin/python", sys.executable))
    (tmp_path / "hamlet.socket").write_text(SOCKET)
    systemd_analyze = need("systemd-analyze", "on Debian, apt-get install systemd")
    command = [systemd_analyze, "verify", "--man=no", *tmp_path.glob("hamlet.*")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (result.returncode, "hamlet" in result.stderr) == (0, False), result.stderr

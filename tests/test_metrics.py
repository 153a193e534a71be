"""GET /metrics: what the server counted, all its workers together, whatever happens to them; and the alert rules."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from clients import wait_until
from conftest import HAM, SPAM, Server, execute, need
from prometheus_client import Counter, Histogram

from webapp.config import ROOT
from webapp.extras.prometheus import routes as counters
from webapp.extras.prometheus import worker_files
from webapp.extras.review.reviews import give_review

PREDICT = "/api/v1/predict"
RULES = ROOT / "docs" / "prometheus-alerts.yml"


@pytest.fixture(autouse=True)
def nothing_counted():
    """The counts are of the process, so those of other tests are dropped."""
    for metric in (value for value in vars(counters).values() if isinstance(value, Counter | Histogram)):
        metric.clear()


def total(text, name, **labels):
    """Add up all series of a metric that have these labels."""
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum(float(value) for having, value in found if all(pair in having for pair in wanted))


def metrics(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return answer.text


def promtool(*words, **options):
    program = need("promtool", "on Debian, apt-get install prometheus")
    answer = subprocess.run([program, *words], capture_output=True, text=True, **options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout + answer.stderr


# --- One process ---


def test_predictions_are_counted_by_label_source_and_version(client):
    version = client.post(PREDICT, json={"text": SPAM}).json["model_version"]
    client.post("/api/v1/predict/batch", json={"texts": [HAM, HAM, SPAM]})
    client.post("/", data={"text": HAM})
    assert client.get("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"
    text = metrics(client)  # without a key
    assert total(text, "hamlet_predictions_total", label="spam", source="api", model_version=version) == 2
    assert total(text, "hamlet_predictions_total", label="ham", source="api") == 2
    assert total(text, "hamlet_predictions_total", label="ham", source="form") == 1
    assert total(text, "hamlet_prediction_seconds_count") == total(text, "hamlet_log_rows") == 5
    assert total(text, "hamlet_model_info", model_version=version) == 1
    assert "prize" not in text


def test_what_is_not_in_the_log_is_no_prediction_but_a_failure(app, client):
    execute(app.extensions["engine"], sa.text("ALTER TABLE predictions RENAME TO elsewhere"))
    assert client.post(PREDICT, json={"text": SPAM}).status_code == 503
    client.post("/", data={"text": ""})
    client.get("/nothing")
    text = metrics(client)  # it answers all the same, without the rows of the log
    assert "hamlet_log_rows" not in text
    assert total(text, "hamlet_predictions_total") == 0
    assert total(text, "hamlet_failures_total", source="api", status="503") == 1
    assert total(text, "hamlet_failures_total", source="form", status="422") == 1
    assert total(text, "hamlet_failures_total") == 2


def test_requests_are_counted_by_route_never_by_path(client):
    for number in range(5):
        client.get(f"/api/v1/predictions/{number}")
        client.get(f"/nothing/{number}")
        client.open("/", method=f"PLEASE{number}")
    text = metrics(client)
    assert total(text, "hamlet_requests_total", route="/api/v1/predictions/<prediction_id>", status="404") == 5
    assert total(text, "hamlet_requests_total", route="unknown", status="404") == 5
    assert total(text, "hamlet_requests_total", route="unknown", status="405") == 5
    assert len(re.findall("^hamlet_requests_total", text, re.MULTILINE)) == 3
    assert total(text, "hamlet_request_seconds_bucket", route="unknown", le="+Inf") == 10
    assert 0 < total(text, "hamlet_request_seconds_sum", route="unknown") < 50


def test_the_last_review_is_shown_and_a_model_is_not_needed(client, models, app):
    prediction, now = client.post(PREDICT, json={"text": SPAM}).json["id"], time.time()
    assert "last_review" not in metrics(client)
    give_review(app.extensions["engine"], prediction, "web:anna", "spam", "random")
    (models / "current").unlink()
    app.extensions["inference"].registry.__init__(models)
    text = metrics(client)
    assert now <= total(text, "hamlet_last_review_timestamp_seconds") < now + 60
    assert "hamlet_model_info" not in text
    assert total(text, "hamlet_build_info") == 1


def test_a_count_that_cannot_be_kept_costs_no_request(client, monkeypatch, caplog):
    monkeypatch.setattr(counters.REQUESTS, "labels", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    assert client.get("/").status_code == 200
    assert "could not be counted" in caplog.text


def test_the_folder_of_the_counts_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    monkeypatch.setattr(worker_files, "MEMORY", tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = worker_files.open_folder(tmp_path)
    worker_files._in_use.close()
    assert (folder.parent, folder.stat().st_mode & 0o777) == (tmp_path, 0o700)
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)  # as somebody else might, to have files written elsewhere
    with pytest.raises(PermissionError, match="another user"):
        worker_files.open_folder(tmp_path)


# --- gunicorn ---

OWN_COUNTERS = """
from prometheus_client import Counter
from wsgi import app
HITS, BY_KIND = Counter("hits", "Hits."), Counter("by_kind", "Hits.", ["kind"])
@app.get("/hit")
def hit():
    HITS.inc()
    BY_KIND.labels("a").inc(2)
    return ""
"""


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """A server with counters of its own, defined anywhere, as in Prometheus's tutorial."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "own.py").write_text(OWN_COUNTERS)
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "own:app"]
    with Server(folder / "instance", command, HAMLET_WORKERS="2", PYTHONPATH=f"{ROOT}:{folder}") as server:
        yield server


def send(server, times, path=PREDICT):
    """Send so many requests, from eight sides, so that all workers get some."""
    body = {"text": SPAM} if path == PREDICT else None
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer[0] for answer in pool.map(lambda _: server.call(path, body), range(times))]
    assert statuses == [200] * times


def counted(server, name="hamlet_predictions_total", **labels):
    """Return a counter as both workers tell it."""
    told = {total(server.call("/metrics")[1], name, **labels) for _ in range(8)}
    assert len(told) == 1, "the workers tell different numbers"
    return told.pop()


def test_all_workers_add_up_also_counters_of_ones_own(two_workers):
    before = counted(two_workers)
    send(two_workers, 60)
    assert counted(two_workers) == before + 60
    send(two_workers, 60, "/hit")
    assert (counted(two_workers, "hits_total"), counted(two_workers, "by_kind_total", kind="a")) == (60, 120)
    assert promtool("check", "metrics", input=two_workers.call("/metrics")[1]) == ""


def test_counts_outlive_a_worker_and_a_reload_and_not_a_restart(two_workers):
    before, workers = counted(two_workers), two_workers.workers()
    send(two_workers, 40)
    os.kill(workers[0], signal.SIGKILL)
    wait_until(lambda: len(set(two_workers.workers()) - {workers[0]}) == 2)
    assert counted(two_workers) == before + 40
    workers = two_workers.workers()
    two_workers.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(two_workers.workers()) == 2 and not set(two_workers.workers()) & set(workers))
    send(two_workers, 5)
    assert counted(two_workers) == before + 45
    two_workers.stop()
    two_workers.start()
    assert (counted(two_workers), counted(two_workers, "hamlet_log_rows")) == (0, before + 45)


def test_a_second_server_on_the_same_log_adds_its_counts(two_workers):
    before = counted(two_workers)
    with Server(two_workers.instance_folder) as second:
        send(second, 10)
        assert counted(second) == counted(two_workers) == before + 10
        second.stop()
    assert counted(two_workers) == before + 10


def test_requests_go_on_when_the_folder_is_gone(two_workers):
    send(two_workers, 20)
    maps = Path(f"/proc/{two_workers.workers()[0]}/maps").read_text()
    folder = Path(re.search(r"(/\S+)/\w+_\d+\.db", maps)[1])
    shutil.rmtree(folder)
    send(two_workers, 20)
    status, problem = two_workers.call("/metrics")
    assert (status, problem["title"]) == (503, "Not ready")
    assert "Restart Hamlet" in problem["detail"]
    two_workers.stop()
    folder.write_text("in the way")
    try:
        with pytest.raises(AssertionError, match="Hamlet cannot start: the folder of the workers' counts"):
            two_workers.start()
    finally:
        folder.unlink()


# --- Alerts ---


def test_each_alert_rule_fires_when_it_should():
    promtool("check", "rules", RULES)
    tried = ROOT / "tests" / "alerts_test.yml"
    promtool("test", "rules", tried)
    for name in re.findall(r"alert: (\w+)", RULES.read_text()):
        assert f'{{alertname="{name}"}}' in tried.read_text()


def test_rules_and_guide_fit_the_server(client, tmp_path):
    client.post(PREDICT, json={"text": SPAM})
    shown = client.get("/metrics").text + "hamlet_last_review_timestamp_seconds"
    for name in re.findall(r"(?<!:)\bhamlet_\w+", RULES.read_text()):
        assert name in shown
    guide = (ROOT / "docs" / "deploy.md").read_text()
    config = re.search(r"```yaml\n(.*?)```", guide, re.DOTALL)[1]
    (tmp_path / "prometheus.yml").write_text(config.replace("/opt/hamlet", str(ROOT)))
    promtool("check", "config", tmp_path / "prometheus.yml")

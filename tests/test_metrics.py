"""GET /metrics: what the server counted, all its workers together, whatever happens to them."""

import datetime as dt
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from clients import wait_until
from conftest import HAM, SPAM, Server, need
from prometheus_client import Counter, Histogram

from webapp.config import ROOT
from webapp.extras.prometheus import metrics as counters
from webapp.extras.prometheus import worker_files
from webapp.log.ids import new_id
from webapp.log.tables import reviews

pytestmark = pytest.mark.databases("sqlite", "postgresql")

PREDICT = "/api/v1/predict"


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


# --- One process ---


def test_it_is_prometheus_s_text_format(client):
    answer = client.get("/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.text.startswith("# HELP hamlet_build")


def test_predictions_are_counted_by_label_source_and_version(client):
    version = client.post(PREDICT, json={"text": SPAM}).json["model_version"]
    client.post("/api/v1/predict/batch", json={"texts": [HAM, HAM, SPAM]})
    client.post("/", data={"text": HAM})
    text = metrics(client)
    assert total(text, "hamlet_predictions_total", label="spam", source="api", model_version=version) == 2
    assert total(text, "hamlet_predictions_total", label="ham", source="api") == 2
    assert total(text, "hamlet_predictions_total", label="ham", source="form") == 1
    assert total(text, "hamlet_prediction_seconds_count") == total(text, "hamlet_log_rows") == 5


def test_what_is_not_in_the_log_is_no_prediction_but_a_failure(app, client):
    with app.extensions["engine"].begin() as connection:
        connection.execute(sa.text("ALTER TABLE predictions RENAME TO elsewhere"))
    assert client.post(PREDICT, json={"text": SPAM}).status_code == 503
    text = metrics(client)  # it answers all the same, without the rows of the log
    assert "hamlet_log_rows" not in text
    assert total(text, "hamlet_predictions_total") == 0
    assert total(text, "hamlet_failures_total", source="api", status="503") == 1


def test_failures_are_counted_by_source_and_status(client):
    client.post(PREDICT, json={"text": ""})
    client.post("/", data={"text": ""})
    client.get("/nothing")
    text = metrics(client)
    assert total(text, "hamlet_failures_total", source="api", status="422") == 1
    assert total(text, "hamlet_failures_total", source="form", status="422") == 1
    assert total(text, "hamlet_failures_total") == 2


def test_requests_are_counted_by_route_never_by_path_or_by_a_method_that_somebody_made_up(client):
    for number in range(5):
        client.get(f"/api/v1/predictions/{number}")
        client.get(f"/nothing/{number}")
        client.open("/", method=f"PLEASE{number}")
    text = metrics(client)
    assert total(text, "hamlet_requests_total", route="/api/v1/predictions/<prediction_id>", status="404") == 5
    assert total(text, "hamlet_requests_total", route="unknown", method="GET", status="404") == 5
    assert total(text, "hamlet_requests_total", method="other", status="405") == 5
    assert len(re.findall("^hamlet_requests_total", text, re.MULTILINE)) == 3
    assert total(text, "hamlet_request_seconds_count", route="unknown") == 10


def test_the_time_of_a_request_is_counted_in_seconds(client):
    client.get("/")
    text = metrics(client)
    assert 0 < total(text, "hamlet_request_seconds_sum", route="/") < 5
    assert total(text, "hamlet_request_seconds_bucket", route="/", le="+Inf") == 1


def test_the_last_review_is_shown_once_there_is_one(app, client):
    assert "last_review" not in metrics(client)
    when = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)
    review = {"id": new_id(), "created_at": when, "prediction_id": "1", "reviewer": "a", "true_label": "ham"}
    with app.extensions["engine"].begin() as connection:
        connection.execute(sa.insert(reviews).values(**review, queue="random"))
    assert total(metrics(client), "hamlet_last_review_timestamp_seconds") == when.timestamp()


def test_the_served_model_is_named_and_without_one_it_still_answers(client, flask, models, app):
    version = client.post(PREDICT, json={"text": SPAM}).json["model_version"]
    assert total(metrics(client), "hamlet_model_info", model_version=version) == 1
    (models / "current").unlink()
    app.extensions["inference"].registry.__init__(models)
    text = metrics(client)
    assert "hamlet_model_info" not in text
    assert total(text, "hamlet_build_info") == 1


def test_it_holds_no_text_and_asks_for_no_key(client):
    client.post(PREDICT, json={"text": SPAM})
    assert "prize" not in metrics(client)


def test_a_count_that_cannot_be_kept_costs_no_request_and_is_reported_once(client, monkeypatch, caplog):
    monkeypatch.setattr(counters, "_complained", False)
    monkeypatch.setattr(counters.REQUESTS, "labels", lambda *_: (_ for _ in ()).throw(OSError("no room")))
    assert [client.get("/").status_code for _ in range(2)] == [200, 200]
    assert caplog.text.count("could not be counted") == 1


def test_the_folder_of_the_counts_is_its_owner_s_and_in_memory_where_there_is_some(tmp_path, monkeypatch):
    monkeypatch.delenv(worker_files.VARIABLE, raising=False)
    memory, instance = tmp_path / "memory", tmp_path / "instance"
    assert worker_files.open_folder(instance, memory) == instance / "metrics"
    worker_files._in_use.close()
    memory.mkdir()
    folder = worker_files.open_folder(instance, memory)
    worker_files._in_use.close()
    assert folder.parent == memory
    assert folder.stat().st_mode & 0o777 == 0o700
    assert os.environ.pop(worker_files.VARIABLE) == str(folder)
    shutil.rmtree(folder)
    folder.symlink_to(instance)  # as somebody else might, to have files written elsewhere
    with pytest.raises(PermissionError, match="somebody else"):
        worker_files.open_folder(instance, memory)


# --- gunicorn ---


@pytest.fixture
def two_workers(tmp_path):
    server = Server(tmp_path / "instance", HAMLET_WORKERS="2").start()
    yield server
    server.stop(signal.SIGKILL)


def counts_of(server):
    """Return the folder in which its workers count."""
    maps = Path(f"/proc/{server.workers()[0]}/maps").read_text()
    return Path(re.search(r"(/\S+)/\w+_\d+\.db", maps)[1])


def workers(server):
    """Return the process ids of the workers."""
    children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(server.process.pid)], capture_output=True, text=True)
    return [int(pid) for pid in children.stdout.split()]


def predict(server, times):
    """Send so many predictions, from eight sides, so that all workers get some."""
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer[0] for answer in pool.map(lambda _: server.call(PREDICT, {"text": SPAM}), range(times))]
    assert statuses == [200] * times


def predictions(server):
    """Return the counter as both workers tell it."""
    told = {total(server.call("/metrics")[1], "hamlet_predictions_total") for _ in range(8)}
    assert len(told) == 1, "the workers tell different numbers"
    return told.pop()


def test_all_workers_add_up_whichever_answers(two_workers):
    predict(two_workers, 60)
    wait_until(lambda: predictions(two_workers) == 60 and len(list(counts_of(two_workers).glob("counter_*.db"))) == 2)


def test_a_counter_of_ones_own_just_works(tmp_path):
    """As in Prometheus's tutorial, defined anywhere: all workers add up."""
    (tmp_path / "own.py").write_text(
        "from prometheus_client import Counter\nfrom wsgi import app\n"
        "HITS, BY_KIND = Counter('hits', 'Hits.'), Counter('by_kind', 'Hits.', ['kind'])\n"
        "@app.get('/hit')\ndef hit():\n    HITS.inc()\n    BY_KIND.labels('a').inc(2)\n    return ''\n"
    )
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "own:app"]
    server = Server(tmp_path / "instance", command, HAMLET_WORKERS="2", PYTHONPATH=f"{ROOT}:{tmp_path}").start()
    try:
        with ThreadPoolExecutor(8) as pool:
            assert {answer[0] for answer in pool.map(lambda _: server.call("/hit"), range(60))} == {200}
        for _ in range(6):
            text = server.call("/metrics")[1]
            assert (total(text, "hits_total"), total(text, "by_kind_total", kind="a")) == (60, 120)
    finally:
        server.stop()


def test_the_death_of_a_worker_takes_no_count_along(two_workers):
    for round_ in range(1, 4):
        predict(two_workers, 40)
        before = workers(two_workers)
        os.kill(before[0], signal.SIGKILL)
        wait_until(lambda before=before: len(set(workers(two_workers)) - {before[0]}) == 2)
        assert predictions(two_workers) == 40 * round_
    text = two_workers.call("/metrics")[1]
    assert total(text, "hamlet_prediction_seconds_count") == 120
    assert total(text, "hamlet_request_seconds_bucket", route=PREDICT, le="+Inf") == 120


def test_a_reload_keeps_the_counts_and_a_restart_begins_anew(two_workers):
    predict(two_workers, 20)
    before = workers(two_workers)
    two_workers.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(workers(two_workers)) == 2 and not set(workers(two_workers)) & set(before))
    assert predictions(two_workers) == 20
    predict(two_workers, 5)
    assert predictions(two_workers) == 25
    two_workers.stop()
    two_workers.start()
    assert predictions(two_workers) == 0
    assert total(two_workers.call("/metrics")[1], "hamlet_log_rows") == 25


def test_a_second_server_on_the_same_log_adds_its_counts_and_wipes_none(two_workers):
    predict(two_workers, 20)
    second = Server(two_workers.instance_folder).start()
    try:
        predict(second, 10)
        assert predictions(second) == predictions(two_workers) == 30
    finally:
        second.stop()
    assert predictions(two_workers) == 30


def test_promtool_has_no_complaint(two_workers):
    promtool = need("promtool", "on Debian, apt-get install prometheus")
    predict(two_workers, 5)
    two_workers.call(PREDICT, {"text": ""})
    text = two_workers.call("/metrics")[1]
    answer = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout + answer.stderr) == (0, "")


def test_requests_go_on_when_the_folder_is_gone(two_workers):
    predict(two_workers, 20)
    shutil.rmtree(counts_of(two_workers))
    predict(two_workers, 20)
    status, problem = two_workers.call("/metrics")
    assert (status, problem["title"]) == (503, "Not ready")
    assert "Restart Hamlet" in problem["detail"]


def test_a_folder_that_cannot_be_used_gets_one_clear_line(tmp_path):
    name = hashlib.sha256(str((tmp_path / "instance").resolve()).encode()).hexdigest()[:16]
    in_the_way = worker_files.MEMORY / f"hamlet-{os.getuid()}-{name}"
    in_the_way.write_text("not a folder")
    try:
        server = Server(tmp_path / "instance")
        with pytest.raises(AssertionError, match="Hamlet cannot start: the folder of the workers' counts"):
            server.start()
        assert "Traceback" not in server.output()
    finally:
        in_the_way.unlink()

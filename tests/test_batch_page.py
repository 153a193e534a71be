"""The batch page: a file is uploaded, scored by a process of its own, and downloaded, whatever dies meanwhile."""

import csv
import gzip
import http.cookiejar
import io
import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from urllib.error import HTTPError

import pytest
import sqlalchemy as sa
from conftest import PASSWORD, make_job, messages, need_module, running_job
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from webapp.config import MAX_BODY, MAX_UNPACKED, MAX_UPLOAD
from webapp.log.tables import predictions

SCRIPT = "<script>alert(1)</script> you have won a prize, call 09061701461 now"


def csv_file(texts, column="text"):
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["ref", column, "note"], *([i, text, "=1+1"] for i, text in enumerate(texts))])
    return buffer.getvalue().encode()


@pytest.fixture
def signed_in(client):
    client.post("/login", data={"password": PASSWORD})
    return client


def upload(client, content, name="messages.csv", **fields):
    boundary, body = encode_multipart({"file": FileStorage(io.BytesIO(content), name), **fields})
    return client.post("/batch", data=body, content_type=f"multipart/form-data; boundary={boundary}")


def fetch(client, page):
    """Download a result; the answer is read to its end and its file closed."""
    with client.get(f"{page}/download") as answer:
        assert answer.data
        return answer


def wait_for(ask, wanted, seconds=60):
    """Ask until the answer is as wanted; return it."""
    until = time.monotonic() + seconds
    while not wanted(answer := ask()):
        assert time.monotonic() < until, answer
        time.sleep(0.1)
    return answer


def wait_until_over(client, page):
    status = wait_for(lambda: client.get(f"{page}/status").json, lambda status: status["state"] != "running")
    return status["state"]


def test_a_file_comes_back_with_its_verdicts(app, signed_in):
    texts = [SCRIPT, "", *(text for _, text in messages(60))]
    answer = upload(signed_in, csv_file(texts), "../Campaign answers.csv")
    assert answer.status_code == 303
    page = answer.headers["Location"]
    assert "Running" in signed_in.get(page).text
    assert 'http-equiv="refresh"' in signed_in.get(page).text  # for those without JavaScript
    assert wait_until_over(signed_in, page) == "done"

    text = signed_in.get(page).text
    assert "62 rows, 31 spam, 1 with an error" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "The first 20 rows" in text

    download = fetch(signed_in, page)
    assert download.headers["Content-Disposition"] == 'attachment; filename="Campaign answers-predictions.csv"'
    assert download.headers["Cache-Control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(download.text)))
    assert [(row["ref"], row["text"], row["note"]) for row in rows] == [
        (str(i), text, "=1+1") for i, text in enumerate(texts)
    ]
    assert [row["label"] for row in rows[:4]] == ["spam", "", "ham", "spam"]
    assert "empty" in rows[1]["error"]
    with app.extensions["engine"].connect() as connection:
        logged = set(connection.execute(sa.select(predictions.c.id).where(predictions.c.source == "batch")).scalars())
    assert logged == {row["prediction_id"] for row in rows if row["prediction_id"]}

    assert "Campaign answers.csv" in signed_in.get("/batch").text
    folder = Path(app.instance_path) / "jobs" / page.rsplit("/", 1)[1]
    assert folder.exists()
    assert "deleted" in signed_in.post(f"{page}/delete", follow_redirects=True).text
    assert not folder.exists()
    assert signed_in.get(page).status_code == 404


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", b"id\tmessage\n1\tyou won! call 09061701461\n2\tsee you at lunch\n"),
        ("a.jsonl", b'{"id": 1, "text": "you won! call 09061701461"}\n{"id": 2, "text": "see you at lunch"}\n'),
        ("a.csv.gz", gzip.compress(b"text\nyou won! call 09061701461\nsee you at lunch\n", mtime=0)),
        ("a", b"id,words\n1,you won! call 09061701461\n2,see you at lunch\n"),
    ],
    ids=["TSV", "JSON Lines", "gzip'd", "by its first bytes"],
)
def test_each_format_is_told_and_kept_and_the_column_can_be_named(signed_in, name, content):
    page = upload(signed_in, content, name, text_column="words" if b"words" in content else "").headers["Location"]
    assert wait_until_over(signed_in, page) == "done"
    text = signed_in.get(page).text
    assert "2 rows, 1 spam" in text
    assert "you won! call 09061701461" in text
    assert "see you at lunch" in text
    download = fetch(signed_in, page)
    plain = gzip.decompress(download.data) if name.endswith(".gz") else download.data
    assert b"prediction_id" in plain


@pytest.mark.parametrize(
    ("content", "name", "status", "words"),
    [
        (b"", "empty.csv", 422, "empty.csv is empty"),
        (b"x", "", 422, "Choose a file first"),
        (b"id,sender\n1,2\n", "a.csv", 422, "id, sender"),
        (b"PK\x03\x04\x14\x00[Content_Types].xml", "a.csv", 422, "a.csv is an Excel file: save it as CSV"),
        (b"," * 500_001 + b"text\n", "a.csv", 422, "500,002 columns, and at most 1,000"),
        (b"x" * (MAX_UPLOAD + 200_000), "a.csv", 413, "larger than 50 MB"),
    ],
    ids=["empty", "no file", "no column", "Excel", "columns", "too large"],
)
def test_what_cannot_be_used_is_refused_at_once_and_nothing_is_kept(app, signed_in, content, name, status, words):
    answer = upload(signed_in, content, name)
    assert answer.status_code == status
    assert words in answer.text
    assert "instance" not in answer.text  # no path of the server
    assert list((Path(app.instance_path) / "jobs").glob("*-*")) == []


ODD = {
    "header_over_two_lines.csv": (b'"id\nnumber",text\n1,hello there\n2,win a prize now\n', ""),
    "commas_in_a_header.tsv": (b"id\ttext, the message, in full\tx\n1\twin a prize\t3\n", "text, the message, in full"),
    "semicolons.csv": (b"id;text, the message;x\n1;win a prize;2\n", "text, the message"),
    "half_a_pair.jsonl": (b'{"text":"hi"}\n{"text":"\\ud800"}\n{"text":"x","a":"\\ud800","label":"y"}\n', ""),
    "nul.csv": (b"id,text\n1,he\x00llo\n2,x\n", ""),
    "empty_rows.csv": (b"text\n\n\n\n", ""),
    "no_header.tsv": (b"ham\tsee you\nspam\twin a prize\n", ""),
}


@pytest.mark.parametrize("name", ["a\x01\x1b[31mb.csv", "\u202egpj.csv", "\x1f", *ODD])
def test_odd_files_and_names_get_a_page_a_preview_and_a_download(app, signed_in, monkeypatch, name):
    content, column = ODD.get(name, (b"text\nhi\n", ""))
    runner = app.extensions["runner"]
    monkeypatch.setattr(runner, "_spawn", lambda job_id, lock: None)  # its work is done here
    page = upload(signed_in, content, name, text_column=column).headers["Location"]
    with monkeypatch.context() as patched:
        patched.setattr(runner, "running_id", lambda: page.rpartition("/")[2])
        handler = signal.getsignal(signal.SIGTERM)
        with app.app_context():
            state = runner.run(page.rpartition("/")[2])
        signal.signal(signal.SIGTERM, handler)
    assert state == "done"
    shown = signed_in.get(page)
    assert shown.status_code == 200
    assert ("The first" in shown.text) == (name != "empty_rows.csv")
    answer = fetch(signed_in, page)
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"].isprintable()


def test_a_parquet_file_that_unpacks_to_much_is_refused(signed_in, tmp_path, monkeypatch):
    pq = need_module("pyarrow.parquet", "pip install -r requirements-parquet.txt")
    pa = need_module("pyarrow", "pip install -r requirements-parquet.txt")
    monkeypatch.setattr("webapp.extras.batch.routes.MAX_UNPACKED", 5_000_000)
    pq.write_table(pa.table({"text": ["x" * 100_000] * 1_000}), tmp_path / "a.parquet")
    answer = upload(signed_in, (tmp_path / "a.parquet").read_bytes(), "a.parquet")
    assert answer.status_code == 422
    assert "a.parquet unpacks to more than" in answer.text


def test_the_version_of_an_interrupted_run_is_kept(app, models):
    registry = app.extensions["inference"].registry
    arguments = {"name": "a.csv", "source": "input.csv", "target": "result.csv", "text_column": "text"}
    for how in ("done", "interrupted"):
        _, folder = make_job(app, "batch", how, arguments)
        (folder / "result.csv.partial.json").write_text(json.dumps({"began_with": {}, "model_version": how}))
    assert {version for ask in registry.in_use for version in ask()} == {"interrupted"}


def test_a_second_file_has_to_wait(app, signed_in):
    with running_job(app, "batch", {"name": "first.csv"}) as first:
        answer = upload(signed_in, csv_file(["hello"]))
        assert answer.status_code == 409
        assert "Another job is running" in answer.text
        assert "first.csv" in answer.text
        assert [path.name for path in (Path(app.instance_path) / "jobs").glob("*-*")] == [first]


def test_only_who_signed_in_may_upload_and_only_there_more_than_a_mebibyte(app, client):
    assert client.get("/batch").status_code == 303
    assert upload(client, csv_file(["hello"])).status_code == 403
    assert upload(client, b"x" * (MAX_BODY + 1)).status_code in (303, 403)
    client.post("/login", data={"password": PASSWORD})
    assert client.post("/", data={"text": "x" * (MAX_BODY + 1)}).status_code == 413
    assert (
        client.post("/api/v1/predict", data=b" " * (MAX_BODY + 1), content_type="application/json").status_code == 413
    )
    page = upload(client, csv_file(["hello there"] * 100_000)).headers["Location"]
    client.post(f"{page}/cancel")
    assert wait_until_over(client, page) == "cancelled"
    text = client.get(page).text
    assert "Somebody cancelled it" in text
    assert "Resume" in text


# --- A real gunicorn, and what may be killed ---


class Visitor:
    """A browser that has signed in, as far as a test needs one."""

    def __init__(self, server):
        self.server = server
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.send("/login", {"password": PASSWORD, "csrf_token": self.token("/login")})

    def get(self, path):
        with self.browser.open(self.server.url + path, timeout=30) as answer:
            return answer.read().decode()

    def token(self, path="/batch"):
        return re.search(r'name="csrf_token" value="(.+?)"', self.get(path))[1]

    def send(self, path, fields):
        boundary, body = encode_multipart(fields)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        with self.browser.open(urllib.request.Request(self.server.url + path, body, headers), timeout=60) as answer:
            return answer.url.removeprefix(self.server.url)

    def upload(self, content):
        return self.send("/batch", {"file": FileStorage(io.BytesIO(content), "many.csv"), "csrf_token": self.token()})

    def press(self, page, action):
        self.send(f"{page}/{action}", {"csrf_token": self.token(page)})

    def status(self, page):
        with suppress(OSError, HTTPError):
            return json.loads(self.get(f"{page}/status"))
        return {"state": "running", "progress": None}


@pytest.fixture
def visitor(server):
    return Visitor(server)


def process_of(page):
    """Return the process that runs a page's job, once it is there."""
    words = f"wsgi job {page.rsplit('/', 1)[1]}"
    find = ["pgrep", "-f", words]
    return int(wait_for(lambda: subprocess.run(find, capture_output=True, text=True).stdout, bool).split()[0])


def children(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout
    return [int(child) for child in found.split()]


def is_halfway(visitor, page):
    return wait_for(lambda: visitor.status(page), lambda now: now["state"] != "running" or now["progress"])


def check_complete(server, visitor, page, count):
    """Compare the result with what was uploaded and with the log: no row twice, none missing."""
    rows = list(csv.DictReader(io.StringIO(visitor.get(f"{page}/download"))))
    assert [row["ref"] for row in rows] == [str(i) for i in range(count)]
    assert server.stored() == sorted(row["prediction_id"] for row in rows)


COUNT = 60_000
MANY = csv_file([f"{text} {i}" for i, (_, text) in enumerate(messages(1000) * (COUNT // 1000))])


def test_a_run_outlives_its_worker_and_a_reload_and_is_no_part_of_the_server(server, visitor):
    page = visitor.upload(MANY)
    job = process_of(page)
    environment = Path(f"/proc/{job}/environ").read_text()
    assert "PROMETHEUS_MULTIPROC_DIR" not in environment
    assert not [link for link in Path(f"/proc/{job}/fd").iterdir() if "socket" in os.readlink(link)]
    workers = children(server.process.pid)
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    is_halfway(visitor, page)
    server.process.send_signal(signal.SIGHUP)
    assert wait_for(lambda: visitor.status(page), lambda now: now["state"] != "running", 120)["state"] == "done"
    assert process_of_is_gone(job)
    check_complete(server, visitor, page, COUNT)


def process_of_is_gone(pid):
    """Return whether a process is gone, a zombie not counted as gone."""
    return wait_for(lambda: not Path(f"/proc/{pid}").exists(), bool, 10)


def test_a_killed_run_is_interrupted_and_goes_on_where_it_stopped(server, visitor):
    page = visitor.upload(MANY)
    job = process_of(page)
    is_halfway(visitor, page)
    os.kill(job, signal.SIGKILL)
    process_of_is_gone(job)  # it leaves no zombie with the worker that started it
    wait_for(lambda: visitor.status(page), lambda now: now["state"] == "interrupted", 10)  # its workers notice
    assert 0 < len(server.stored()) < COUNT
    text = visitor.get(page)
    assert "Interrupted" in text
    assert "exactly where it stopped" in text
    visitor.press(page, "resume")
    assert wait_for(lambda: visitor.status(page), lambda now: now["state"] != "running", 120)["state"] == "done"
    check_complete(server, visitor, page, COUNT)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(app, signed_in):
    piece = gzip.compress(b"text\n" + b"a\n" * 5_000_000, mtime=0)
    bomb = piece * (MAX_UNPACKED // 10_000_000 + 1)  # a gzip file may have many members
    assert len(bomb) < MAX_UPLOAD / 20
    answer = upload(signed_in, bomb, "bomb.csv.gz")
    assert answer.status_code == 422
    assert "bomb.csv.gz unpacks to more than 500 MB" in answer.text
    assert not list((Path(app.instance_path) / "jobs").iterdir())


def test_a_compressed_file_that_breaks_off_is_refused(signed_in):
    answer = upload(signed_in, gzip.compress(csv_file(["hello"] * 1000), mtime=0)[:-9], "a.csv.gz")
    assert answer.status_code == 422
    assert "is not complete" in answer.text

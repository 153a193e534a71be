"""The batch page: a file is uploaded, scored by a process of its own, and downloaded, whatever dies meanwhile."""

import csv
import errno
import gzip
import io
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest
from clients import wait_until
from conftest import PASSWORD, Browser, hidden, make_job, messages, running_job, stored
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from webapp.config import MAX_BODY, MAX_UNPACKED, MAX_UPLOAD
from webapp.model.labels import Labels

SCRIPT = "<script>alert(1)</script> you have won a prize, call 09061701461 now"


def csv_file(texts, column="text"):
    buffer = io.StringIO()
    csv.writer(buffer).writerows([["ref", column, "note"], *([i, text, "=1+1"] for i, text in enumerate(texts))])
    return buffer.getvalue().encode()


@pytest.fixture
def signed_in(app, signed_in, monkeypatch):
    """A client that has signed in; jobs are done at once, in this process."""
    runner = app.extensions["runner"]
    monkeypatch.setattr(runner, "_spawn", lambda job_id, lock: runner.run(job_id))
    return signed_in


def upload(client, content, name="messages.csv", **fields):
    boundary, body = encode_multipart({"file": FileStorage(io.BytesIO(content), name), **fields})
    return client.post("/batch", data=body, content_type=f"multipart/form-data; boundary={boundary}")


def fetch(client, page):
    """Download a result; the answer is read to its end and its file closed."""
    with client.get(f"{page}/download") as answer:
        assert answer.data
        return answer


def jobs_of(app):
    return [path.name for path in (Path(app.instance_path) / "jobs").glob("*-*")]


def test_a_file_comes_back_with_its_verdicts(app, signed_in):
    texts = [SCRIPT, "", *(text for _, text in messages(60))]
    answer = upload(signed_in, csv_file(texts), "../Campaign answers.csv")
    assert answer.status_code == 303
    page = answer.headers["Location"]
    text = signed_in.get(page).text
    assert "62 rows: 31 spam, 30 ham, 1 with an error" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "The first 20 rows" in text

    download = fetch(signed_in, page)
    assert download.headers["Content-Disposition"] == 'attachment; filename="Campaign answers.predictions.csv"'
    assert download.headers["Cache-Control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(download.text)))
    assert [row["label"] for row in rows[:4]] == ["spam", "", "ham", "spam"]
    assert [row["prediction_id"] for row in rows if row["label"]] == stored(app)

    assert "Campaign answers.csv" in signed_in.get("/batch").text
    (result,) = Path(app.instance_path).rglob("Campaign answers.predictions.csv")
    result.unlink()
    assert signed_in.get(f"{page}/download").status_code == 404
    assert "deleted" in signed_in.post(f"{page}/delete", follow_redirects=True).text
    assert jobs_of(app) == []
    assert signed_in.get(page).status_code == 404


ODD_COLUMNS = (b"\\ud800", b"\\u0000", b"\\u202e<b>", b"x" * 100_000)
ODD_NAMES = ("a\x01\x1b[31mb.csv", "\u202egpj.csv", "\x1f", "../..", "/etc/passwd", "x/" * 5_000, "х" * 300 + ".csv")


def test_what_cannot_be_used_is_refused_at_once_and_nothing_is_kept(app, signed_in, tmp_path, monkeypatch, pa):
    zipped = gzip.compress(csv_file(["hello"] * 1000), mtime=0)
    bomb = gzip.compress(b"text\n" + b"a\n" * 5_000_000, mtime=0) * (MAX_UNPACKED // 10_000_000 + 1)
    assert len(bomb) < MAX_UPLOAD / 20
    for content, name, status, words in (
        (b"", "empty.csv", 422, "empty.csv is empty"),
        (b"x", "", 422, "Choose a file first"),
        (b"sep=;\n", "a.csv", 422, "There is no header"),
        (b"id,sender\n1,2\n", "a.csv", 422, "id, sender"),
        (b"PK\x03\x04\x14\x00[Content_Types].xml", "a.csv", 422, "a.csv is an Excel file: save it as CSV"),
        (b"," * 500_001 + b"text\n", "a.csv", 422, "500,002 columns, and at most 1,000"),
        (b"x" * (MAX_UPLOAD + 200_000), "a.csv", 413, "larger than 50 MB"),
        *((b'{"%s": "a", "b": 1, "c": 2}\n' % odd, "a.jsonl", 422, "no column") for odd in ODD_COLUMNS),
        (zipped[:-9], "a.csv.gz", 422, "a.csv.gz is not complete"),
        (bomb, "bomb.csv.gz", 422, "bomb.csv.gz unpacks to more than 500 MB"),
    ):
        answer = upload(signed_in, content, name)
        assert answer.status_code == status, name
        assert words in answer.text
        assert "instance" not in answer.text  # no path of the server

    with monkeypatch.context() as patch:
        patch.setattr(FileStorage, "save", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
        answer = upload(signed_in, csv_file(["hello"]))
    assert (answer.status_code, "No space left on device" in answer.text) == (503, True)

    monkeypatch.setattr("webapp.extras.batch.routes.MAX_UNPACKED", 5_000_000)
    pa.parquet.write_table(pa.table({"text": ["x" * 100_000] * 1_000}), tmp_path / "a.parquet")
    answer = upload(signed_in, (tmp_path / "a.parquet").read_bytes(), "a.parquet")
    assert "a.parquet unpacks to more than" in answer.text
    assert jobs_of(app) == []


def test_odd_files_and_names_get_a_page_a_preview_and_a_download(signed_in):
    files = {
        "header_over_two_lines.csv": (b'"id\nnumber",text\n1,hello there\n2,win a prize now\n', ""),
        "commas_in_a_header.tsv": (b"id\tone, two, three\tx\n1\twin a prize\t3\n", "one, two, three"),
        "semicolons.csv": (b"id;text, the message;x\n1;win a prize;2\n", "text, the message"),
        "half_a_pair.jsonl": (b'{"text":"hi"}\n{"text":"\\ud800"}\n{"text":"x","a":"\\ud800","label":"y"}\n', ""),
        "nul.csv": (b"id,text\n1,he\x00llo\n2,x\n", ""),
        "no_header.tsv": (b"ham\tsee you\nspam\twin a prize\n", ""),
        "empty_rows.csv": (b"text\n\n\n\n", ""),
        "packed.csv.gz": (gzip.compress(b"text\nsee you at lunch\n", mtime=0), ""),
        "no_ending": (b'{"words": "see you", "n": 1}\n', "words"),
        **dict.fromkeys(ODD_NAMES, (b"text\nhi\n", "")),
    }
    for name, (content, column) in files.items():
        page = upload(signed_in, content, name, text_column=column).headers["Location"]
        shown = signed_in.get(page)
        assert shown.status_code == 200
        assert ("The first" in shown.text) == (name != "empty_rows.csv"), name
        download = fetch(signed_in, page)
        assert download.headers["Content-Disposition"].isprintable()
        assert b"prediction_id" in (gzip.decompress(download.data) if name.endswith(".gz") else download.data)
        if name not in ODD_NAMES:
            first, _, endings = name.partition(".")
            ending = endings or "jsonl"  # by which programs know what to do
            assert download.headers["Content-Disposition"].endswith(f"={first}.predictions.{ending}")


def test_the_version_of_an_interrupted_run_is_kept(app, models):
    registry = app.extensions["inference"].registry
    for how in ("done", "interrupted", "broken"):
        _, folder = make_job(app, "batch", how, {"name": "a.csv"})
        (folder / "files").mkdir()
        state = json.dumps({"began_with": "", "model_version": how}) if how != "broken" else "{"
        (folder / "files" / "a.predictions.csv.partial.json").write_text(state)
    assert {version for ask in registry.in_use for version in ask()} == {"interrupted"}


def test_a_run_keeps_its_own_words_and_figures(app, signed_in, monkeypatch):
    """Whichever model is served later, and if its process dies between the result and the word that it is done."""
    page = upload(signed_in, csv_file([SCRIPT, "see you at lunch"])).headers["Location"]
    monkeypatch.setattr(app.extensions["inference"].registry.current(), "labels", Labels("normal", "urgent"))
    for _ in range(2):
        text = signed_in.get(page).text
        assert "2 rows: 1 spam, 1 ham, 0 with an error" in text
        assert '"spam-text"' in text
        (app.extensions["runner"].folder(page.rsplit("/", 1)[1]) / "state.json").write_text("{")  # half of it
        assert "Interrupted" in signed_in.get(page).text
        signed_in.post(f"{page}/resume")


def test_one_file_at_a_time(app, signed_in):
    with running_job(app, "batch", {"name": "first.csv"}) as first:
        answer = upload(signed_in, csv_file(["hello"]))
        assert (answer.status_code, "Another job is running" in answer.text) == (409, True)
        assert jobs_of(app) == [first]
        assert [words in signed_in.get(f"/batch/{first}").text for words in ("Running", "Cancel")] == [True, True]


def test_only_the_signed_in_may_send_more_than_a_mebibyte(client):
    assert (client.get("/batch").status_code, upload(client, csv_file(["hello"])).status_code) == (303, 403)
    assert upload(client, b"x" * (MAX_BODY + 1)).status_code in (303, 403)
    client.post("/login", data={"password": PASSWORD})
    assert client.post("/", data={"text": "x" * (MAX_BODY + 1)}).status_code == 413
    api = client.post("/api/v1/predict", data=b" " * (MAX_BODY + 1), content_type="application/json")
    assert api.status_code == 413
    assert upload(client, b"id,sender\n" + b"1,2\n" * MAX_BODY).status_code == 422  # read, and found without messages


# --- A real gunicorn, and what may be killed ---


def status(browser, page):
    with suppress(OSError, ValueError):  # nobody may be there to answer
        return json.loads(browser.ask(f"{page}/status")[1])
    return {"state": "running", "progress": None}


def process_of(page):
    """Return the process that runs a page's job, once it is there."""
    find = ["pgrep", "-f", f"wsgi job {page.rsplit('/', 1)[1]}"]
    return int(wait_until(lambda: subprocess.run(find, capture_output=True, text=True).stdout).split()[0])


COUNT = 20_000


def test_a_large_file_may_come_in_chunks(shared_server):
    """As some tunnels and proxies send it."""
    browser = Browser(shared_server.url, PASSWORD)
    file = FileStorage(io.BytesIO(b"id,sender\n" + b"1,2\n" * MAX_BODY), "none.csv")
    form = {"csrf_token": hidden(browser.ask("/batch")[1], "csrf_token"), "file": file}
    boundary, body = encode_multipart(form)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert browser.ask("/batch", iter([body]), kind)[0] == 422  # read to its end, and found without messages


def test_a_run_outlives_the_server_and_a_kill(server):
    browser = Browser(server.url, PASSWORD)
    content = csv_file([f"{text} {i}" for i, (_, text) in enumerate(messages(1000) * (COUNT // 1000))])
    browser.send("/batch", file=FileStorage(io.BytesIO(content), "many.csv"))
    page = browser.at
    job = process_of(page)
    assert "PROMETHEUS_MULTIPROC_DIR" not in Path(f"/proc/{job}/environ").read_text()
    assert not [link for link in Path(f"/proc/{job}/fd").iterdir() if "socket" in os.path.realpath(link)]
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: status(browser, page)["progress"])
    server.process.send_signal(signal.SIGHUP)  # a reload
    os.kill(job, signal.SIGKILL)
    wait_until(lambda: status(browser, page)["state"] == "interrupted")
    assert 0 < len(server.stored()) < COUNT
    assert "exactly where it stopped" in browser.ask(page)[1]
    browser.send(f"{page}/resume", page)
    process_of(page)
    browser.send(f"{page}/cancel", page)
    wait_until(lambda: status(browser, page)["state"] == "interrupted")
    assert len(server.stored()) < COUNT
    browser.send(f"{page}/resume", page)
    job = process_of(page)
    wait_until(lambda: status(browser, page)["state"] == "done", 120)
    wait_until(lambda: not Path(f"/proc/{job}").exists())  # it leaves no zombie with the worker that started it
    rows = list(csv.DictReader(io.StringIO(browser.ask(f"{page}/download")[1])))
    assert [row["ref"] for row in rows] == [str(i) for i in range(COUNT)]
    assert server.stored() == sorted(row["prediction_id"] for row in rows)

"""What people send stays where it belongs: gone when purged, never in logs, nowhere if texts are not to be stored."""

import hashlib
import io
import re
import sqlite3
from contextlib import closing

import pytest
import sqlalchemy as sa
from clients import wait_until
from conftest import FORM, HAM, JSON, PASSWORD, Browser, Server, execute, make_job, messages
from test_bad_requests import exchange, post
from werkzeug.datastructures import FileStorage

from webapp.extras.review.reviews import give_review
from webapp.log.tables import metadata, predictions

MARK = "Xyzzy7Plugh"


def files_with(folder, mark=MARK):
    """Return the files below a folder that hold a mark, whatever they are."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)) for path in paths if mark.encode().lower() in path.read_bytes().lower()}


def test_what_is_purged_beside_a_running_server_leaves_no_trace_in_any_file(server, make_app):
    folder, ids = server.instance_folder, []
    for number in range(40):  # enough for several pages of the database, and for its write-ahead log
        status, answer = server.call("/api/v1/predict", {"text": f"{MARK} number {number} {HAM}" + " and so on" * 50})
        assert status == 200
        ids.append(answer["id"])
    assert Browser(server.url).send("/", text=f"by the form: {MARK}")[0] == 200
    with_app = make_app(folder)
    engine = with_app.extensions["engine"]
    for prediction_id in ids[:5]:
        give_review(engine, prediction_id, "web:anna", "spam", "uncertain")
    job, job_folder = make_job(with_app, "batch", "done", {"name": f"{MARK}.csv"}, result={"rows": 1})
    (job_folder / "input.csv").write_text(f"text\n{MARK}\n")
    assert files_with(folder) >= {"log.db-wal", f"jobs/{job}/input.csv"}  # so the search finds what is there

    execute(engine, sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))
    size = (folder / "log.db").stat().st_size
    result = with_app.test_cli_runner().invoke(args=["log", "purge", "--older-than", "0d"])
    assert "41 predictions deleted" in result.output
    assert (folder / "log.db").stat().st_size < size - 40 * len(" and so on" * 50)  # its place is given back
    assert files_with(folder) == set()
    for prediction_id in ids:
        assert files_with(folder, prediction_id) == set()  # nor what was said of it
    status, answer = server.call("/api/v1/predict", {"text": HAM})
    assert status == 200
    assert server.stored() == [answer["id"]]


@pytest.mark.databases("postgresql")
def test_what_is_purged_cannot_be_read_in_postgresql_any_more(app, client, flask):
    prediction = client.post("/api/v1/predict", json={"text": MARK}).json["id"]
    give_review(app.extensions["engine"], prediction, "web:anna", "spam", "uncertain")
    assert "1 prediction deleted." in flask("log", "purge", "--older-than", "0d").output
    for table in metadata.sorted_tables:
        rows = str(execute(app.extensions["engine"], sa.select(table)))
        assert (MARK in rows, prediction in rows) == (False, False), table.name


@pytest.fixture
def forgetful(make_app):
    """An app that stores no texts."""
    return make_app("instance", STORE_TEXT=False)


def test_no_door_stores_a_text_but_a_keyed_hash(forgetful, make_app, tmp_path):
    text = f"{MARK} you have won, call 09061701461 now"
    client, flask = forgetful.test_client(), forgetful.test_cli_runner().invoke
    (tmp_path / "in.csv").write_text(f'text\n"{text}"\n')
    assert client.post("/", data={"text": text}).status_code == 303
    assert client.post("/api/v1/predict", json={"text": text}).json["explanation"]  # told, and not kept
    assert client.post("/api/v1/predict/batch", json={"texts": [text, text]}).status_code == 200
    assert flask(args=["predict", text]).exit_code == 0
    assert flask(args=["batch", str(tmp_path / "in.csv"), str(tmp_path / "out.csv")]).exit_code == 0
    client.post("/", data={"text": text + "x" * 10_000})  # refused
    client.post("/api/v1/predict", json={MARK: text})
    rows = execute(forgetful.extensions["engine"], sa.select(predictions))
    assert {row.source for row in rows} == {"form", "api", "cli", "batch"}
    assert {(row.text, row.explanation) for row in rows} == {(None, None)}
    (digest,) = {row.text_hash for row in rows}
    assert re.fullmatch("[0-9a-f]{64}", digest)
    assert digest != hashlib.sha256(text.encode()).hexdigest()
    other = make_app("other", STORE_TEXT=False)
    other.extensions["inference"].predict([text], "api")
    assert execute(other.extensions["engine"], sa.select(predictions.c.text_hash)) != [digest]
    assert files_with(tmp_path / "instance") == set()
    assert files_with(tmp_path / "instance", "09061701461") == set()


def test_without_texts_reviews_come_from_elsewhere(forgetful, tmp_path):
    client, flask = forgetful.test_client(), forgetful.test_cli_runner().invoke
    rows = forgetful.extensions["inference"].predict([text for _, text in messages(60)], "api")
    client.post("/login", data={"password": PASSWORD})

    # The truth from elsewhere is taken, and counts, as nobody has to see the message for that.
    key = flask(args=["api-key", "create", "truth"]).output.split()[0]
    sent = {"true_label": "spam"}
    path = f"/api/v1/predictions/{rows[0]['id']}/review"
    assert client.put(path, json=sent, headers={"Authorization": f"Bearer {key}"}).status_code == 200
    assert client.post("/review/sample", data={"size": 60, "days": 1}).status_code == 303
    file = "id,true_label\n" + "".join(f"{row['id']},{row['label']}\n" for row in rows[1:])
    (tmp_path / "truth.csv").write_text(file)
    assert "59 new" in flask(args=["review", "import", str(tmp_path / "truth.csv")]).output
    assert "right on 60 reviewed messages" in client.get("/monitor").text

    # Whoever would have to see it is told why they cannot.
    assert "does not store messages" in client.get(f"/predictions/{rows[0]['id']}").text
    for queue in ("random", "uncertain", "reported", "all"):
        page = client.get("/review", query_string={"queue": queue})
        assert (page.status_code, "does not store messages" in page.text) == (200, True)
    page = client.get(f"/review?queue=all&id={rows[1]['id']}").text
    assert "was not stored" in page
    assert "review import FILE" in page
    assert re.findall(r'value="(\w+)" data-key="\w" aria-pressed="\w+" disabled', page) == ["spam", "ham"]
    refused = flask(args=["retrain"])
    assert (refused.exit_code, "whose text the log keeps: HAMLET_STORE_TEXT" in refused.output) == (2, True)
    for path in ("/monitor", "/models", "/models/compare?on=reviews", "/batch"):
        assert client.get(path).status_code == 200
    assert flask(args=["log", "export"]).exit_code == 0


def test_no_log_holds_what_people_send_whatever_is_wrong_with_it(tmp_path, make_app):
    with Server(tmp_path / "instance", HAMLET_WORKERS="1", HAMLET_STORE_TEXT="false") as server:
        browser = Browser(server.url)
        assert browser.send("/", text=f"{MARK} hello")[0] == 200
        assert browser.send("/", text=MARK + "x" * 10_000)[0] == 422
        assert browser.send("/", text=MARK * 200_000)[0] == 413
        assert browser.ask("/", f"text={MARK}".encode(), FORM)[0] == 400
        assert browser.send("/login", password=MARK)[0] == 403
        assert server.call("/api/v1/predict", {"text": MARK})[0] == 200
        assert server.call("/api/v1/predict/batch", {"texts": [MARK] * 3})[0] == 200
        for body, kind, status in (
            (f'{{"text": "{MARK}', JSON, 400),
            (f'{{"text": ["{MARK}"]}}', JSON, 422),
            (f'{{"{MARK}": 1}}', JSON, 422),
            (f'{{"text": "{MARK}\\ud83d"}}', JSON, 422),
            (f'{{"text": "{MARK * 2000}"}}', JSON, 422),
            (f'{{"text": "{MARK * 100_000}"}}', JSON, 413),
            (f'{{"text": "{MARK}"}}', {"Content-Type": "text/plain"}, 415),
        ):
            assert browser.ask("/api/v1/predict", body.encode(), kind)[0] == status, body[:60]
        assert server.call("/api/v1/predict/batch", {"texts": [MARK, ""]})[0] == 422
        assert browser.ask("/api/v1/predict", f'{{"text": "{MARK}é"}}'.encode("latin-1"), JSON)[0] == 400
        for path in (f"/?text={MARK}", f"/review?queue=all&text={MARK}", f"/api/v1/predictions?text={MARK}"):
            browser.ask(path)

        # What is no HTTP: after a wrong length the rest of a message looks like the next request.
        for request in (
            post(b"Content-Length: 2\r\n", f"{{}}{MARK} is the rest of it\r\n\r\n".encode()),
            post(b"Content-Length: 999\r\n", f'{{"text": "{MARK}"}}'.encode()),
            post(f"Content-Length: {MARK}\r\n".encode(), b"{}"),
            post(f"{MARK} without a colon\r\n".encode(), b""),
            f"{MARK}\r\n\r\n".encode(),
            f"GET / {MARK}\r\n\r\n".encode(),
        ):
            assert not re.search(rb"gunicorn/\d|Python|Traceback", exchange(server, request))

        # A file, and the process that scores it.
        assert browser.send("/login", password=PASSWORD)[0] == 200
        rows = f"text,note\n{MARK},{MARK}\n,\n{MARK}{'x' * 10_000},\n"
        for content, status in ((rows, 200), (f"{MARK},{MARK}x\n1,2\n", 422)):
            file = FileStorage(io.BytesIO(content.encode()), "messages.csv")
            assert browser.send("/batch", file=file)[0] == status
        with_app = make_app(server.instance_folder)
        runner = with_app.extensions["runner"]
        wait_until(lambda: runner.list_jobs()[0].state == "done")
        (job,) = runner.list_jobs()
        assert MARK not in (runner.folder(job.id) / "output.log").read_text()
        assert with_app.test_client().get("/healthz").status_code == 200

        # The log is away, in two ways.
        with closing(sqlite3.connect(server.instance_folder / "log.db", 60, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            assert server.call("/api/v1/predict", {"text": MARK})[0] == 503
            other.execute("ROLLBACK")
            metrics = server.call("/metrics")[1]
            other.execute("ALTER TABLE predictions RENAME TO elsewhere")
            assert server.call("/api/v1/predict", {"text": MARK})[0] == 503
            assert browser.send("/", "/api/docs", text=MARK)[0] == 503
            assert browser.ask(f"/review?queue=all&text={MARK}")[0] in (500, 503)
            other.execute("ALTER TABLE elsewhere RENAME TO predictions")
        assert MARK not in metrics
        server.stop()
    output = server.output()
    assert "POST /api/v1/predict 422" in output
    assert "The log cannot be used" in output
    assert MARK.lower() not in output.lower()
    # The uploaded file is where its page says that it is, until it is deleted; the failures, the sums, the counts and
    # all the rest hold nothing.
    assert {path.partition("/")[0] for path in files_with(server.instance_folder)} <= {"jobs"}
    assert not [path for path in files_with(server.instance_folder) if path.endswith(".log")]

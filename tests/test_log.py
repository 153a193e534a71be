"""The log: answered means stored, migrations lose nothing, export, purge and copy."""

import csv
import datetime as dt
import gc
import io
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from unittest.mock import DEFAULT, Mock

import pandas as pd
import pytest
import sqlalchemy as sa
from clients import wait_until
from conftest import HAM, SPAM, execute, stored

from webapp.app import create_app
from webapp.errors import InvalidInput, LogUnavailable
from webapp.extras.access import keys
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.extras.tools.commands import NOT_COPIED, copy_rows
from webapp.log.database import open_database
from webapp.log.export import purge
from webapp.log.tables import (
    FIRST_VERSION,
    STEPS,
    create_tables,
    hourly_predictions,
    idempotency_keys,
    metadata,
    predictions,
    schema_version,
)

pytestmark = pytest.mark.databases("sqlite", "postgresql")


def predict(client, text=HAM):
    return client.post("/api/v1/predict", json={"text": text})


def test_threads_that_write_at_once_lose_nothing(app):
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda _: predict(app.test_client()).json["id"], range(200)))
    assert set(stored(app)) == set(ids)


@pytest.mark.databases("sqlite")
def test_whatever_breaks_a_shared_commit_none_of_them_is_answered(app, monkeypatch):
    log = app.extensions["inference"].log
    monkeypatch.setattr(log, "_insert", Mock(wraps=log._insert, side_effect=[MemoryError(), *[DEFAULT] * 9]))
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    with ThreadPoolExecutor(4) as pool, log._turn:
        statuses = [pool.submit(lambda: predict(app.test_client()).status_code) for _ in range(4)]
        wait_until(lambda: len(log._waiting) == 4)
    assert [status.result() for status in statuses] == [500] * 4


@pytest.mark.databases("sqlite")
def test_what_cannot_be_stored_is_not_answered(app, client, monkeypatch):
    address = client.post("/", data={"text": HAM}).location
    report = {"report": "right"}
    for module in ("database", "writer"):
        monkeypatch.setattr(f"webapp.log.{module}.BUSY_TIMEOUT_S", 0.1)
    app.extensions["engine"].dispose()  # its open connections still have the long timeout
    with closing(sqlite3.connect(app.extensions["engine"].url.database, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        answer = predict(client)
        assert answer.status_code == 503
        assert "label" not in answer.json
        assert "try again" in answer.json["detail"]
        assert client.get("/readyz").status_code == 503
        assert client.post("/", data={"text": HAM}).status_code == 503
        assert client.post(f"{address}/report", data=report).status_code == 503
        assert client.get("/healthz").status_code == 200
    assert (predict(client).status_code, client.get("/readyz").status_code) == (200, 200)


def test_a_new_step_runs_once_and_keeps_every_row_and_one_that_fails_changes_nothing(client, engine):
    ids = [predict(client).json["id"] for _ in range(3)]
    colour = "ALTER TABLE predictions ADD COLUMN colour TEXT"
    with pytest.raises((LogUnavailable, sa.exc.DBAPIError)):
        create_tables(engine, [*STEPS, [colour, "nonsense"]])
    assert "colour" not in {column["name"] for column in sa.inspect(engine).get_columns("predictions")}
    create_tables(engine)
    for _ in range(2):
        create_tables(engine, [*STEPS, [colour]])
    assert [row.id for row in execute(engine, sa.text("SELECT id, colour FROM predictions ORDER BY id"))] == ids


def test_processes_that_start_together_do_not_migrate_twice(tmp_path, database_url):
    if database_url:
        metadata.drop_all(engine := open_database(database_url, tmp_path))
        engine.dispose()

    def start(_):
        engine = open_database(database_url, tmp_path)
        create_tables(engine)
        return engine

    with ThreadPoolExecutor(4) as pool:
        for engine in list(pool.map(start, range(4))):  # raises what one of them raises
            engine.dispose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it exits with a connection open
def test_a_log_of_another_hamlet_is_left_alone(app, tmp_path, database_url):
    for version, advice in (
        (FIRST_VERSION - 1, "move the log away, and a new one is begun"),
        (FIRST_VERSION + len(STEPS) + 1, "use the Hamlet that wrote"),
    ):
        execute(app.extensions["engine"], sa.update(schema_version).values(version=version))
        with pytest.raises(SystemExit, match=f"Hamlet cannot start: .* {advice}"):
            create_app(tmp_path / "instance", DATABASE_URL=database_url)
    gc.collect()


def test_an_export_gives_each_prediction_as_it_is_stored_oldest_first_from_a_date_on(app, client, flask):
    texts = [SPAM, HAM, 'with "quotes",\nand lines']
    ids = [predict(client, text).json["id"] for text in texts]
    changes = {"spam_probability": 0.1 + 0.2, "explanation": None, "challenger_label": "ham"}
    changes["created_at"] = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with app.extensions["engine"].begin() as connection:
        connection.execute(sa.update(predictions).where(predictions.c.id == ids[1]).values(changes))
        stored = connection.execute(sa.select(predictions).order_by(predictions.c.id)).mappings().all()
    exported = [json.loads(line) for line in flask("log", "export", "--format", "jsonl").output.splitlines()]
    assert exported[1]["created_at"] == "2026-01-01T00:00:00.000000+00:00"  # in one format, as pandas wants it
    assert [row | {"created_at": dt.datetime.fromisoformat(row["created_at"])} for row in exported] == stored
    table = flask("log", "export").output
    frame = pd.read_csv(io.StringIO(table))
    assert (frame["text"].tolist(), frame.columns.tolist()) == (texts, predictions.c.keys())
    first, row, _ = csv.DictReader(io.StringIO(table))
    assert json.loads(first["explanation"]) == stored[0]["explanation"]
    assert (row["explanation"], row["spam_probability"]) == ("", repr(0.1 + 0.2))
    assert flask("log", "export", "--bom").stdout_bytes.startswith(b'\xef\xbb\xbf"id"')
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    for since, count in (("2020-01-01", 3), (f"{tomorrow:%Y-%m-%d}", 0)):
        assert flask("log", "export", "--since", since).output.count('"api"') == count


def test_what_is_purged_with_a_prediction_is_found_by_an_index():
    for table in metadata.sorted_tables:
        if "prediction_id" in table.c:
            assert any(index.columns.keys()[0] == "prediction_id" for index in table.indexes), table.name


@pytest.mark.databases("sqlite")
def test_purge_says_when_a_reader_keeps_traces_alive(app, client, flask, monkeypatch):
    monkeypatch.setattr("webapp.log.export.CHECKPOINT_S", 0.2)
    predict(client)
    with closing(sqlite3.connect(app.extensions["engine"].url.database, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM predictions").fetchone()
        result = flask("log", "purge", "--older-than", "0d")
    assert result.exit_code == 2
    assert "Run this again" in result.output
    assert "0 predictions deleted." in flask("log", "purge", "--older-than", "0d").output
    assert "such as 90d" in flask("log", "purge", "--older-than", "soon").output


@pytest.mark.databases("sqlite")
def test_an_emptied_log_is_not_begun_anew(app, tmp_path):
    app.extensions["engine"].dispose()
    (tmp_path / "instance" / "log.db").write_bytes(b"")
    with pytest.raises(SystemExit, match=r"Hamlet cannot start: .*log\.db was deleted, moved, replaced or emptied"):
        create_app(tmp_path / "instance")
    assert (tmp_path / "instance" / "log.db").read_bytes() == b""


@pytest.mark.databases("sqlite")
def test_reading_commands_do_not_wait_for_a_writer(app, client, flask, tmp_path):
    predict(client)
    with closing(sqlite3.connect(app.extensions["engine"].url.database, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        other = create_app(tmp_path / "instance")
        assert len(other.test_cli_runner().invoke(args=["log", "export"]).output.splitlines()) == 2
        other.extensions["engine"].dispose()


# --- Records of files and streams: each is logged once, however often it is repeated ---


@pytest.fixture
def inference(app):
    return app.extensions["inference"]


def predict_once(inference, texts, source="stream"):
    return dict(zip(texts, inference.predict(list(texts.values()), source, list(texts)), strict=True))


def test_a_repeated_record_keeps_its_prediction(app, inference):
    with pytest.raises(InvalidInput, match="is empty"):  # which leaves none of them logged
        predict_once(inference, {"stream t/0/1": SPAM, "stream t/0/2": " "})
    assert len(stored(app, predictions)) == 0
    first = predict_once(inference, {"stream t/0/1": SPAM, "stream t/0/2": HAM})
    again = predict_once(inference, {"stream t/0/3": SPAM, "stream t/0/2": HAM, "stream t/0/1": SPAM})
    assert list(again) == ["stream t/0/3", "stream t/0/2", "stream t/0/1"]
    for key, row in first.items():
        assert again[key] == {**again[key], **row}
    assert again["stream t/0/3"]["id"] != first["stream t/0/1"]["id"]  # the same text, but another record
    assert len(stored(app, predictions)) == len(stored(app, idempotency_keys)) == 3
    purge(inference.log.engine, dt.datetime.now(dt.UTC) + dt.timedelta(days=1))  # which forgets the records too
    assert len(stored(app, predictions)) == len(stored(app, idempotency_keys)) == 0


def test_more_records_than_one_statement_takes(app, inference):
    texts = {f"batch r/{number}": f"message {number}" for number in range(1200)}
    first = predict_once(inference, texts, "batch")
    again = predict_once(inference, texts, "batch")
    assert [row["id"] for row in again.values()] == [row["id"] for row in first.values()]
    assert [row["text"] for row in first.values()] == list(texts.values())
    assert len(stored(app, predictions)) == 1200


def test_what_another_process_logs_meanwhile_counts(app, inference, monkeypatch):
    taken = predict_once(inference, {"stream t/0/1": SPAM})["stream t/0/1"]
    looks = [{}, DEFAULT, DEFAULT]  # the first one comes too early to see it
    monkeypatch.setattr(inference.log, "find_by_key", Mock(wraps=inference.log.find_by_key, side_effect=looks))
    both = predict_once(inference, {"stream t/0/2": HAM, "stream t/0/1": SPAM})
    assert both["stream t/0/1"]["id"] == taken["id"]
    assert len(stored(app, predictions)) == len(stored(app, idempotency_keys)) == 2


# --- log copy: the whole log in another database, or nothing ---


@pytest.fixture
def target(request, tmp_path, database_url):
    """A database that the log is copied into: of the other kind than the log's."""
    if database_url:
        engine = open_database(f"sqlite:///{tmp_path / 'copy.db'}", None)
        create_tables(engine)  # a file with nothing at all in it is a log that was lost
        yield engine
        engine.dispose()
    else:
        with request.getfixturevalue("postgres").database() as url:
            engine = open_database(url, None)
            yield engine
            engine.dispose()


@pytest.fixture
def log(app):
    """A log with a few rows in every table."""
    engine, inference = app.extensions["engine"], app.extensions["inference"]
    rows = inference.predict([f"{SPAM if number % 3 else HAM} {number} ü 😀" for number in range(120)], "api")
    inference.predict([HAM, SPAM], "stream", ["stream messages/0/7", "batch Übung/1"])
    inference.record_failure("form", 422, "The input cannot be used", "id")
    inference.log.set_sender_report(rows[3]["id"], "wrong")
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(minutes=1), 20, seed=1)
    declare_reference(engine, now - dt.timedelta(hours=2), now + dt.timedelta(hours=1))
    keys.create(engine, "one")
    for reviewer, label in (("web:1", "spam"), ("key:one", "ham")):
        give_review(engine, rows[0]["id"], reviewer, label, "all")


def everything(engine):
    """Return all rows that are to be copied."""
    tables = [table for table in metadata.sorted_tables if table not in NOT_COPIED]
    return {table.name: sorted(map(repr, execute(engine, sa.select(table)))) for table in tables}


def test_everything_is_copied_once_into_an_empty_database(app, flask, log, target, monkeypatch):
    monkeypatch.setattr("webapp.extras.monitor.rollups.SETTLED", dt.timedelta(0))
    url = target.url.render_as_string(hide_password=False)
    result = flask("log", "copy", "--to", url)
    assert result.exit_code == 0, result.output
    assert "predictions: 122 rows" in result.output
    assert "Both databases hold the same." in result.output
    copied = everything(target)
    assert copied == everything(app.extensions["engine"])
    for name in ("predictions", "failures", "idempotency_keys", "reviews", "samples", "sample_members", "api_keys"):
        assert copied[name], name
    assert execute(target, sa.select(sa.func.sum(hourly_predictions.c.count))) == [122]  # the sums are made anew
    for used in (url, app.extensions["engine"].url.render_as_string(hide_password=False)):
        again = flask("log", "copy", "--to", used)
        assert (again.exit_code, "has rows already. Give an empty database" in again.output) == (2, True)
    assert everything(target) == copied


def test_an_interrupted_copy_leaves_nothing(app, log, target, monkeypatch):
    until_then = [DEFAULT, DEFAULT, DEFAULT, KeyboardInterrupt]
    monkeypatch.setattr(sa, "insert", Mock(wraps=sa.insert, side_effect=until_then))
    with pytest.raises(KeyboardInterrupt):
        copy_rows(app.extensions["engine"], target)
    assert not any(everything(target).values())


@pytest.mark.databases("sqlite")
def test_an_address_that_cannot_be_used_is_said_in_a_line(flask):
    for url, words in (
        ("postgresql://hamlet:secret@127.0.0.1:1/hamlet", "hamlet:***@127.0.0.1:1/hamlet cannot be used: connection"),
        ("sqlite:////no/such/copy.db", "no/such/copy.db cannot be used: unable to open"),
        ("mysql://hamlet@127.0.0.1/hamlet", "take sqlite or postgresql"),
        ("nonsense", "sqlite:///FILE"),
        ("", "cannot be read"),
    ):
        result = flask("log", "copy", "--to", url)
        assert (result.exit_code, words in result.output) == (2, True)
    nowhere = flask("demo", "--url", "http://[x")
    assert (nowhere.exit_code, "http://[x does not answer" in nowhere.output) == (2, True)

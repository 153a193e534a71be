"""flask log copy: the whole log in another database, nothing twice, nothing lost, and proof of it."""

import datetime as dt

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM

from webapp.extras.access import keys as api_keys
from webapp.extras.monitor.references import declare_reference
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.extras.tools import copy
from webapp.log.database import open_database
from webapp.log.tables import create_tables, hourly_predictions, metadata, predictions, reviews

pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def inference(app):
    return app.extensions["inference"]


@pytest.fixture
def target_url(request, tmp_path, database_url):
    """A database that the log is copied into: of the other kind than the log's."""
    if database_url:
        yield f"sqlite:///{tmp_path / 'copy.db'}"
    else:
        with request.getfixturevalue("postgres").database() as url:
            yield url


@pytest.fixture
def target(target_url):
    engine = open_database(target_url, None)
    yield engine
    engine.dispose()


@pytest.fixture
def log(app, inference):
    """A log with a few rows in every table; return the ids of its predictions."""
    engine = app.extensions["engine"]
    texts = [f"{SPAM if number % 3 else HAM} {number} ü 😀" for number in range(120)]
    rows = inference.predict(texts, "api")
    inference.predict([HAM, SPAM], "stream", ["stream messages/0/7", "batch Übung/1"])
    inference.record_failure("form", 422, "The input cannot be used", "id")
    ids = [row["id"] for row in rows]
    inference.log.set_sender_report(ids[3], "wrong")
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now, 20, seed=1)
    declare_reference(engine, now - dt.timedelta(hours=2), now + dt.timedelta(hours=1))
    api_keys.create(engine, "one")
    for reviewer, label in (("web:1", "spam"), ("key:one", "ham")):
        give_review(engine, ids[0], reviewer, label, "all")
    return ids


def everything(engine):
    """Return all rows that are to be copied."""
    with engine.connect() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table))))
            for table in metadata.sorted_tables
            if table not in copy.NOT_COPIED
        }


def test_everything_is_copied_and_compared(app, flask, log, target, target_url):
    result = flask("log", "copy", "--to", target_url)
    assert result.exit_code == 0, result.output
    assert "predictions: 122 rows, 122 of them written now" in result.output
    assert "Both databases hold the same." in result.output
    copied = everything(target)
    assert copied == everything(app.extensions["engine"])
    for name in ("predictions", "failures", "idempotency_keys", "reviews", "samples", "sample_members", "api_keys"):
        assert copied[name], name


def test_a_second_run_takes_what_is_new_and_what_changed(app, flask, log, inference, target, target_url):
    assert flask("log", "copy", "--to", target_url).exit_code == 0
    new = inference.predict([SPAM], "api")[0]["id"]
    inference.log.set_sender_report(log[5], "right")
    result = flask("log", "copy", "--to", target_url)
    assert "predictions: 123 rows, 2 of them written now" in result.output
    assert "reviews: 2 rows, 0 of them written now" in result.output
    with target.connect() as connection:
        reports = dict(connection.execute(sa.select(predictions.c.id, predictions.c.sender_report)).all())
    assert reports[new] is None
    assert reports[log[5]] == "right"


def test_an_interrupted_copy_goes_on_where_it_was(app, log, target, monkeypatch):
    monkeypatch.setattr(copy, "CHUNK_ROWS", 10)
    engine, same_keys, left = app.extensions["engine"], copy._same_keys, [7]  # chunks of predictions

    def stop(connection, table, rows):
        left[0] -= table.name == "predictions"
        if not left[0]:
            raise KeyboardInterrupt
        return same_keys(connection, table, rows)

    monkeypatch.setattr(copy, "_same_keys", stop)
    with pytest.raises(KeyboardInterrupt):
        copy.copy_log(engine, target)
    monkeypatch.setattr(copy, "_same_keys", same_keys)
    with target.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(predictions)).scalar() == 60
    copied = {one.table: one for one in copy.copy_log(engine, target)}
    assert (copied["predictions"].rows, copied["predictions"].written) == (122, 62)
    assert everything(target) == everything(engine)


def test_a_target_with_rows_of_its_own_is_refused_and_left_alone(app, flask, log, target, target_url):
    create_tables(target)
    with target.begin() as connection:
        row = {"id": "x", "prediction_id": "x", "reviewer": "web:1", "true_label": "ham", "queue": "all"}
        now = dt.datetime.now(dt.UTC)
        connection.execute(sa.insert(reviews), row | {"created_at": now})
    result = flask("log", "copy", "--to", target_url)
    assert result.exit_code == 2
    assert "table reviews has rows that this log does not have" in result.output
    assert [name for name, rows in everything(target).items() if rows] == ["reviews"]


def test_a_target_that_others_write_to_is_said(app, log, target, monkeypatch):
    upsert = copy._upsert

    def meddle(engine, table):
        if table.name == "reviews":
            with engine.begin() as connection:
                row = {"id": "x", "prediction_id": "x", "reviewer": "web:9", "true_label": "ham", "queue": "all"}
                now = dt.datetime.now(dt.UTC)
                connection.execute(sa.insert(reviews), row | {"created_at": now, "overruled": 0})
        return upsert(engine, table)

    monkeypatch.setattr(copy, "_upsert", meddle)
    with pytest.raises(copy.BadData, match="The copy of reviews has 3 rows, not 2"):
        copy.copy_log(app.extensions["engine"], target)


def test_what_is_predicted_meanwhile_is_left_for_the_next_run(app, flask, log, inference, target_url, monkeypatch):
    copy_table = copy._copy

    def meanwhile(*arguments):
        if arguments[2].name == "predictions":  # other tables were read before
            inference.predict([HAM], "api")[0]
        return copy_table(*arguments)

    monkeypatch.setattr(copy, "_copy", meanwhile)
    result = flask("log", "copy", "--to", target_url)
    assert "predictions: 122 rows, 122 of them written now" in result.output
    monkeypatch.undo()
    assert "predictions: 123 rows, 1 of them written now" in flask("log", "copy", "--to", target_url).output


def test_the_sums_of_the_copy_are_made_anew(flask, log, target, target_url, monkeypatch):
    monkeypatch.setattr("webapp.extras.monitor.rollups.SETTLED", dt.timedelta(0))
    assert flask("log", "copy", "--to", target_url).exit_code == 0
    with target.connect() as connection:
        assert connection.execute(sa.select(sa.func.sum(hourly_predictions.c.count))).scalar() == 122


def test_the_log_is_not_copied_onto_itself(app, flask, log):
    url = app.extensions["engine"].url.render_as_string(hide_password=False)
    result = flask("log", "copy", "--to", url)
    assert (result.exit_code, "in that database already" in result.output) == (2, True)


@pytest.mark.databases("sqlite")
@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://hamlet@127.0.0.1:1/hamlet", "connection"),
        ("mysql://hamlet@127.0.0.1/hamlet", "take sqlite or postgresql"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_target_that_cannot_be_used_is_said_in_a_line(flask, url, words):
    result = flask("log", "copy", "--to", url)
    assert result.exit_code == 2
    assert words in result.output

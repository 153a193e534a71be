"""flask log copy: the whole log in another database, or nothing."""

import datetime as dt
from unittest.mock import DEFAULT, Mock

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, execute

from webapp.extras.access import keys
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.extras.tools.commands import NOT_COPIED, copy_rows
from webapp.log.database import open_database
from webapp.log.tables import create_tables, hourly_predictions, metadata

pytestmark = pytest.mark.databases("sqlite", "postgresql")


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

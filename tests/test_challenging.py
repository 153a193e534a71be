"""The shadow test: a challenger's word is stored and never shown, and who is right; and switches of what is served."""

import datetime as dt
import errno
import itertools
import string
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, execute

from webapp.config import PROJECT_SET
from webapp.errors import ModelUnusable
from webapp.extras.lifecycle import switching
from webapp.extras.lifecycle.challenger import challenger, shadow_report
from webapp.extras.review.queues import count_waiting, upcoming
from webapp.extras.review.reviews import give_review
from webapp.log.tables import new_id, predictions
from webapp.log.writer import LogWriter
from webapp.model.data import read_labelled

OTHERS = map("".join, itertools.product(string.ascii_lowercase, repeat=3))  # texts that are no copies
SERVED, CHALLENGER = "20260101-000000-aaaaaaa", "20260102-000000-bbbbbbb"
pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def registry(app):
    return app.extensions["inference"].registry


@pytest.fixture
def log(engine):
    """Log predictions: log("spam", "ham", 3) are three that the served version calls spam, the challenger ham."""

    def add(label, challenger_label, count=1, served=SERVED, version=CHALLENGER, text=None):
        rows = []
        for _ in range(count):
            row = {"id": new_id(), "created_at": dt.datetime.now(dt.UTC), "source": "api", "latency_ms": 1.0}
            row |= {"text": text or f"hello {next(OTHERS)}", "label": label, "threshold": 0.5, "model_version": served}
            row |= {"spam_probability": 0.7 if label == "spam" else 0.2, "challenger_label": challenger_label}
            row |= {"challenger_version": challenger_label and version}
            rows.append(row | {"challenger_probability": challenger_label and 0.5})
        LogWriter(engine).add(predictions, rows)
        return [row["id"] for row in rows]

    return add


def review(engine, ids, true_label, queue="challenger"):
    for id_ in ids:
        give_review(engine, id_, "ann", true_label, queue)


def stored(client, engine, text=HAM):
    """Return a message's answer, and its row in the log."""
    answer = client.post("/api/v1/predict", json={"text": text}).json
    return answer, execute(engine, sa.select(predictions).where(predictions.c.id == answer["id"]))[0]


def test_its_word_is_stored_with_each_prediction_and_never_shown(client, engine, registry, versions):
    plain, _ = stored(client, engine, SPAM)
    registry.use(versions[2], kind="challenge")
    tried, row = stored(client, engine, SPAM)
    assert {**tried, "id": 0, "latency_ms": 0} == {**plain, "id": 0, "latency_ms": 0}
    assert versions[2] not in str(client.get(f"/api/v1/predictions/{tried['id']}").json)
    assert (row.challenger_version, row.challenger_label) == (versions[2], "spam")
    assert row.challenger_probability > row.spam_probability
    inference = client.application.extensions["inference"]
    assert "challenger_label" not in inference.score([SPAM], "batch", registry.current())[0]  # it is not to be stored
    registry.use(versions[2], "web:ann")  # what is served is not tried any longer
    answer, row = stored(client, engine)
    assert (answer["model_version"], row.challenger_version) == (versions[2], None)


def test_one_that_fails_stops_no_verdict_and_is_reported_once(
    client, engine, registry, models, versions, monkeypatch, caplog
):
    registry.use(versions[1], kind="challenge")
    monkeypatch.setattr(challenger(registry), "spam_probabilities", lambda texts: 1 / 0)
    for _ in range(3):
        answer, row = stored(client, engine)
        assert (answer["model_version"], row.challenger_version) == (versions[0], None)
    (complaint,) = [record for record in caplog.records if versions[1] in record.getMessage()]
    assert complaint.exc_info[0] is ZeroDivisionError
    registry.use(versions[2], kind="challenge")
    (models / versions[2] / "model_card.json").write_text("{")  # nor does one that was damaged since
    answer, row = stored(client, engine)
    assert (answer["model_version"], row.challenger_version) == (versions[0], None)


def test_the_report_and_the_queue_are_of_the_messages_on_which_the_two_differ(engine, registry, log):
    def report(challenger=CHALLENGER, served=SERVED):
        return shadow_report(engine, registry, challenger, served)

    def waiting(challenger=CHALLENGER, served=SERVED):
        return [row["id"] for row in upcoming(engine, "challenger", trial=(challenger, served))]

    assert "has not scored a message yet" in report().sentence
    log("ham", "ham", 80)
    log("spam", None, 5)
    better, worse = log("spam", "ham", 9), log("ham", "spam", 3)
    other = log("ham", "spam", served="another")  # which is another test, and so is one of another challenger
    log("spam", "ham", version="another")
    assert report()[:3] == (92, 12, (0, 0))
    assert "differ on 12 of the 92 messages. There is no message of known label" in report().sentence
    assert (waiting(), waiting(served="another"), waiting("")) == ((better + worse)[:1:-1], other, [])  # 10 of them
    review(engine, better[:1], "ham", "random")
    review(engine, better[1:] + other, "ham")
    assert report().duel == (0, 9)
    assert report().sentence.endswith("just one of the two is right, that is the challenger 9 times of 9.")
    assert report(served="another")[:3] == (1, 1, (1, 0))
    assert waiting() == worse[::-1]
    assert count_waiting(engine, (CHALLENGER, SERVED))["challenger"] == 3
    review(engine, worse, "ham")
    assert (report().duel, waiting()) == ((3, 9), [])
    assert report().sentence.endswith("that is the challenger 9 times of 12. That may be chance.")


def test_only_fair_reviews_count_copies_once_and_what_one_has_learnt_not_at_all(engine, registry, log, versions):
    ids = log("spam", "ham", 6)
    review(engine, ids[:1], "unsure")
    review(engine, ids[1:2], "spam")
    give_review(engine, ids[1], "ben", "ham", "challenger")  # the newest verdict counts
    review(engine, ids[2:3], "ham", "reported")
    review(engine, ids[3:4], "spam", "uncertain")
    review(engine, ids[4:5], "ham", "random")
    assert shadow_report(engine, registry, CHALLENGER, SERVED).duel == (0, 2)
    copies = log("spam", "ham", 5, text="Win a prize 1 now")
    review(engine, copies, "ham")
    assert shadow_report(engine, registry, CHALLENGER, SERVED).duel == (0, 3)
    served, challenger = versions[:2]
    review(engine, log("spam", "ham", 2, served=served, version=challenger), "ham")
    review(
        engine,
        log("spam", "ham", served=served, version=challenger, text=read_labelled(PROJECT_SET).examples[0].text),
        "ham",
    )
    assert shadow_report(engine, registry, challenger, served).duel == (0, 2)


# --- Which version is served: each change is verified, written down, and can be undone ---


def test_what_cannot_be_written_is_refused_and_not_written_down(engine, registry, versions, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    for kind in ("use", "challenge"):
        with pytest.raises(ModelUnusable, match="cannot be written"):
            registry.use(versions[2], kind=kind)
    assert switching.history(engine) == []

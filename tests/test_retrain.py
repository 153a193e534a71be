"""Retrain from what people corrected: `flask retrain`, the job, and what is never measured on."""

import datetime as dt
import errno
import hashlib
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from conftest import HAM, PASSWORD, SPAM, messages, use_models

from webapp.errors import BadData, NotReady
from webapp.extras.lifecycle import retraining
from webapp.extras.lifecycle.retraining import fine_tune
from webapp.extras.review.reviews import give_review, reviewed_messages
from webapp.extras.review.samples import draw
from webapp.model import artifact, training
from webapp.model.data import HOLDOUT, Example, bucket, read_labelled
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import make_model

YEAR = dt.timedelta(days=365)
LETTERS = str.maketrans("0123456789", "ghijklmnop")  # digits are evened out, and the messages would be copies


def odd(count, start=0):
    """Return messages that a small model gets wrong: spam and ham that are told by a new word each."""
    rows = []
    for i in range(start, start + count):
        name = hashlib.sha256(str(i).encode()).hexdigest().translate(LETTERS)[:8]
        if i % 2:
            rows.append((f"shall we take the train? zurplex {name} will bring soup for us", True))
        else:
            rows.append((f"WIN a free quondle {name}!!! Claim your {name} soup prize, call now", False))
    return rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with one version, trained in a moment on 400 messages in a file; once."""
    folder = tmp_path_factory.mktemp("small")
    file = folder / "start.csv"
    file.write_text("label,text\n" + "".join(f'{label},"{text}"\n' for label, text in messages(400)))
    result = training.train([read_labelled(file)])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    version = artifact.save(folder / "saved_models", result.pipeline, result.card, "joblib", now, result.learnt)
    ModelRegistry(folder / "saved_models").use(version)
    return folder / "saved_models"


@pytest.fixture
def small(app, tmp_path, trained):
    """A registry with this version, served by the app."""
    return use_models(app, shutil.copytree(trained, tmp_path / "saved_models"))


@pytest.fixture
def review(app):
    """Log messages and let somebody review them: review([(text, is_spam), ...]) returns the predictions' ids."""

    def run(labelled, queue="random", reviewers=("web:anna", "web:ben")):  # two, as one may err
        labelled = list(labelled)
        rows = app.extensions["inference"].predict([text for text, _ in labelled], "api")
        for row, (_, is_spam) in zip(rows, labelled, strict=True):
            for reviewer in reviewers:
                give_review(app.extensions["engine"], row["id"], reviewer, "spam" if is_spam else "ham", queue)
        return [row["id"] for row in rows]

    return run


def test_it_corrects_the_weights_of_the_served_version(engine, small, review):
    known = [(text, label == "spam") for label, text in messages(600)[400:]]
    ids = review([*odd(80), *known[:100]])
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - YEAR, now + YEAR, 180, seed=1)
    version, told = retraining.retrain(engine, small)
    old, new = small.current(), artifact.load(small.folder, version)
    assert old.version == small.current_version() != version  # saved, not served
    assert sum((new.score(text).spam_probability >= 0.5) == spam for text, spam in odd(60, 300)) > 40
    assert sum((new.score(text).spam_probability >= 0.5) == spam for text, spam in known[100:]) > 95
    for text in (SPAM, HAM, *(text for text, _ in odd(20))):  # the app's sum and the Pipeline say the same
        probability = new.pipeline.predict_proba([text])[0][1]
        assert new.score(text).spam_probability == pytest.approx(probability, abs=1e-9)

    # What is kept apart is never fitted on, and the figures are of it alone.
    said = [*odd(80), *known[:100]]
    apart = {id_ for id_, (text, _) in zip(ids, said, strict=True) if bucket(text) in retraining.HOLDOUT_BUCKETS}
    learnt, before = (artifact.Learnt(small.folder, [one.version]) for one in (new, old))
    assert {id_ for id_, (text, _) in zip(ids, said, strict=True) if text in learnt} == set(ids) - apart
    assert not any(text in before for text, _ in said)
    assert messages(1)[0][1] in learnt  # it descends
    card = artifact.read_card(small.folder, version)
    assert card.held_out.messages == len(apart) > 10
    assert (card.retraining.parent, card.retraining.reviews) == (old.version, len(ids) - len(apart))
    assert re.match(
        rf"The served version was corrected with {len(ids) - len(apart)} reviews. Of {len(apart)} that were kept "
        r"apart, the new one is right on \d+\.\d % \(.+ to .+\), the served one on .+ "
        r"(T|t)he new one is better|that is the new one \d+ times? of \d+",
        told,
    )


def test_without_a_random_sample_its_accuracy_is_not_known(engine, small, review, flask):
    review(odd(80), queue="uncertain")
    version, _ = retraining.retrain(engine, small)
    assert artifact.read_card(small.folder, version).metrics == {}
    listed = next(line for line in flask("models", "list").output.splitlines() if version in line)
    assert "accuracy not known" in listed


def test_a_review_that_contradicts_a_very_sure_verdict_teaches_only_when_it_is_said_twice(engine, small, review, flask):
    review(odd(60))
    sure = [text for label, text in messages(100) if label == "spam" and small.current().score(text)[0] > 0.99]
    ids = review(((text, False) for text in sure), reviewers=["web:anna"])
    waiting = [one.prediction_id for one in retraining.gather(engine, small, small.current_version()).unconfirmed]
    assert set(ids) >= set(waiting)
    assert len(waiting) > 10
    taught = retraining.reviews_to_learn(engine, small, small.current().labels)  # by `train --with-reviews`
    said = {one.text: one.part for one in taught.examples}
    apart = [text for text in sure if bucket(text) in retraining.HOLDOUT_BUCKETS]
    assert [text for text in sure if said.get(text) == HOLDOUT] == apart != []  # to measure on, they count
    assert not [text for text in sure if said.get(text) == ""]
    assert f"on the page Models: {len(waiting)} reviews" in flask("retrain").output
    give_review(engine, waiting[0], "web:ben", "spam", "all")  # who takes it back contradicts no longer
    for id_ in waiting[1:]:
        give_review(engine, id_, "web:ben", "ham", "all")
    assert retraining.gather(engine, small, small.current_version()).unconfirmed == []


def test_where_all_reviews_are_kept_apart_nothing_is_learnt(engine, small, review):
    (text, is_spam), *_ = [one for one in odd(40) if bucket(one[0]) in retraining.HOLDOUT_BUCKETS]
    review([(text, is_spam)] * 60)
    with pytest.raises(BadData, match="none is left to learn"):
        retraining.retrain(engine, small)


def test_too_few_new_reviews_are_refused(engine, small, review, flask, labelled):
    refused = flask("retrain")
    assert (refused.exit_code, "0 new reviews since" in refused.stderr) == (2, True)
    review(odd(60))
    (small.folder / retraining.retrain(engine, small)[0] / "model.joblib").write_bytes(b"damaged")
    assert retraining.gather(engine, small, small.current_version()).new == 60
    first, _ = retraining.retrain(engine, small)
    for version in (small.current_version(), first):  # not new again, whether the new version is served or not
        small.use(version)
        with pytest.raises(BadData, match="^0 new reviews since"):
            retraining.retrain(engine, small)
    review(odd(49, 100))
    with pytest.raises(BadData, match="^49 new reviews since"):
        retraining.retrain(engine, small)
    review(odd(1, 200))
    again = retraining.retrain(engine, small)[0]
    assert flask("train", labelled, "--with-reviews", "--use").exit_code == 0  # all are learnt or measured on
    assert retraining.gather(engine, small, small.current_version()).new == 0
    apart = [bucket(text) in retraining.HOLDOUT_BUCKETS for text, _ in odd(60)]
    learnt = artifact.Learnt(small.folder, [small.current_version()])
    assert [f"{text} :-)" not in learnt for text, _ in odd(60)] == apart
    descended = artifact.Learnt(small.folder, [again])
    assert all(text in descended for text, _ in odd(60) if bucket(text) not in retraining.HOLDOUT_BUCKETS)


def test_a_copy_of_what_it_learns_does_not_judge_it(engine, small, review):
    """A copy that differs in its signs may be in a bucket that is kept apart."""
    learnt = [row for row in odd(120) if bucket(row[0]) not in retraining.HOLDOUT_BUCKETS]
    copies = [(f"{text}{signs}", spam) for text, spam in learnt for signs in (" :)", "...", " -")]
    copies = [row for row in copies if bucket(row[0]) in retraining.HOLDOUT_BUCKETS]
    assert min(len(learnt), len(copies)) > 50
    review([*learnt, *copies])
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - YEAR, now + YEAR, 500, seed=1)
    version, told = retraining.retrain(engine, small)
    assert "No reviewed message was kept apart" in told
    assert artifact.read_card(small.folder, version).held_out.messages == 0


@pytest.mark.databases("sqlite", "postgresql")
def test_the_newest_verdict_counts_whoever_gave_it(engine, review):
    said = [("a b c", True), ("d e f", True), ("g h i", True), ("j k l", True)]
    first, disputed, unsure, changed = review(said, reviewers=["web:anna"])
    give_review(engine, disputed, "web:ben", "ham", "random")
    give_review(engine, unsure, "web:anna", "unsure", "uncertain")
    give_review(engine, changed, "web:anna", "ham", "reported")
    found = [(one.prediction_id, one.true_label) for one in reviewed_messages(engine)]
    assert found == [(changed, "ham"), (disputed, "ham"), (first, "spam")]


def test_a_correction_is_at_the_minimum_that_its_docstring_gives():
    examples = [Example(text, label == "spam", "file") for label, text in messages(60)]
    pipeline = training.fit(examples, {})
    model = make_model(pipeline, "v", 0.5)
    same = fine_tune(model, [], {one.text: 1.0 for one in examples})  # held by what the model says
    assert np.abs(same[-1].coef_ - pipeline[-1].coef_).max() < 1e-9
    added = [Example(text, is_spam, "reviews") for text, is_spam in odd(20)]
    new = fine_tune(model, added, {}, weight=3, prior_precision=0.5)
    values, truth = pipeline[0].transform([one.text for one in added]), np.array([one.is_spam for one in added])
    probability = new.predict_proba([one.text for one in added])[:, 1]
    change = new[-1].coef_[0] - pipeline[-1].coef_[0]
    gradient = values.T @ (3 * (probability - truth)) + 0.5 * change
    assert np.abs(gradient).max() < 1e-3 < np.abs(change).max()


def test_the_page_retrains_in_a_process_of_its_own_and_shows_what_came_out(app, client, small, review):
    review(odd(60))
    client.post("/login", data={"password": PASSWORD})
    assert "Retrain now" in client.get("/models").text
    assert client.post("/models/retrain").status_code == 303
    (job,) = app.extensions["runner"].list_jobs()
    until = time.monotonic() + 120
    while client.get(f"/models/retrain/{job.id}/status").json["state"] == "running" and time.monotonic() < until:
        time.sleep(0.2)
    log = (app.extensions["runner"].folder(job.id) / "output.log").read_text()
    assert len(small.versions()) == 2, log
    for words in ("was saved. The served version was corrected with", "A retrained one waits", "v1, corrected with"):
        assert words in re.sub(r"<[^>]*>|\s+", " ", client.get("/models").text).replace("  ", " ")
    assert not [text for text, _ in odd(60) if text in log]


def test_one_that_finds_a_full_disk_saves_nothing(engine, small, review, monkeypatch):
    """A kill at any moment: tests/test_switching_proofs.py."""
    review(odd(60))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(NotReady, match=r"the version cannot be saved \(No space left on device\)"):
            retraining.retrain(engine, small)
    assert len(small.versions()) == 1
    retraining.retrain(engine, small)  # and the next one is as if nothing had been
    assert len(small.versions()) == 2

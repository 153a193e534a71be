"""Retrain from what people corrected: `flask retrain`, the job, and what is never measured on."""

import datetime as dt
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, messages, use_models
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.pipeline import make_pipeline

from webapp.config import ROOT, environment
from webapp.errors import BadData
from webapp.extras.lifecycle import retraining
from webapp.extras.lifecycle.correction import fine_tune
from webapp.extras.review.fitted import fitted_by, note_fitted, reviewed_messages
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import counted_members, draw
from webapp.log.export import purge
from webapp.log.tables import fitted_reviews
from webapp.model import artifact, training
from webapp.model.data import Example, bucket, read_labelled
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


@pytest.fixture
def small(app, tmp_path):
    """A registry with one version, trained in a moment on 400 messages in a file, and served by the app."""
    file = tmp_path / "data" / "start.csv"
    file.parent.mkdir()
    file.write_text("label,text\n" + "".join(f'{label},"{text}"\n' for label, text in messages(400)))
    result = training.train([read_labelled(file)])
    registry = use_models(app, tmp_path / "saved_models")
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    registry.use(artifact.save(registry.folder, result.pipeline, result.card, "joblib", now, result.learnt))
    return registry


@pytest.fixture
def review(app):
    """Log messages and let somebody review them: review([(text, is_spam), ...]) returns the predictions' ids."""

    def run(labelled, queue="random", reviewers=("web:anna", "web:ben")):  # two, as one may err
        ids = []
        for text, is_spam in labelled:
            ids.append(app.extensions["inference"].predict([text], "api")[0]["id"])
            for reviewer in reviewers:
                give_review(app.extensions["engine"], ids[-1], reviewer, "spam" if is_spam else "ham", queue)
        return ids

    return run


def retrain(app, registry, force=False, progress=lambda share, step: None):
    return retraining.retrain(app.extensions["engine"], registry, force, progress)


def versions(registry):
    return [path.name for path in registry.folder.iterdir() if path.is_dir()]


def test_it_corrects_the_weights_of_the_served_version(app, small, review):
    known = [(text, label == "spam") for label, text in messages(600)[400:]]
    review([*odd(80), *known[:100]])
    steps = []
    result = retrain(app, small, progress=lambda share, step: steps.append(step))
    old, new = small.current(), artifact.load(small.folder, result.version)
    assert sum((new.score(text).spam_probability >= 0.5) == spam for text, spam in odd(60, 300)) > 40
    for text in (SPAM, HAM, *(text for text, _ in odd(20))):  # the app's sum and the Pipeline say the same
        probability = new.pipeline.predict_proba([text])[0][1]
        assert new.score(text).spam_probability == pytest.approx(probability, abs=1e-9)
    assert sum((new.score(text).spam_probability >= 0.5) == spam for text, spam in known[100:]) > 95
    assert steps == [
        "Reading the reviews",
        "Correcting the served version",
        "Comparing it with the served version",
        "Saving it",
    ]
    assert result.comparison.duel.only_second > result.comparison.duel.only_first
    card = artifact.read_card(small.folder, result.version)
    assert card.data == artifact.read_card(small.folder, old.version).data
    assert card.retraining.parent == small.current_version() != result.version  # saved, not served
    assert artifact.read_learnt(small.folder, result.version) == artifact.read_learnt(small.folder, old.version)


def test_its_figures_are_those_of_reviews_that_were_kept_apart_or_not_known_yet(app, small, review, flask):
    review(odd(80), queue="uncertain")  # no random sample
    result = retrain(app, small)
    card = artifact.read_card(small.folder, result.version)
    assert card.metrics == {}
    assert 10 < card.retraining.held_out == result.comparison.messages < 40
    assert result.reviews + result.comparison.messages == 80
    listed = next(line for line in flask("models", "list").output.splitlines() if result.version in line)
    assert "accuracy not known" in listed
    told = retraining.told(result)
    assert told.startswith(
        f"The served version was corrected with {result.reviews} reviews. Of {result.comparison.messages}"
    )


def test_a_review_that_contradicts_a_very_sure_verdict_teaches_only_when_it_is_said_twice(app, small, review, flask):
    review(odd(60))
    told = [text for label, text in messages(100) if label == "spam"]
    sure = [text for text in told if small.current().score(text).spam_probability > 0.99]
    ids = review(((text, False) for text in sure), reviewers=["web:anna"])
    engine, served = app.extensions["engine"], small.current_version()
    waiting = [one.prediction_id for one in retraining.gather(engine, small, served).unconfirmed]
    assert len(waiting) > 10
    assert set(waiting) <= set(ids)
    assert f"{len(waiting)} reviews contradict a verdict" in flask("retrain").output
    for id_ in waiting:
        give_review(engine, id_, "web:ben", "ham", "all")
    assert retraining.gather(engine, small, served).unconfirmed == []


def test_too_few_new_reviews_are_refused(app, small, review, flask):
    result = flask("retrain")
    assert result.exit_code == 2
    assert "0 reviews are new" in result.stderr
    review(odd(60))
    first = retrain(app, small)
    for use in (None, first.version):  # they are not new again, whether the new version is served or not
        if use:
            small.use(use)
        with pytest.raises(BadData, match="^0 reviews are new"):
            retrain(app, small)
    review(odd(49, 100))
    with pytest.raises(BadData, match="^49 reviews are new"):
        retrain(app, small)
    review(odd(1, 200))
    second = retrain(app, small)
    engine = app.extensions["engine"]
    assert fitted_by(engine, first.version) < fitted_by(engine, second.version)  # a correction descends


def test_a_worse_version_is_refused_unless_told(app, small, review, flask):
    known = [(text, label == "spam") for label, text in messages(800)[400:]]  # the served version gets them right
    review((text, is_spam == (bucket(text) in retraining.HOLDOUT_BUCKETS)) for text, is_spam in known)
    refused = flask("retrain")
    assert refused.exit_code == 2, refused.output
    assert "worse" in refused.stderr
    assert "--anyway" in refused.stderr
    assert len(versions(small)) == 1
    assert app.extensions["engine"].connect().execute(sa.select(fitted_reviews)).first() is None
    told = flask("retrain", "--anyway", "--use")
    assert told.exit_code == 0, told.output
    assert small.current_version() in told.output
    assert len(versions(small)) == 2


def test_what_is_kept_apart_is_never_fitted_on(app, small, review):
    ids = review(odd(100))
    now = dt.datetime.now(dt.UTC)
    draw(app.extensions["engine"], now - YEAR, now + YEAR, 100, seed=1)
    result = retrain(app, small)
    apart = {id_ for id_, (text, _) in zip(ids, odd(100), strict=True) if bucket(text) in retraining.HOLDOUT_BUCKETS}
    assert fitted_by(app.extensions["engine"], result.version) == set(ids) - apart
    measured = artifact.read_card(small.folder, result.version).held_out
    assert measured.messages == result.comparison.messages == len(apart) > 10


@pytest.mark.databases("sqlite", "postgresql")
def test_the_newest_verdict_counts_whoever_gave_it(app, review):
    engine = app.extensions["engine"]
    said = [("a b c", True), ("d e f", True), ("g h i", True), ("j k l", True)]
    first, disputed, unsure, changed = review(said, reviewers=["web:anna"])
    give_review(engine, disputed, "web:ben", "ham", "random")
    give_review(engine, unsure, "web:anna", "unsure", "uncertain")
    give_review(engine, changed, "web:anna", "ham", "reported")
    found = [(one.prediction_id, one.true_label) for one in reviewed_messages(engine)]
    assert found == [(changed, "ham"), (disputed, "ham"), (first, "spam")]


def test_messages_whose_text_was_not_kept_are_counted(app, small, review, flask):
    app.extensions["inference"]._store_text = False
    review(odd(60))
    result = flask("retrain")
    assert result.exit_code == 2
    assert "60 more cannot be used" in result.stderr


@pytest.mark.databases("sqlite", "postgresql")
def test_what_a_version_was_fitted_on_does_not_count_for_its_accuracy(app, review):
    engine, now = app.extensions["engine"], dt.datetime.now(dt.UTC)
    ids = review([(f"hello number {word}", False) for word in ("one", "two", "three", "four")])
    draw(engine, now - YEAR, now + YEAR, 2, seed=1)
    counted = {row.prediction_id for row in counted_members(engine, now - YEAR, now + YEAR)}
    others = set(ids) - counted
    version = app.extensions["inference"].registry.current_version()
    note_fitted(engine, version, [min(counted), min(others)])
    note_fitted(engine, "another version", ids)
    assert {row.prediction_id for row in counted_members(engine, now - YEAR, now + YEAR)} == counted - {min(counted)}
    purge(engine, now + YEAR)
    assert fitted_by(engine, version) == set()


def test_a_correction_moves_nothing_without_a_reason():
    examples = [Example(text, label == "spam", "file") for label, text in messages(200)]
    pipeline = training.fit(examples, {})
    same = fine_tune(
        make_model(pipeline, "v", 0.5), [], {one.text: 1.0 for one in examples}
    )  # held by what the model says
    assert np.abs(same[-1].coef_ - pipeline[-1].coef_).max() < 1e-9


def test_a_correction_is_at_the_minimum_that_its_docstring_gives():
    examples = [Example(text, label == "spam", "file") for label, text in messages(60)]
    pipeline = training.fit(examples, {})
    added = [Example(text, is_spam, "reviews") for text, is_spam in odd(20)]
    new = fine_tune(make_model(pipeline, "v", 0.5), added, {}, weight=3, prior_precision=0.5)
    values, truth = pipeline[0].transform([one.text for one in added]), np.array([one.is_spam for one in added])
    probability = new.predict_proba([one.text for one in added])[:, 1]
    change = new[-1].coef_[0] - pipeline[-1].coef_[0]
    gradient = values.T @ (3 * (probability - truth)) + 0.5 * change
    assert np.abs(gradient).max() < 1e-3 < np.abs(change).max()
    model = make_model(new, "v", 0.5)
    assert [model.score(one.text).spam_probability for one in added] == pytest.approx(list(probability), abs=1e-9)


def test_a_model_without_weights_says_what_to_do_instead():
    texts, labels = zip(*[(text, label) for label, text in messages(20)], strict=True)
    forest = make_pipeline(CountVectorizer(), RandomForestClassifier(5)).fit(texts, labels)
    with pytest.raises(BadData, match="A RandomForestClassifier is no sum of weights.*--with-reviews"):
        fine_tune(make_model(forest, "v", 0.5), [Example("hello", True, "reviews")], {})


def start_job(app):
    return app.extensions["runner"].start("retrain", {"anyway": True})


def app_folder(app):
    return Path(app.instance_path)


def test_the_same_runs_as_a_job(app, small, review):
    review(odd(60))
    job_id = start_job(app)
    until = time.monotonic() + 50
    while (job := app.extensions["runner"].get(job_id)).state == "running" and time.monotonic() < until:
        time.sleep(0.2)
    log = (app_folder(app) / "jobs" / job_id / "output.log").read_text()
    assert job.state == "done", log
    assert job.result["told"].startswith("The served version was corrected with")
    assert job.result["version"] in versions(small)
    assert "Reading the reviews" in log
    assert f"Saved {job.result['version']}" in log
    json.dumps(job.result)


def test_a_job_can_be_cancelled_before_it_saves(app, small, review):
    review(odd(60))

    def report(share, step):
        if step == "Saving it":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        retrain(app, small, progress=report)
    assert len(versions(small)) == 1


@pytest.mark.parametrize("step", ["announced", "written"])
def test_a_death_while_saving_leaves_no_half_written_version(app, small, review, step):
    review(odd(60))
    place = {
        "announced": "from webapp.extras.lifecycle import retraining as r; keep = r.note_fitted\n"
        "def die(*a): keep(*a); os.kill(os.getpid(), 9)\nr.note_fitted = die",
        "written": "from pathlib import Path\nPath.rename = lambda *b, **c: os.kill(os.getpid(), 9)",
    }[step]
    code = f"import os\nfrom wsgi import app\n{place}\napp.test_cli_runner().invoke(args=['retrain'])"
    settings = environment(app.config, app_folder(app))
    died = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={**settings, "PATH": "/usr/bin:/bin"}, timeout=60)
    assert died.returncode == -signal.SIGKILL
    assert len(small.versions()) == 1
    result = retrain(app, small)  # and the next one is as if nothing had been
    assert result.new_reviews == 60
    assert len(small.versions()) == 2

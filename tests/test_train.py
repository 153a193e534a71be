"""Steps 1 and 2 through the command line: train, save, evaluate, predict, download."""

import csv
import hashlib
import json
import os
import re

import joblib
import numpy as np
import pytest
from conftest import HAM, SPAM, messages
from scipy.special import logit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from webapp.errors import ModelUnusable
from webapp.extras.lifecycle import switching
from webapp.model import artifact, data, training


def trained(models):
    """Return the card and folder of the newest version."""
    folder = max((path for path in models.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime_ns)
    return json.loads((folder / "model_card.json").read_text()), folder


def refused(result):
    """Return the one clear line of a refusal, which is the last one: what files were taken for is said before."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:]
    return lines[-1]


def test_training_prints_intervals_and_saves_a_version(flask, models, labelled):
    result = flask("train", labelled)
    assert result.exit_code == 0, result.output
    assert re.search(r"ROC-AUC +\d\.\d{4}\n", result.output)
    for figure in ["accuracy", "spam caught", "ham blocked", "precision"]:
        assert re.search(rf"{figure} +\d+\.\d % \(95 % interval \d+\.\d to \d+\.\d %\)", result.output)
    assert "called spam" in result.output
    card, folder = trained(models)
    assert card["model_version"] == folder.name
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{7}", folder.name)
    assert card["model_file"]["sha256"] == hashlib.sha256((folder / "model.joblib").read_bytes()).hexdigest()
    assert card["data"][0]["sha256"] == hashlib.sha256(labelled.read_bytes()).hexdigest()
    assert card["metrics"]["held_out"]["messages"] < card["messages"]["messages"] == 200
    assert {"hamlet", "scikit-learn", "numpy", "python"} == set(card["versions"])
    # It knows what it has learnt, and keeps no text.
    content = (folder / "learnt.txt").read_bytes()
    assert card["learnt"] == {"file": "learnt.txt", "sha256": hashlib.sha256(content).hexdigest()}
    texts = [example.text for example in data.read_labelled(labelled).examples]
    learnt = data.read_fingerprints(artifact.verify(models, folder.name).learnt)
    assert all(data.fingerprint(text) in learnt for text in texts)
    assert not any(text.encode() in content for text in texts)
    (folder / "learnt.txt").write_text("")
    with pytest.raises(ModelUnusable, match="SHA-256 differs"):
        artifact.load(models, folder.name)


def test_kinds_are_left_out_where_they_are_known(flask, models, tmp_path):
    rows = [(label, text, f"kind {i % 8}") for i, (label, text) in enumerate(messages(400))]
    with (tmp_path / "kinds.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("label", "text", "kind"), *rows])
    assert flask("train", tmp_path / "kinds.csv").exit_code == 0
    card, _ = trained(models)
    left_out, held_out = (card["metrics"][name]["messages"] for name in ("kinds left out", "held_out"))
    assert left_out + held_out == card["messages"]["messages"]


def test_no_model_sees_a_kind_that_it_is_measured_on(monkeypatch):
    examples = [
        data.Example(text, label == "spam", "file", kind=str(i % 10)) for i, (label, text) in enumerate(messages(200))
    ]
    fitted, fit = [], training.fit
    monkeypatch.setattr(training, "fit", lambda seen, weights: fitted.append(seen) or fit(seen, weights))
    known, log_odds = training.leave_kinds_out(examples, {})
    assert (known, len(log_odds), len(fitted)) == (examples, len(examples), training.KIND_FOLDS)
    for seen in fitted:
        left_out = {example.kind for example in examples} - {example.kind for example in seen}
        assert len(left_out) == 2
        assert len(seen) == sum(example.kind not in left_out for example in examples)


def test_a_calibrated_probability_is_the_share_of_spam():
    random = np.random.default_rng(0)
    honest = random.random(20_000)
    log_odds = logit(honest)[:, np.newaxis]
    truth = random.random(20_000) < honest
    fitted = make_pipeline(LogisticRegression().fit(log_odds, truth))
    fitted[-1].coef_, fitted[-1].intercept_ = np.array([[3.0]]), np.array([0.7])  # too sure
    line = LogisticRegression(C=np.inf).fit(fitted.decision_function(log_odds)[:, np.newaxis], truth)
    calibrated = training.calibrate(fitted, line).predict_proba(log_odds)[:, 1]
    assert calibrated == pytest.approx(honest, abs=0.03)


def test_half_of_short_spam_is_learnt_behind_friendly_words_too():
    examples = [data.Example(text, label == "spam", "file") for label, text in messages(100)]
    hidden = training.hide_in_ham(examples)
    assert len(hidden) == 25
    assert all(example.is_spam and example.text.startswith("WIN a free") for example in hidden)
    assert all(example.text.count("shall we take") == 3 for example in hidden)


def test_a_new_version_is_served_when_asked_or_when_there_was_none(flask, engine, models, labelled, caplog):
    (models / "current").unlink()
    pickled = ["--format", "pickle", "--use"]
    for words, name, used in ([], "model.joblib", True), ([], "model.joblib", False), (pickled, "model.pkl", True):
        said = flask("train", labelled, *words).output
        _, folder = trained(models)
        assert ("models use" in said, "served now" in said) == (not used, used)
        assert ((models / "current").read_text().strip() == folder.name) == used
        pipeline = joblib.load(folder / name)  # joblib reads plain pickles too
        assert pipeline.predict([SPAM, HAM]).tolist() == ["spam", "ham"]
    assert caplog.text == ""
    switch, _ = switching.history(engine)
    assert (switch.kind, switch.to_version, switch.why) == ("use", folder.name, "train --use")


def test_the_split_is_that_of_the_published_rule():
    examples = [data.Example(text, False, "") for _, text in messages(400)]
    training_part, held_out = data.split(examples)
    again, rest = data.split(training_part)
    assert 0.25 < len(rest) / len(training_part) < 0.55
    assert sorted(again + rest) == sorted(training_part)
    assert data.split([example._replace(part="train") for example in examples])[1]
    for part, buckets in [(training_part, range(6)), (held_out, range(6, 10))]:
        for example in part:
            normalised = " ".join(re.sub(r"\d", "0", example.text.lower()).split())
            assert int(hashlib.sha256(normalised.encode()).hexdigest(), 16) % 10 in buckets


def test_a_file_may_bring_its_own_split(flask, models, tmp_path):
    path = tmp_path / "own.csv"
    rows = [f'{label},"{text}",{"test" if i < 60 else "train"}' for i, (label, text) in enumerate(messages(200))]
    path.write_text("\n".join(["label,text,split", *rows]))
    assert flask("train", path).exit_code == 0
    assert trained(models)[0]["metrics"]["held_out"]["messages"] == 60
    path.write_text("label,text,split\nspam,win,both\n")
    assert "line 2: split 'both' is neither train nor test" in refused(flask("train", path))


def test_sources_can_be_weighted_and_the_threshold_chosen(flask, models, labelled):
    result = flask("train", labelled, "--weight", "labelled", "0.25", "--threshold", "0.9", "--use")
    assert result.exit_code == 0, result.output
    card = trained(models)[0]
    assert (card["weights"], card["threshold"]) == ({"labelled": 0.25}, 0.9)
    assert flask("predict", SPAM).exit_code == 0
    for options, reason in (
        (["--threshold", "nan"], "nan is not from 0.01 to 0.99"),
        (["--weight", "labelled", "much"], "'much' is not a valid float"),
        (["--weight", "labeled", "0.5"], "the sources are labelled"),
        (["--weight", "labelled", "0"], "must be above 0"),
        (["--weight", "labelled", "1e300"], "at most 1,000"),
        (["--test", labelled], "no message that the training files do not hold"),
    ):
        assert reason in refused(flask("train", labelled, *options))


def test_figures_by_source_and_of_files_never_trained_on(flask, models, labelled, tmp_path):
    other, named_so = tmp_path / "other.csv", tmp_path / "held_out.csv"
    for path, rows in (other, messages(300)[200:]), (named_so, messages(400)[300:]):
        path.write_text("label,text\n" + "".join(f'{label},"{text}"\n' for label, text in rows))
    strange = tmp_path / "strange.csv"
    strange.write_text('label,text\nspam,"win cash now!!!"\nspam,"free prize, call 09061701461"\n')
    result = flask("train", labelled, other, named_so, "--test", strange, "--licence", "other", "CC0")
    assert result.exit_code == 0, result.output
    card = trained(models)[0]
    assert set(card["metrics"]) == {"held_out", "labelled", "other", "unseen: strange.csv"}
    by_source = (card["metrics"][name]["messages"] for name in ("labelled", "other"))
    assert card["metrics"]["held_out"]["messages"] > sum(by_source)  # those in held_out.csv are not all
    assert card["metrics"]["unseen: strange.csv"]["false_positive_rate"]["value"] is None  # there is no ham in it
    assert [item["licence"] for item in card["data"]] == ["not stated", "CC0", "not stated"]
    rows = "".join(f'{label},"{text}",sender {at}\n' for at, (label, text) in enumerate(messages(200)))
    other.write_text("label,text,source\n" + rows)  # so many are no sources to be measured apart
    assert flask("train", other).exit_code == 0
    assert set(trained(models)[0]["metrics"]) == {"held_out"}


def test_names_that_are_no_text_are_shown(flask, models, tmp_path):
    path, test = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.csv", b"caf\xe9"))
    rows = [{"label": label, "text": text, "source": "\ud83d"} for label, text in messages(200)]
    path.write_text("\n".join(map(json.dumps, rows)))
    test.write_text("label,text\nham,see you at nine\n")
    result = flask("train", path, "--test", test)
    assert result.exit_code == 0, result.output
    card = trained(models)[0]
    assert card["data"][0]["file"] == "caf\N{REPLACEMENT CHARACTER}.csv"
    assert set(card["metrics"]) == {"held_out", "unseen: caf\N{REPLACEMENT CHARACTER}"}


def test_a_training_that_fails_leaves_nothing_behind(app, flask, models, labelled, tmp_path, monkeypatch):
    before = sorted(models.iterdir())
    only_spam = "".join(f'spam,"{text}"\n' for label, text in messages(200) if label == "spam")
    few = "".join(f'{label},"{text}"\n' for label, text in messages(20))
    for content, reason in (
        ("label,text\n", "There is no message in these files"),
        ("label,text\n" + few, "Too few messages"),
        ("label,text\n" + only_spam, "the training part has 0 ham and 59 spam, the held-out part 0 ham and 41 spam"),
        ('label,text\nham,x\nspam,"two\nlines"\nperhaps,hello\n', "line 5: label 'perhaps' is unknown."),
    ):
        (tmp_path / "bad.csv").write_text(content)
        assert reason in refused(flask("train", tmp_path / "bad.csv"))
    assert "/nonexistent.csv cannot be read: No such file" in refused(flask("train", "/nonexistent.csv"))
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.rename", lambda *_: 1 / 0)
        assert flask("train", labelled).exit_code != 0
    assert sorted(models.iterdir()) == before
    app.extensions["inference"].registry.folder = labelled / "models"  # below a file
    result = flask("train", labelled)
    assert ("Not a directory" in refused(result), result.stdout) == (True, "")  # said before the training


def test_evaluate_says_what_the_model_has_learnt_and_copies_count_once(flask, models, labelled):
    flask("train", labelled, "--use")
    again = labelled.with_name("saved again.tsv")
    again.write_text("label\ttext\n" + "".join(f"{a}\t{b} \n" for a, b in messages(220)))
    for name, of in ((labelled, 200), (again, 220)):
        assert f"has learnt 200 of these {of} messages" in flask("evaluate", name).stderr
    with labelled.open("a") as file:
        file.writelines(f'spam,"{text}"\n' for label, text in messages(20) if label == "ham")
    copies = "10 copies dropped, 10 of them with the other label: the first one counts."
    for command in ("evaluate", "train"):
        said = flask(command, labelled).output
        assert f"200 messages (100 spam), {copies}" in said
        assert "ROC-AUC" in said


def test_labels_the_wrong_way_round_are_said_loudly(flask, models, tmp_path):
    path = tmp_path / "inverted.csv"
    lines = [f'{int(label == "ham")},"{text}"\n' for label, text in messages(200)]
    path.write_text("label,text\n" + "".join(lines))
    told = flask("train", path)
    assert "WARNING: nearly all verdicts are the opposite." in told.stderr
    assert "--labels spam,ham" in told.stderr
    assert "WARNING" in flask("evaluate", path).stderr
    noisy = tmp_path / "noisy.csv"  # one in ten is wrong even so, as with a model that is no better
    noisy.write_text(
        "label,text\n"
        + "".join(f"{1 - int(line[0])}{line[1:]}" if at % 10 == 0 else line for at, line in enumerate(lines))
    )
    assert "WARNING" in flask("evaluate", noisy).stderr
    for words in (["evaluate", path], ["train", path, "--use"]):
        told = flask(*words, "--labels", "spam,ham")
        assert told.exit_code == 0, told.output
        assert "WARNING" not in told.stderr
    assert flask("predict", SPAM).output.startswith("spam")


def test_predict_prints_label_probability_and_terms(flask):
    assert re.match(r"spam  \d\.\d{4}  .+ [+-]\d", flask("predict", SPAM).output)
    assert flask("predict", HAM).output.startswith("ham ")
    assert "is empty" in refused(flask("predict", " "))

"""flask models: what a beginner sees and does, from a first look to pruning."""

import datetime as dt

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, make_version

from webapp.config import ROOT
from webapp.extras.lifecycle import switching
from webapp.extras.lifecycle.reviewed import sampled_examples
from webapp.extras.review.queues import upcoming
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.log.tables import fitted_reviews
from webapp.model import registry as registry_module
from webapp.model.data import read_labelled


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry_module, "REFRESH_S", 0)  # notice a switch at the next request


@pytest.fixture
def three(models):
    """The shipped version and two more."""
    shipped = (models / "current").read_text().strip()
    return shipped, make_version(models, 0.05), make_version(models, 2)


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def reviewed(client, engine):
    """Twelve logged messages, all reviewed as a random sample: six ham, six spam."""
    for word in ("one", "two", "three", "four", "five", "six"):
        for text in (HAM, SPAM):
            client.post("/api/v1/predict", json={"text": f"{text} {word}"})
    now = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    draw(engine, now - dt.timedelta(days=1), now, 12, seed=1)
    rows = upcoming(engine, "random", limit=12)
    for row in rows:
        give_review(engine, row["id"], "ann", "ham" if row["text"].startswith(HAM) else "spam", "random")
    return rows


def change(models, version):
    content = bytearray((models / version / "model.joblib").read_bytes())
    content[100] ^= 255
    (models / version / "model.joblib").write_bytes(content)


def run(flask, *words, code=0, **options):
    result = flask("models", *words, **options)
    assert result.exit_code == code, result.output
    return result.output


def test_the_list_marks_the_served_version_and_the_challenger(flask, three):
    first, second, third = three
    run(flask, "challenge", second)
    lines = run(flask, "list").splitlines()
    assert [line[0] for line in lines] == ["*", "?", " "]
    assert [line.split()[1 if line[0] != " " else 0] for line in lines] == [first, second, third]


def test_show_tells_the_card_in_words(flask, models, three):
    output = run(flask, "show", three[0])
    assert "its files are as they were saved" in output
    assert "uci_sms_train.csv.gz: 3,057 messages, licence CC BY 4.0" in output
    assert "accuracy     0.9" in output
    change(models, three[1])
    assert "NOT USABLE" in run(flask, "show", three[1])
    assert "models list" in run(flask, "show", "no-such", code=2)


def test_use_rollback_and_history_are_written_down_with_who_and_why(flask, three, engine, client):
    first, second, third = three
    run(flask, "use", second, "--why", "it catches more")
    run(flask, "use", third)
    assert f"{second} is served again" in run(flask, "rollback", "--why", "too many complaints")
    assert client.post("/api/v1/predict", json={"text": HAM}).json["model_version"] == second
    lines = run(flask, "history").splitlines()
    assert len(lines) == 3
    assert lines[0].endswith(f"rollback  {third} -> {second}  too many complaints")
    assert "command:" in lines[2]
    assert lines[2].endswith(f"use  {first} -> {second}  it catches more")
    run(flask, "rollback")
    assert "none to go back to" in run(flask, "rollback", code=2)


def test_challenge_begins_tells_and_stops(flask, three, client, engine):
    _, second, third = three
    assert "No version is being tried" in run(flask, "challenge")
    run(flask, "challenge", second, "--why", "try it")
    assert "has not scored a message yet" in run(flask, "challenge")
    for i in range(3):
        client.post("/api/v1/predict", json={"text": f"{SPAM} {i}"})
    rows = upcoming(engine, "challenger")
    assert len(rows) == 3  # at a twentieth of the log-odds the second one calls nothing spam
    assert "differ on 3 of the 3 messages" in run(flask, "challenge")
    give_review(engine, rows[0]["id"], "ann", "spam", "challenger")
    assert "that is the served version 1 times of 1. That may be chance." in run(flask, "challenge")
    assert "not both" in run(flask, "challenge", third, "--stop", code=2)
    run(flask, "challenge", "--stop")
    assert "No version is being tried" in run(flask, "challenge")
    assert [one.kind for one in switching.history(engine)] == ["challenge", "challenge"]


def test_the_served_version_cannot_be_its_own_challenger(flask, three, app):
    assert "nothing to try it beside" in run(flask, "challenge", three[0], code=2)
    run(flask, "use", three[1])
    run(flask, "challenge", three[0])
    run(flask, "rollback")
    assert app.extensions["inference"].registry.named("challenger") is None


def test_verify_names_the_broken_ones_and_exits_with_1(flask, models, three):
    assert run(flask, "verify").count("as it was saved") == 3
    change(models, three[1])
    (models / three[2] / "learnt.txt").write_text("{}")
    lines = run(flask, "verify", code=1).splitlines()
    assert ["NOT USABLE" in line for line in lines] == [False, True, True]
    assert three[1] in lines[1]
    (models / "current").write_text("20990101-000000-abcdef0")
    assert "20990101-000000-abcdef0  NOT USABLE: it is chosen, but not there" in run(flask, "verify", code=1)


def test_prune_says_what_it_deletes_and_asks(flask, models, three):
    for factor in (3, 4, 5):
        make_version(models, factor)
    versions = sorted(path.name for path in models.iterdir() if path.is_dir())
    run(flask, "use", versions[3])
    run(flask, "challenge", versions[1])
    output = run(flask, "prune", "--keep", "1", input="n\n", code=1)
    assert [version in output for version in versions] == [False, False, True, False, True, False]
    assert len(list(models.glob("2*"))) == 6
    assert "2 deleted" in run(flask, "prune", "--keep", "1", "--yes")
    assert sorted(path.name for path in models.glob("*2*")) == [versions[i] for i in (0, 1, 3, 5)]
    assert "No version is to be deleted" in run(flask, "prune", "--keep", "1")
    run(flask, "rollback")  # what it goes to is still there


def test_compare_takes_the_reviewed_sample_but_nothing_that_one_was_fitted_on(app, flask, three, engine, reviewed):
    first, second, _ = three
    registry = app.extensions["inference"].registry
    output = run(flask, "compare", first, second)
    assert "reviewed messages of random samples" in output
    assert f"{first} was right on 1.0000" in output
    assert f"only {first} 6, only {second} 0" in output
    assert f"Where just one of the two is right, that is {first} 6 times of 6. That may be chance." in output
    assert "Where they differ" in output
    assert "log-odds" in output
    with engine.begin() as connection:
        fitted = [{"model_version": second, "prediction_id": row["id"]} for row in reviewed[:4]]
        connection.execute(sa.insert(fitted_reviews), fitted)
    assert len(sampled_examples(engine, registry, (first, second))) == 8
    assert len(sampled_examples(engine, registry, (first,))) == 12
    assert "of 8 messages" in run(flask, "compare", first, second)


def test_compare_on_a_file_leaves_out_what_one_has_learnt(flask, three, labelled):
    first, second, third = three
    output = run(flask, "compare", first, third, "--data", labelled)
    assert "of 200 messages" in output
    assert "left out" not in output
    own = ROOT / "webapp" / "model" / "messages.csv"
    output = run(flask, "compare", first, second, "--data", own, code=2)
    assert f"{first} has learnt" in output
    assert f"{second} has learnt" in output
    assert "No message is left" in output
    both = labelled.with_name("both.csv")  # a copy of what they have learnt, in another file
    both.write_text(labelled.read_text() + f'ham,"{read_labelled(own).examples[0].text}"\n')
    assert f"{first} has learnt 1 of these messages: they are left out" in run(
        flask, "compare", first, third, "--data", both
    )
    assert "models list" in run(flask, "compare", first, "no-such", code=2)


def test_compare_without_any_review_says_what_to_do(flask, three):
    assert "Review a random sample on /review" in run(flask, "compare", three[0], three[2], code=2)


def test_train_use_is_a_switch_like_any_other(flask, models, labelled, engine):
    first = (models / "current").read_text().strip()
    assert flask("train", labelled, "--use").exit_code == 0
    (switch,) = switching.history(engine)
    assert (switch.kind, switch.from_version, switch.why) == ("use", first, "train --use")
    assert switch.to_version == (models / "current").read_text().strip() != first

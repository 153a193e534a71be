"""Which model is served, what is refused before it is unpickled, what is served while files arrive; flask models."""

import datetime as dt
import json
import re
import shutil

import pytest
from conftest import HAM, SHIPPED, SPAM, make_version, served, use_models

from webapp.config import PROJECT_SET
from webapp.extras.lifecycle import switching
from webapp.extras.review.queues import upcoming
from webapp.extras.review.reviews import give_review
from webapp.model import artifact, registry
from webapp.model.data import read_labelled


def rewrite(name, text):
    """Return what writes another text into a file of a version, or into a file beside it."""
    return lambda models, version: (models / version / name).write_text(text)


def card(**changes):
    """Return what changes the card of a version."""

    def change(models, version):
        path = models / version / artifact.CARD
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def remove(name):
    return lambda models, version: (models / version / name).unlink()


OF_A_VERSION = [
    (rewrite("model.joblib", "another"), "SHA-256 differs"),
    (remove("model.joblib"), "has no model.joblib"),
    (rewrite(artifact.LEARNT, "another"), "SHA-256 differs"),  # nor could what it is measured on be trusted
    (card(versions={"scikit-learn": "0.1"}), "pip install scikit-learn==0.1"),
    (card(features_version=0), "features.py"),
    (rewrite(artifact.CARD, "{"), "not readable"),
    (card(model_version="another"), "belongs to another"),
    (card(model_file={"format": "../../wsgi.py", "sha256": ""}), "not readable"),
    (remove(artifact.CARD), "has no model_card.json"),
]
OF_WHAT_IS_CHOSEN = [
    (lambda models, version: (models / "current").write_bytes(b"\xff\xfe"), "There is no model"),
    (lambda models, version: (models / "current").unlink(), "models use"),
    (lambda models, version: (models / "current").write_text("\n"), "models use"),
]


def test_an_unusable_model_is_explained_everywhere_and_the_old_one_stays(app, client, flask, models, tmp_path, caplog):
    second = make_version(models, 2)
    shutil.copytree(models, tmp_path / "whole")
    for damage, reason in [*OF_A_VERSION, *OF_WHAT_IS_CHOSEN]:
        shutil.rmtree(models)
        shutil.copytree(tmp_path / "whole", models)
        use_models(app, models)  # as a server that starts
        assert served(client) == SHIPPED
        damage(models, second)
        if (damage, reason) in OF_A_VERSION:
            result = flask("models", "use", second)
            assert (result.exit_code, reason in result.output) == (2, True), result.output
            (models / "current").write_text(second)  # even if somebody switches by hand
        assert served(client) == SHIPPED
        use_models(app, models)
        caplog.clear()
        problem = client.post("/api/v1/predict", json={"text": HAM})
        assert (problem.status_code, reason in problem.json["detail"]) == (503, True), problem.json
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)
        page = client.post("/", data={"text": HAM})
        assert (page.status_code, "cannot be used" in page.text) == (503, True)
        result = flask("predict", HAM)
        assert (result.exit_code, reason in result.output, caplog.text) == (2, True, ""), result.output  # said once


def test_two_saves_in_the_same_second_are_two_versions(models):
    card, _, reference = artifact.verify(models, SHIPPED)
    pipeline, now = artifact.load(models, SHIPPED).pipeline, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    names = [artifact.save(models, pipeline[-1:], card, "pickle", now, reference) for _ in range(3)]
    assert [name[:15] for name in names] == ["20260102-030405", "20260102-030406", "20260102-030407"]
    assert {artifact.verify(models, name).card.created_at for name in names} == {now}
    assert not list(models.glob(".*"))


# --- Folders that are kept in step on several hosts ---

NEW = "20991231-235959-abcdef0"


@pytest.fixture
def host(models, client):
    """What a host says now: host() returns (status of /readyz, its reason, the version that answers)."""

    def ask():
        ready = client.get("/readyz")
        return ready.status_code, ready.json.get("detail", ""), served(client)

    assert ask() == (200, "", SHIPPED)
    return ask


@pytest.fixture
def elsewhere(tmp_path, models):
    """A new version as another host has it, by name of file."""
    folder = shutil.copytree(models / SHIPPED, tmp_path / "elsewhere")
    card = (folder / artifact.CARD).read_text().replace(f'"model_version": "{SHIPPED}"', f'"model_version": "{NEW}"')
    (folder / artifact.CARD).write_text(card)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


ORDERS = [
    "current, model_card.json, learnt.txt, model.joblib",
    "learnt.txt, model.joblib, current, model_card.json",
    "model_card.json, learnt.txt, model.joblib, current",
]


@pytest.mark.parametrize("order", ORDERS)
def test_files_may_arrive_in_any_order_and_in_pieces(host, models, elsewhere, order):
    (models / NEW).mkdir()
    started, arrived = registry.ModelRegistry(models), set()  # another one, which has not served anything before
    for name in order.split(", "):
        content, path = (NEW.encode(), models / name) if name == "current" else (elsewhere[name], models / NEW / name)
        if name != "current":
            path.write_bytes(content[: len(content) // 2])
            assert host()[2] == SHIPPED
        path.write_bytes(content)
        arrived.add(name)
        status, reason, version = host()
        if {"current", "model_card.json", "model.joblib"} <= arrived:
            assert (status, version, started.current().version) == (200, NEW, NEW)
            started.check()
        elif "current" in arrived:
            assert (status, version, NEW in reason) == (503, SHIPPED, True)
            for ask in (started.current, started.check):
                with pytest.raises(artifact.ModelUnusable, match=NEW):
                    ask()
        else:
            assert (status, version) == (200, SHIPPED)


def test_the_moment_of_a_switch_is_no_fault(host, models, elsewhere, monkeypatch):
    """A good version that this host has whole, but has not looked at yet."""
    (models / NEW).mkdir()
    for name, content in elsewhere.items():
        (models / NEW / name).write_bytes(content)
    monkeypatch.setattr(registry, "REFRESH_S", 60)
    host()
    (models / "current").write_text(NEW)
    assert host() == (200, "", SHIPPED)


# --- flask models: from a first look to pruning ---


@pytest.fixture
def run(flask):
    """Run flask models ...; return what it printed."""

    def run(*words, code=0, **options):
        result = flask("models", *words, **options)
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_list_show_and_verify_tell_what_each_version_is(run, models, versions):
    first, second, third = versions
    run("challenge", second)
    lines = run("list").splitlines()
    assert [line[:25].rstrip() for line in lines] == [f"* {first}", f"? {second}", f"  {third}"]
    output = run("show", first)
    assert "its files are as they were saved" in output
    assert "uci_sms_train.csv.gz: 3,057 messages, licence CC BY 4.0" in output
    assert "accuracy     96." in output
    for words in (["show"], ["use"], ["compare", first]):
        said = run(*words, "no-such", code=2)
        assert ("There is no model no-such" in said, "models list" in said) == (True, True)
    assert run("verify").count("as it was saved") == 3
    rewrite("model.joblib", "another")(models, second)
    rewrite("learnt.txt", "another")(models, third)
    assert "NOT USABLE" in run("show", second)
    assert ["NOT USABLE" in line for line in run("verify", code=1).splitlines()] == [False, True, True]
    (models / "current").write_text("20990101-000000-abcdef0")
    assert "20990101-000000-abcdef0  NOT USABLE: it is chosen, but not there" in run("verify", code=1)
    shutil.rmtree(models)
    assert "Train one: " in run("list", code=2)


@pytest.mark.databases("sqlite", "postgresql")
def test_use_rollback_and_history_are_written_down_with_who_and_why(run, models, versions, client):
    first, second, third = versions
    run("use", first)  # to serve what is served is no switch
    run("use", second, "--why", "it catches\nmore")
    run("promote", third)  # another name for the same
    assert f"{second} is served again" in run("rollback", "--why", "too many complaints")
    assert served(client) == second
    lines = run("history").splitlines()
    assert len(lines) == 3
    assert lines[0].endswith(f"rollback  {third} -> {second}  too many complaints")
    assert "command:" in lines[2]
    assert lines[2].endswith(f"use  {first} -> {second}  it catches more")
    run("rollback")  # one further back
    assert served(client) == first
    assert "none to go back to" in run("rollback", code=2)
    for version in (third, second, third):
        run("use", version)
    shutil.rmtree(models / second)  # what it would go to: pruned meanwhile, or not yet on this host
    assert f"{first} is served again" in run("rollback")
    assert "none to go back to" in run("rollback", code=2)


def test_challenge_begins_tells_and_stops(run, versions, client, engine):
    first, second, third = versions
    assert "No version is being tried" in run("challenge")
    assert "nothing to try it beside" in run("challenge", first, code=2)
    run("challenge", second, "--why", "try it")
    assert "has not scored a message yet" in run("challenge")
    client.post("/api/v1/predict/batch", json={"texts": [f"{SPAM} {word}" for word in ("one", "two", "three")]})
    assert "differ on 3 of the 3 messages" in run("challenge")
    give_review(engine, upcoming(engine, "challenger", trial=(second, first))[0]["id"], "ann", "spam", "challenger")
    assert "that is the served version 1 time of 1. That may be chance." in run("challenge")
    run("challenge", "--stop")
    assert "No version is being tried" in run("challenge")
    assert [one.kind for one in switching.history(engine)] == ["challenge", "challenge"]


def test_prune_says_what_it_deletes_and_asks(run, models, versions):
    first, second, third = versions
    for name in ("20990101-000000-aaaaaaa", "20990101-000000-bbbbbbb", "20990101-000000-ccccccc"):
        shutil.copytree(models / third, models / name)
        card = models / name / "model_card.json"
        card.write_text(card.read_text().replace(third, name))
    shutil.copytree(models / first, models / "a copy of mine")  # is no version
    (models / "current").write_text(f"\ufeff{first}\r\n")  # by an editor of Windows
    run("use", third)
    run("challenge", second)
    output = run("prune", "--keep", "1", input="n\n", code=1)
    assert [line[-7:] for line in output.splitlines() if line.startswith("2")] == ["aaaaaaa", "bbbbbbb"]
    assert len(list(models.glob("2*"))) == 6
    run("prune", "--keep", "3", "--yes")
    assert (models / "a copy of mine").is_dir()
    assert "2 deleted" in run("prune", "--keep", "1", "--yes")
    assert sorted(path.name for path in models.glob("*2*")) == [*versions, "20990101-000000-ccccccc"]
    assert "No version is to be deleted" in run("prune", "--keep", "1")
    run("rollback")  # what it goes to is still there


def test_compare_on_a_file_leaves_out_what_one_has_learnt(run, versions, labelled):
    first, _, third = versions
    some = labelled.with_name("some.csv")
    some.write_text("label,text\n" + "".join(f'ham,"{one.text}"\n' for one in read_labelled(PROJECT_SET).examples[:2]))
    for words in ([], ["--data", some]):
        said = run("compare", first, third, *words, code=2)
        assert "No message is left that neither has learnt. Review a random sample on /review" in said
    output = run("compare", first, third, "--data", some, "--data", labelled)
    assert "One of the two has learnt 2 of these messages: they are left out." in output
    assert re.search(rf"{first} was right on \d.* of 200 messages\n{third} was right on \d", output)
    assert "just one is right, so nothing tells them apart" in output


def test_compare_has_the_words_of_the_versions_whatever_is_served(run, models, versions, tmp_path):
    card = artifact.read_card(models, versions[0]).model_copy(update={"labels": ("normal", "urgent")})
    pipelines = [artifact.load(models, version).pipeline for version in versions[:2]]
    pair = [artifact.save(models, one, card, "joblib", dt.datetime.now(dt.UTC), None) for one in pipelines]
    (tmp_path / "urgent.csv").write_text(f'label,text\nurgent,"{SPAM}"\nnormal,"{HAM}"\n')
    output = run("compare", *pair, "--data", tmp_path / "urgent.csv")
    assert f"that is {pair[0]} 1 time of 1. That may be chance.\n\nWhere they differ" in output
    assert "\n  urgent 1." in output

"""Which model is served, what is refused before it is unpickled, and what is served while files are copied."""

import datetime as dt
import json
import shutil

import pytest
from conftest import HAM, SHIPPED, make_version, served, use_models

from webapp.model import artifact, registry


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

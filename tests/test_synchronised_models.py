"""saved_models/ on several hosts: a copy that is not whole is never served, and /readyz says so."""

import shutil

import pytest
from conftest import HAM

from webapp.config import ROOT
from webapp.model import artifact
from webapp.model.registry import ModelRegistry

SHIPPED = (ROOT / "saved_models" / "current").read_text().strip()
NEW = "20991231-235959-abcdef0"


@pytest.fixture
def host(models, client, monkeypatch):
    """What a host says now: host() returns (status of /readyz, its reason, the version that answers)."""
    monkeypatch.setattr("webapp.model.registry.REFRESH_S", 0)
    client.application.extensions["inference"].registry._current._refresh_at = 0

    def ask():
        ready = client.get("/readyz")
        answer = client.post("/api/v1/predict", json={"text": HAM})
        assert answer.status_code in (200, 503)
        return ready.status_code, ready.json.get("detail", ""), answer.json.get("model_version")

    assert ask() == (200, "", SHIPPED)
    return ask


@pytest.fixture
def elsewhere(tmp_path, models):
    """A new version as another host has it, by name of file."""
    folder = tmp_path / "elsewhere"
    shutil.copytree(models / SHIPPED, folder)
    card = (folder / artifact.CARD).read_text().replace(f'"model_version": "{SHIPPED}"', f'"model_version": "{NEW}"')
    (folder / artifact.CARD).write_text(card)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "order",
    [
        ("current", "model_card.json", "learnt.txt", "model.joblib"),
        ("learnt.txt", "model.joblib", "current", "model_card.json"),
        ("model_card.json", "learnt.txt", "model.joblib", "current"),
    ],
    ids=", ".join,
)
def test_files_may_arrive_in_any_order_and_in_pieces(host, models, elsewhere, order):
    (models / NEW).mkdir()
    arrived = set()
    for name in order:
        content, path = (NEW.encode(), models / name) if name == "current" else (elsewhere[name], models / NEW / name)
        if name != "current":
            path.write_bytes(content[: len(content) // 2])
            assert host()[2] == SHIPPED
        path.write_bytes(content)
        arrived.add(name)
        status, reason, version = host()
        if {"current", "model_card.json", "model.joblib"} <= arrived:
            assert (status, version) == (200, NEW)
        elif "current" in arrived:
            assert (status, version) == (503, SHIPPED)
            assert NEW in reason
        else:
            assert (status, version) == (200, SHIPPED)


def test_a_host_whose_copy_gets_lost_goes_on_with_what_it_loaded_but_is_not_ready(host, models):
    model = models / SHIPPED / "model.joblib"
    content = model.read_bytes()
    model.unlink()
    assert host()[0] == 503
    assert "model.joblib" in host()[1]
    assert host()[2] == SHIPPED
    model.write_bytes(content[:-1])
    assert "SHA-256 differs" in host()[1]
    model.write_bytes(content)
    assert host() == (200, "", SHIPPED)


def test_a_host_that_starts_without_the_current_version_serves_nothing_until_it_is_there(models, elsewhere):
    (models / "current").write_text(NEW)
    registry = ModelRegistry(models)
    for ask in (registry.current, registry.check):
        with pytest.raises(artifact.ModelUnusable, match=NEW):
            ask()
    (models / NEW).mkdir()
    for name, content in elsewhere.items():
        (models / NEW / name).write_bytes(content)
    registry._current._refresh_at = 0
    assert registry.current().version == NEW
    registry.check()


def test_the_moment_of_a_switch_is_no_fault(host, models, elsewhere, monkeypatch):
    """A good version that this host has whole, but has not looked at yet."""
    (models / NEW).mkdir()
    for name, content in elsewhere.items():
        (models / NEW / name).write_bytes(content)
    monkeypatch.setattr("webapp.model.registry.REFRESH_S", 60)
    host()
    (models / "current").write_text(NEW)
    assert host() == (200, "", SHIPPED)

"""Which model is served, and what is refused before it is unpickled."""

import datetime as dt
import json
import shutil

import pytest
from conftest import HAM, make_version

from webapp.app import create_app
from webapp.model import artifact, registry


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry, "REFRESH_S", 0)  # notice a switch at the next request


def served(client):
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


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
    (card(versions=[]), "not readable"),
    (card(model_version="another"), "belongs to another"),
    (card(model_file={"name": "../../wsgi.py", "format": "pickle", "sha256": ""}), "names no model file"),
]
OF_WHAT_IS_CHOSEN = [
    (remove(artifact.CARD), "has no model_card.json"),
    (lambda models, version: (models / "current").write_bytes(b"\xff\xfe"), "cannot be read"),
    (lambda models, version: (models / "current").unlink(), "models use"),
    (lambda models, version: (models / "current").write_text("\n"), "models use"),
]


def test_an_unusable_model_is_explained_everywhere(tmp_path, models, flask):
    shutil.copytree(models, tmp_path / "whole")
    for number, (damage, reason) in enumerate([*OF_A_VERSION, *OF_WHAT_IS_CHOSEN]):
        shutil.rmtree(models)
        shutil.copytree(tmp_path / "whole", models)
        damage(models, (models / "current").read_text().strip())
        app = create_app(tmp_path / str(number), TESTING=True, WTF_CSRF_ENABLED=False, MODELS_FOLDER=str(models))
        client = app.test_client()
        problem = client.post("/api/v1/predict", json={"text": HAM})
        assert (problem.status_code, reason in problem.json["detail"]) == (503, True), problem.json
        assert (client.get("/readyz").status_code, client.get("/healthz").status_code) == (503, 200)
        page = client.post("/", data={"text": HAM})
        assert (page.status_code, "cannot be used" in page.text) == (503, True)
        result = app.test_cli_runner().invoke(args=["predict", HAM])
        assert (result.exit_code, reason in result.output) == (2, True), result.output
        app.extensions["engine"].dispose()


def test_a_damaged_version_is_refused_and_the_old_one_stays(client, flask, models, tmp_path):
    first, second = (models / "current").read_text().strip(), make_version(models, 2)
    shutil.copytree(models / second, tmp_path / "whole")
    assert served(client) == first
    for damage, reason in OF_A_VERSION:
        (models / "current").write_text(first)
        shutil.rmtree(models / second)
        shutil.copytree(tmp_path / "whole", models / second)
        damage(models, second)
        result = flask("models", "use", second)
        assert (result.exit_code, reason in result.output) == (2, True), result.output
        (models / "current").write_text(second)  # even if somebody switches by hand
        assert served(client) == first
    (models / "current").write_text("")  # by a full disk, say
    assert served(client) == first


def test_an_empty_folder_has_no_versions(tmp_path):
    assert registry.ModelRegistry(tmp_path / "none").versions() == []


def test_two_saves_in_the_same_second_are_two_versions(models):
    version = (models / "current").read_text().strip()
    card, _, reference = artifact.verify(models, version)
    pipeline, now = artifact.load(models, version).pipeline, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    names = [artifact.save(models, pipeline[-1:], card, "pickle", now, reference) for _ in range(3)]
    assert [name[:15] for name in names] == ["20260102-030405", "20260102-030406", "20260102-030407"]
    for name in names:
        assert artifact.verify(models, name).card.created_at.strftime("%Y%m%d-%H%M%S") == name[:15]
    assert not list(models.glob(".*"))

"""Which model is served, and what is refused before it is unpickled."""

import datetime as dt
import json
import multiprocessing
import pickle

import pytest
from conftest import HAM, make_version

from webapp.app import create_app
from webapp.model import artifact, registry


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry, "REFRESH_S", 0)  # notice a switch at the next request


@pytest.fixture
def two(models):
    """The shipped version and another one."""
    return (models / "current").read_text().strip(), make_version(models, 2)


def served(client):
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


def change_card(models, version, **changes):
    path = models / version / "model_card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_switch_is_served_without_a_restart(client, flask, two):
    first, second = two
    assert served(client) == first
    assert flask("models", "use", second).exit_code == 0
    assert served(client) == second


def test_the_list_marks_the_served_version(flask, two):
    first, second = two
    lines = flask("models", "list").output.splitlines()
    assert [line[:2] for line in lines] == ["* ", "  "]
    assert [line.split()[-1] for line in lines] == ["bytes", "bytes"]
    assert [line[2:].split()[0] for line in lines] == [first, second]


def test_an_unknown_version_is_refused(flask, models):
    result = flask("models", "use", "no-such")
    assert result.exit_code == 2
    assert "models list" in result.output


class Planted:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl"])
def test_a_planted_pickle_is_never_loaded(client, flask, models, two, tmp_path, name):
    first, second = two
    assert served(client) == first
    trace = tmp_path / "trace"
    (models / second / name).write_bytes(pickle.dumps(Planted(trace)))
    if name == "model.pkl":
        change_card(models, second, model_file={"name": name, "format": "pickle", "sha256": "0" * 64})
    assert "was changed" in flask("models", "use", second).output
    (models / "current").write_text(second)  # even if somebody switches by hand
    assert served(client) == first
    assert "NOT USABLE" in flask("models", "list").output
    assert not trace.exists()


def damage(models, version, how):
    folder = models / version
    if how == "file changed":
        content = bytearray((folder / "model.joblib").read_bytes())
        content[100] ^= 255
        (folder / "model.joblib").write_bytes(content)
    elif how == "file missing":
        (folder / "model.joblib").unlink()
    elif how == "other scikit-learn":
        change_card(models, version, versions={"scikit-learn": "0.1"})
    elif how == "other features":
        change_card(models, version, features_version=0)
    elif how == "card missing":
        (folder / "model_card.json").unlink()
    elif how == "card broken":
        (folder / "model_card.json").write_text("{")
    elif how == "card of another":
        change_card(models, version, model_version="another")
    elif how == "path in card":
        change_card(models, version, model_file={"name": "../../wsgi.py", "format": "pickle", "sha256": ""})
    elif how == "card without parts":
        change_card(models, version, versions=[])
    elif how == "current unreadable":
        (models / "current").write_bytes(b"\xff\xfe")
    elif how == "nothing chosen":
        (models / "current").unlink()


DAMAGES = {
    "file changed": "SHA-256 differs",
    "file missing": "has no model.joblib",
    "other scikit-learn": "pip install scikit-learn==0.1",
    "other features": "features.py",
    "card missing": "has no model_card.json",
    "card broken": "not readable",
    "card without parts": "not readable",
    "current unreadable": "cannot be read",
    "card of another": "belongs to another",
    "path in card": "names no model file",
    "nothing chosen": "models use",
}


@pytest.mark.parametrize("how", DAMAGES)
def test_an_unusable_model_is_explained_everywhere(tmp_path, models, how):
    version = (models / "current").read_text().strip()
    damage(models, version, how)
    app = create_app(tmp_path / "other", TESTING=True, WTF_CSRF_ENABLED=False, MODELS_FOLDER=str(models))
    client = app.test_client()
    problem = client.post("/api/v1/predict", json={"text": HAM})
    assert problem.status_code == 503
    assert DAMAGES[how] in problem.json["detail"]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    page = client.post("/", data={"text": HAM})
    assert page.status_code == 503
    assert "cannot be used" in page.text
    result = app.test_cli_runner().invoke(args=["predict", HAM])
    assert result.exit_code == 2
    assert DAMAGES[how] in result.output
    app.extensions["engine"].dispose()


@pytest.mark.parametrize(
    "how", [how for how in DAMAGES if how not in ("nothing chosen", "current unreadable", "card missing")]
)
def test_a_damaged_version_is_refused_and_the_old_one_stays(client, flask, models, two, how):
    first, second = two
    assert served(client) == first
    damage(models, second, how)
    result = flask("models", "use", second)
    assert result.exit_code == 2
    assert DAMAGES[how] in result.output
    (models / "current").write_text(second)
    assert served(client) == first
    assert served(client) == first


def test_a_model_that_was_mended_is_served_again(client, models):
    version = (models / "current").read_text().strip()
    good = (models / version / "model.joblib").read_bytes()
    (models / version / "model.joblib").write_bytes(b"broken")
    model = registry.ModelRegistry(models)
    with pytest.raises(artifact.ModelUnusable):
        model.current()
    (models / version / "model.joblib").write_bytes(good)
    assert model.current().version == version


def test_a_pickle_that_cannot_be_loaded_is_explained(models, two):
    _, second = two
    content = b"\x80\x05not a pickle"
    digest = __import__("hashlib").sha256(content).hexdigest()
    (models / second / "model.pkl").write_bytes(content)
    change_card(models, second, model_file={"name": "model.pkl", "format": "pickle", "sha256": digest})
    with pytest.raises(artifact.ModelUnusable, match="cannot be loaded"):
        artifact.load(models, second)


def test_an_empty_folder_has_no_versions(tmp_path):
    assert registry.ModelRegistry(tmp_path / "none").versions() == []


def test_two_saves_in_the_same_second_are_two_versions(models):
    """Several processes may train at once; the folder that one writes into is nobody else's."""
    version = (models / "current").read_text().strip()
    card, reference = artifact.read_card(models, version), artifact.read_learnt(models, version)
    pipeline, now = artifact.load(models, version).pipeline, dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
    processes = multiprocessing.get_context("fork")
    start, saved = processes.Barrier(3), processes.Queue()

    def save():
        start.wait()
        saved.put(artifact.save(models, pipeline[-1:], card, "pickle", now, reference))

    for process in [processes.Process(target=save) for _ in range(3)]:
        process.start()
    names = {saved.get(timeout=60) for _ in range(3)}
    assert [name[:15] for name in sorted(names)] == ["20260102-030405", "20260102-030406", "20260102-030407"]
    for name in names:
        assert artifact.verify(models, name).created_at.strftime("%Y%m%d-%H%M%S") == name[:15]
    assert not list(models.glob(".*"))

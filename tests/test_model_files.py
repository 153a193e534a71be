"""No unchecked model is ever unpickled: pickles that leave a trace when they are loaded, planted wherever one could be."""

import ast
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import HAM, PASSWORD, Server, make_version

from webapp import config
from webapp.config import ROOT
from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact, registry, writable

SHIPPED = (ROOT / "saved_models" / "current").read_text().strip()
KEY = "a key for tests, as long as it has to be"
EVIL = "20990101-000000-0badbad"
FILES = {"joblib": "model.joblib", "pickle": "model.pkl"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry, "LOOK_EVERY_S", 0)


@pytest.fixture
def key(monkeypatch):
    """As if HAMLET_MODEL_KEY were set."""
    monkeypatch.setattr(config, "MODEL_KEY", KEY)
    return KEY


# --- Who unpickles ---------------------------------------------------------------------------------------------------

UNPICKLING = {"pickle", "_pickle", "joblib", "cloudpickle", "dill", "shelve", "marshal"}
SOURCES = [
    path
    for path in [*(ROOT / "webapp").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *ROOT.glob("*.py")]
    if "peers" not in path.parts  # they load the shipped model as other people's servers do: that is what is compared
]


def test_no_module_but_one_can_unpickle():
    found = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = set()
            if isinstance(node, ast.Import):
                names = {alias.name.split(".")[0] for alias in node.names} & UNPICKLING
            elif isinstance(node, ast.ImportFrom):
                names = {(node.module or "").split(".")[0]} & UNPICKLING
            elif isinstance(node, ast.Attribute):
                names = {node.attr} & {"read_pickle", "allow_pickle", "externals"}
            elif isinstance(node, ast.keyword):
                names = {node.arg} & {"allow_pickle"}
            if names:
                found.setdefault(str(path.relative_to(ROOT)), set()).update(names)
    assert found == {"webapp/model/artifact.py": {"pickle", "joblib"}}
    calls = [
        ast.unparse(node.func)
        for node in ast.walk(ast.parse((ROOT / "webapp" / "model" / "artifact.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pickle.load", "pickle.loads", "joblib.load")
    ]
    assert sorted(calls) == ["joblib.load", "pickle.loads"]


def test_no_name_in_a_card_is_imported_but_to_train_anew():
    importing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "webapp").rglob("*.py")
        if any(name in path.read_text() for name in ("importlib", "__import__", "exec(", "eval("))
    ]
    assert sorted(importing) == [
        "webapp/model/recipe.py",
        "webapp/monitoring/state.py",
    ]  # the latter asks for a version
    assert "importlib.metadata" in (ROOT / "webapp" / "monitoring" / "state.py").read_text()


# --- Planted pickles -------------------------------------------------------------------------------------------------


class Planted:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def plant(folder, trace, file_format, *, right_hash=False, name=EVIL, card=True, **changes):
    """Make a version of a malicious pickle, with the card of the shipped version but for what is said."""
    folder.mkdir(parents=True)
    content = pickle.dumps(Planted(trace))
    for file_name in FILES.values():
        (folder / file_name).write_bytes(content)
    if not card:
        return
    card = json.loads((ROOT / "saved_models" / SHIPPED / artifact.CARD).read_text())
    file = card["model_file"] | {"name": FILES[file_format], "format": file_format}
    if right_hash:
        file["sha256"] = hashlib.sha256(content).hexdigest()
    card |= {"model_version": name, "model_file": file, **changes}
    (folder / artifact.CARD).write_text(json.dumps(card))
    shutil.copy(ROOT / "saved_models" / SHIPPED / artifact.REFERENCE, folder)


def with_foreign_card(models, trace, file_format):
    plant(models / EVIL, trace, file_format)
    return EVIL


def with_card_of_the_shipped_version(models, trace, file_format):
    plant(models / EVIL, trace, file_format, name=SHIPPED)
    return EVIL


def without_card(models, trace, file_format):
    plant(models / EVIL, trace, file_format, card=False)
    return EVIL


def with_card_that_names_another_file(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    (models / "evil.pkl").write_bytes(pickle.dumps(Planted(trace)))
    path = models / EVIL / artifact.CARD
    card = json.loads(path.read_text())
    card["model_file"]["name"] = "../evil.pkl"
    path.write_text(json.dumps(card))
    return EVIL


def outside(models, trace, file_format):
    """Right in itself, but not in saved_models/."""
    plant(models.parent / "evil", trace, file_format, right_hash=True, name="../evil")
    return "../evil"


def outside_by_its_full_path(models, trace, file_format):
    path = models.parent / "evil"
    plant(path, trace, file_format, right_hash=True, name=str(path))
    return str(path)


def behind_a_link(models, trace, file_format):
    plant(models.parent / "evil", trace, file_format, right_hash=True)
    (models / EVIL).symlink_to(models.parent / "evil")
    return EVIL


def file_behind_a_link(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    for name in FILES.values():
        (models / EVIL / name).rename(models.parent / name)
        (models / EVIL / name).symlink_to(models.parent / name)
    return EVIL


def card_behind_a_link(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    (models / EVIL / artifact.CARD).rename(models.parent / artifact.CARD)
    (models / EVIL / artifact.CARD).symlink_to(models.parent / artifact.CARD)
    return EVIL


def unsigned(models, trace, file_format):
    """Right in itself, so that only the signature is missing."""
    plant(models / EVIL, trace, file_format, right_hash=True)
    return EVIL


def signed_with_another_key(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    content = (models / EVIL / artifact.CARD).read_bytes()
    (models / EVIL / artifact.SIGNATURE).write_text(artifact.signature_of(content, "another key"))
    return EVIL


def with_the_signature_of_another_version(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    shutil.copy(models / SHIPPED / artifact.SIGNATURE, models / EVIL)
    return EVIL


def with_a_folder_for_a_signature(models, trace, file_format):
    plant(models / EVIL, trace, file_format, right_hash=True)
    (models / EVIL / artifact.SIGNATURE).mkdir()
    return EVIL


HASHED = [
    with_foreign_card,
    with_card_of_the_shipped_version,
    without_card,
    with_card_that_names_another_file,
    outside,
    outside_by_its_full_path,
    behind_a_link,
    file_behind_a_link,
    card_behind_a_link,
]
SIGNED = [
    unsigned,
    signed_with_another_key,
    with_the_signature_of_another_version,
    with_a_folder_for_a_signature,
]
PLANTINGS = [*((how, False) for how in HASHED), *((how, True) for how in SIGNED)]
IDS = [how.__name__ for how, _ in PLANTINGS]


def served(client):
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


def test_the_trap_works(models, tmp_path):
    """What neither hash nor signature hold back: who can write both files, without a key, has code run."""
    trace = tmp_path / "trace"
    for file_format in FILES:
        with pytest.raises(ModelUnusable, match="cannot be loaded"):
            artifact.load(models, unsigned(models, trace, file_format))
        assert trace.exists()
        trace.unlink()
        shutil.rmtree(models / EVIL)


@pytest.mark.parametrize("file_format", FILES)
@pytest.mark.parametrize(("how", "needs_key"), PLANTINGS, ids=IDS)
def test_a_planted_pickle_is_never_loaded_on_any_path(
    tmp_path, monkeypatch, app, client, flask, models, how, needs_key, file_format
):
    if needs_key:
        monkeypatch.setattr(config, "MODEL_KEY", KEY)
        artifact.sign(models, SHIPPED)
    trace, inference = tmp_path / "trace", app.extensions["inference"]
    assert served(client) == SHIPPED
    evil = how(models, trace, file_format)
    client.post("/login", data={"password": PASSWORD})

    refused = [
        ("use", evil),
        ("challenge", evil),
        ("show", evil),
        ("compare", SHIPPED, evil),
        ("compare", evil, SHIPPED),
        ("sign", evil) if not needs_key else ("show", evil),
    ]
    for words in refused:
        result = flask("models", *words)
        assert result.exit_code == 2, (words, result.output)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert len(result.output.splitlines()) == 1
    for page in ("use", "challenge", "rollback"):
        assert client.post(f"/models/{page}", data={"version": evil}).status_code in (404, 422, 503)
    assert client.get("/models/compare", query_string={"first": SHIPPED, "second": evil}).status_code in (404, 503)
    assert client.get("/models").status_code == 200
    listed = flask("models", "list")
    assert (listed.exit_code, f"* {SHIPPED}" in listed.output) == (0, True)
    assert flask("models", "verify").exit_code == (1 if (models / evil).is_dir() and ".." not in evil else 0) or (
        evil.startswith("/") or evil == "../evil"
    )
    assert served(client) == SHIPPED

    (models / "challenger").write_text(evil + "\n")  # by hand
    assert served(client) == SHIPPED
    assert inference.registry.challenger() is None
    assert flask("predict", HAM).exit_code == 0
    (models / "challenger").unlink()

    (models / "current").write_text(evil + "\n")
    assert served(client) == SHIPPED  # who is there, stays
    assert client.get("/readyz").status_code == 503
    assert client.get("/models").status_code == 200
    assert client.get("/monitor").status_code == 200
    for words in (["models", "list"], ["models", "history"]):
        assert flask(*words).exit_code == 0
    assert flask("models", "verify").exit_code == 1
    assert flask("models", "rollback").exit_code == 2
    assert flask("models", "prune", "--keep", "0", "--yes").exit_code in (0, 2)
    assert (models / SHIPPED).is_dir() or not (models / evil).is_dir() or ".." not in evil

    # A start with it: the app starts, and says what is wrong to whoever asks.
    other = config_app(tmp_path / "other", models)
    assert other.test_client().post("/api/v1/predict", json={"text": HAM}).status_code == 503
    for words in (["predict", HAM], ["retrain"], ["evaluate", "docs/examples/urgent.csv"], ["batch", "-", "-"]):
        assert other.test_cli_runner().invoke(args=words, input="text\nhello\n").exit_code == 2, words
    other.extensions["engine"].dispose()
    assert not trace.exists()


def config_app(instance, models):
    from webapp.app import create_app

    return create_app(
        instance, TESTING=True, WTF_CSRF_ENABLED=False, ADMIN_PASSWORD=PASSWORD, MODELS_FOLDER=str(models)
    )

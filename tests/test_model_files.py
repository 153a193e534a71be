"""No unchecked model is ever unpickled: pickles that leave a trace when loaded are planted wherever one could be."""

import contextlib
import hashlib
import json
import os
import pickle
import re
import shutil

import pytest
from clients import wait_until
from conftest import HAM, SHIPPED, Server, served

from webapp import config
from webapp.config import ROOT
from webapp.errors import ModelUnusable
from webapp.extras.lifecycle.challenger import challenger
from webapp.model import artifact, registry

KEY = "a key for tests, as long as it has to be"
MODEL = "model.joblib"


@pytest.fixture
def key(monkeypatch):
    """As if HAMLET_MODEL_KEY were set."""
    monkeypatch.setattr(config, "MODEL_KEY", KEY)
    return KEY


# --- Who unpickles ---------------------------------------------------------------------------------------------------

MODULES = r"_?pickle|joblib(?! import cpu_count$)|cloudpickle|dill|shelve|marshal"
UNPICKLING = re.compile(rf"^[ \t]*(?:import|from) (?:{MODULES})\b|read_pickle|allow_pickle", re.MULTILINE)


def test_no_module_but_one_can_unpickle():
    sources = [*(ROOT / "webapp").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py"), *ROOT.glob("*.py")]
    found = {path: UNPICKLING.findall(path.read_text()) for path in sources if "peers" not in path.parts}
    artifact_py = ROOT / "webapp" / "model" / "artifact.py"
    assert {path: names for path, names in found.items() if names} == {artifact_py: ["import pickle", "import joblib"]}
    assert re.findall(r"(?:pickle|joblib)\.loads?\b", artifact_py.read_text()) == ["joblib.load"]


# --- Planted pickles -------------------------------------------------------------------------------------------------


class Planted:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def plant(models, trace, name="", file=None, **changes):
    """Make a version of a malicious pickle, with the card of the shipped one but for the changes; return its name."""
    version = name or f"evil-{len(list(models.iterdir())):02d}"
    folder, content = models / version, pickle.dumps(Planted(trace))
    shutil.copytree(ROOT / "saved_models" / SHIPPED, folder)
    (folder / MODEL).write_bytes(content)
    card = json.loads((folder / artifact.CARD).read_text()) | {"model_version": version}
    card["model_file"] |= {"sha256": hashlib.sha256(content).hexdigest()} | (file or {})
    (folder / artifact.CARD).write_text(json.dumps(card | changes))
    return version


def link(models, version, name=""):
    """Put a link in place of a version's folder, or of a file in it; return the version."""
    path = models / version / name
    path.rename(elsewhere := models.parent / f"{version}-{path.name}")
    path.symlink_to(elsewhere)
    return version


def plant_all(models, trace):
    """Plant what differs from its card, or is no plain file in a plain folder; return the names."""
    (models / "evil.pkl").write_bytes(pickle.dumps(Planted(trace)))
    files = [{"sha256": "0" * 64}, *({"format": kind} for kind in ("../evil.pkl", ["pickle"], "pickle"))]
    names = ["../evil", str(models.parent / "far"), f"{SHIPPED}/evil"]
    (models / (bare := plant(models, trace)) / artifact.CARD).unlink()
    return [
        *(bare, plant(models, trace, model_version=SHIPPED)),
        *(plant(models, trace, file=file) for file in files),
        *(plant(models, trace, name) for name in names),
        *(link(models, plant(models, trace), name) for name in ("", MODEL, artifact.CARD)),
    ]


def plant_all_unsigned(models, trace):
    """Plant what is right in itself, but not rightly signed; return the names."""
    foreign, mixed, folder, *others = [plant(models, trace) for _ in range(7)]
    content = (models / foreign / artifact.CARD).read_bytes()
    (models / foreign / artifact.SIGNATURE).write_bytes(artifact.signature_of(content, "another key"))
    for name in (artifact.CARD, artifact.SIGNATURE):
        shutil.copy(models / SHIPPED / name, models / mixed)
    (models / folder / artifact.SIGNATURE).mkdir()
    signatures = ["", "é" * 64, (models / SHIPPED / artifact.SIGNATURE).read_text()]  # and one has none
    for version, signature in zip(others, signatures, strict=False):
        (models / version / artifact.SIGNATURE).write_text(signature)
    return [foreign, mixed, folder, *others]


def test_the_trap_works(client, models, tmp_path):
    """What the hash alone does not hold back: whoever can write both files has their code run."""
    trace = tmp_path / "trace"
    version = plant(models, trace)
    artifact.verify(models, version)
    assert not trace.exists()  # verifying reads bytes alone
    with pytest.raises(ModelUnusable, match="cannot be loaded"):
        artifact.load(models, version)
    assert trace.exists()  # it ran
    assert served(client) == SHIPPED
    (models / "current").write_text(version + "\n")
    answer = client.get("/readyz")  # its files are as its card says, and still it cannot be served
    assert (answer.status_code, "cannot be loaded" in answer.json["detail"]) == (503, True)


@pytest.mark.parametrize("with_key", [False, True], ids=["without a key", "with a key"])
def test_a_planted_pickle_is_never_loaded_on_any_path(
    tmp_path, monkeypatch, app, client, signed_in, flask, models, make_app, with_key
):
    trace, inference = tmp_path / "trace", app.extensions["inference"]
    if with_key:
        monkeypatch.setattr(config, "MODEL_KEY", KEY)
        artifact.sign(models, SHIPPED)
    planted = (plant_all_unsigned if with_key else plant_all)(models, trace)
    assert served(client) == SHIPPED

    for evil in planted:  # asked for by name, by commands and on the pages
        for words in [("use", evil), ("challenge", evil), ("compare", evil, SHIPPED)]:
            result = flask("models", *words)
            assert (result.exit_code, len(result.output.splitlines())) == (2, 1), (words, result.output)
        assert flask("models", "show", evil).exit_code in (0, 2)
        for page in ("use", "challenge", "rollback"):
            assert signed_in.post(f"/models/{page}", data={"version": evil}).status_code in (404, 422, 503)
        assert signed_in.get("/models/compare", query_string={"first": evil, "second": evil}).status_code in (404, 503)
        assert not trace.exists(), evil
    for words in (["list"], ["history"], ["verify"]):
        assert flask("models", *words).exit_code == (words == ["verify"])

    for evil in planted:  # written into the files by hand, under a server that runs
        (models / "challenger").write_text(evil + "\n")
        assert challenger(inference.registry) is None
        (models / "current").write_text(evil + "\n")
        assert inference.registry.current().version == SHIPPED  # who is there, stays
        assert client.get("/readyz").status_code == 503
        assert flask("models", "rollback").exit_code == 2
        with pytest.raises(ModelUnusable):
            registry.ModelRegistry(models).current()  # and a start
        assert not trace.exists(), evil
    assert served(client) == SHIPPED
    for page in ("/models", "/monitor"):
        assert signed_in.get(page).status_code == 200
    assert flask("models", "verify").exit_code == 1

    (models / "current").write_text(planted[0] + "\n")  # a whole app that starts so, and what else reads a model
    other = make_app("other", MODELS_FOLDER=str(models))
    assert other.test_client().post("/api/v1/predict", json={"text": HAM}).status_code == 503
    for words in (["predict", HAM], ["retrain"], ["evaluate", "docs/examples/urgent.csv"], ["batch", "-", "-"]):
        assert other.test_cli_runner().invoke(args=words, input="text\nhello\n").exit_code == 2, words
    assert not trace.exists()


def test_a_running_server_with_a_key_serves_signed_versions_and_nothing_else(tmp_path, models, flask, key):
    """Real workers, and `current` written by hand, as by whoever synchronises folders."""
    assert "is not signed" in flask("models", "use", SHIPPED).stderr
    said = flask("models", "sign", SHIPPED).stdout
    assert said.startswith(f"{SHIPPED} is signed: model.joblib with SHA-256 {SHIPPED[-7:]}")
    trace = tmp_path / "trace"
    settings = {"HAMLET_MODELS_FOLDER": str(models), "HAMLET_MODEL_KEY": KEY}
    with Server(tmp_path / "server", **settings) as server:
        unsigned = plant_all_unsigned(models, trace)
        for evil in (unsigned[-1], link(models, unsigned[-2]), *unsigned[:2]):
            (models / "current").write_text(evil + "\n")
            (models / "challenger").write_text(evil + "\n")
            wait_until(lambda: server.call("/readyz")[0] == 503)
            assert server.call("/api/v1/predict", {"text": HAM})[1]["model_version"] == SHIPPED
            (models / "current").write_text(SHIPPED + "\n")
            wait_until(lambda: server.call("/readyz")[0] == 200)
            assert not trace.exists(), evil
    assert KEY not in server.output()


# --- Signing ---------------------------------------------------------------------------------------------------------


def test_with_a_key_what_is_trained_is_signed_and_served(flask, client, models, labelled, key):
    flask("models", "sign", SHIPPED)
    assert flask("train", labelled, "--use").exit_code == 0
    version = (models / "current").read_text().strip()
    assert served(client) == version != SHIPPED
    assert flask("models", "verify").exit_code == 0
    assert key not in flask("models", "show", version).output
    (models / version / artifact.SIGNATURE).unlink()  # while it is served
    answer = client.get("/readyz")
    assert (answer.status_code, "is not signed" in answer.json["detail"]) == (503, True)
    assert f"models sign {version}" in flask("models", "list").output


def test_a_signature_is_over_the_whole_card(models, key):
    artifact.sign(models, SHIPPED)
    path = models / SHIPPED / artifact.CARD
    for old, new in [('"threshold": 0.6', '"threshold": 0.9'), ('"licence": "MIT"', '"licence": "MIX"'), ("}\n", "}")]:
        card = path.read_text()
        assert old in card
        path.write_text(card.replace(old, new))
        for read in (artifact.read_card, artifact.verify, artifact.load):
            with pytest.raises(ModelUnusable, match="changed after it was signed"):
                read(models, SHIPPED)
        path.write_text(card)
    assert artifact.load(models, SHIPPED).version == SHIPPED


def test_only_what_is_as_its_card_says_is_signed_and_only_with_a_key(flask, models, monkeypatch):
    assert "set HAMLET_MODEL_KEY" in flask("models", "sign", SHIPPED).output
    monkeypatch.setattr(config, "MODEL_KEY", KEY)
    for name in ("model.joblib", artifact.LEARNT):
        content = (models / SHIPPED / name).read_bytes()
        (models / SHIPPED / name).write_bytes(content + b" ")
        assert "SHA-256 differs" in flask("models", "sign", SHIPPED).output
        (models / SHIPPED / name).write_bytes(content)
    assert not (models / SHIPPED / artifact.SIGNATURE).exists()
    assert flask("models", "sign", SHIPPED).exit_code == 0
    monkeypatch.setattr(config, "MODEL_KEY", None)
    (models / SHIPPED / artifact.SIGNATURE).write_text("nonsense")  # which means nothing then
    assert artifact.load(models, SHIPPED).version == SHIPPED


# --- Damage ----------------------------------------------------------------------------------------------------------


def damaged(content, step):
    """Yield bytes with one bit flipped, and cut off, at every `step`-th byte."""
    for at in range(0, len(content), step):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        yield bytes(flipped)
        yield content[:at]


def test_a_damaged_model_file_is_refused_before_it_is_unpickled(models, monkeypatch):
    path = models / SHIPPED / "model.joblib"
    monkeypatch.setattr(artifact, "joblib", None)  # whoever came so far would raise AttributeError
    for content in damaged(path.read_bytes(), 40_000):
        path.write_bytes(content)
        with pytest.raises(ModelUnusable, match="SHA-256 differs"):
            artifact.load(models, SHIPPED)


def test_a_damaged_card_is_refused_or_can_be_shown(signed_in, flask, models):
    """A flipped bit may leave a card that can be read: without a key nothing tells that a licence was another."""
    path = models / SHIPPED / artifact.CARD
    served(signed_in)
    for number, content in enumerate(damaged(path.read_bytes(), 31)):
        path.write_bytes(content)
        with contextlib.suppress(ModelUnusable):
            artifact.verify(models, SHIPPED)
        if number % 50 == 0:
            for words in (["models", "list"], ["models", "show", SHIPPED]):
                result = flask(*words)
                assert result.exception is None or isinstance(result.exception, SystemExit), result.output
            assert signed_in.get("/models").status_code == 200


CHANGES = [
    *({"threshold": "0.4"}, {"threshold": float("nan")}, {"labels": ["ham"]}, {"labels": ["ham", "ham"]}),
    *({"data": [{"file": "x"}]}, {"weights": []}, {"learnt": []}, {"pipeline": ["os:system"]}),
    {"metrics": {"held_out": {"messages": 1, "spam": 1, "accuracy": 0.9}}},
]


def test_a_card_of_another_shape_or_name_is_refused(models):
    path = models / SHIPPED / artifact.CARD
    card = json.loads(path.read_text())
    for change in CHANGES:
        path.write_text(json.dumps(card | change))
        with pytest.raises(ModelUnusable, match="not readable"):
            artifact.verify(models, SHIPPED)
    for content in (b"", b"null", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"model_version": 1}', b"NaN", b"1" * 5000):
        path.write_bytes(content)
        with pytest.raises(ModelUnusable):
            artifact.read_card(models, SHIPPED)
    path.write_text(json.dumps(card))
    (models / artifact.CARD).write_text((models / SHIPPED / artifact.CARD).read_text().replace(SHIPPED, "."))
    for name in ("", ".", "..", "../x", "a/b", "\0", "x" * 5000, "~root", "C:\\evil", "..\\evil"):
        with pytest.raises(ModelUnusable):
            artifact.load(models, name)


def test_a_pipe_in_place_of_a_file_makes_nobody_wait(models, key, tmp_path):
    artifact.sign(models, SHIPPED)
    for name in (artifact.SIGNATURE, artifact.CARD, "model.joblib"):
        path = models / SHIPPED / name
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(ModelUnusable, match="no ordinary file|is not signed"):
            artifact.verify(models, SHIPPED)
        path.unlink()
        path.write_bytes(content)
    (tmp_path / "link").symlink_to(models)  # saved_models/ may be a link itself
    assert artifact.load(tmp_path / "link", SHIPPED).version == SHIPPED

"""No unchecked model is ever unpickled: pickles that leave a trace when loaded are planted wherever one could be."""

import ast
import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from clients import wait_until
from conftest import HAM, PASSWORD, Server

from webapp import config
from webapp.app import create_app
from webapp.config import ROOT
from webapp.errors import BadData, ModelUnusable
from webapp.extras.lifecycle.challenger import challenger
from webapp.model import artifact, registry, writable

SHIPPED = (ROOT / "saved_models" / "current").read_text().strip()
KEY = "a key for tests, as long as it has to be"
FILES = {"joblib": "model.joblib", "pickle": "model.pkl"}


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry, "REFRESH_S", 0)


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


def test_no_name_in_a_card_is_imported():
    importing = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "webapp").rglob("*.py")
        if any(name in path.read_text() for name in ("importlib", "__import__", "exec(", "eval("))
    ]
    assert sorted(importing) == [
        "webapp/app.py",  # the extras, by names of its own
        "webapp/extras/prometheus/routes.py",  # a version
        "webapp/model/artifact.py",  # skops, where it is installed
        "webapp/model/recipe.py",  # what --pipeline says
    ]
    assert "importlib.metadata" in (ROOT / "webapp" / "extras" / "prometheus" / "routes.py").read_text()
    assert 'importlib.import_module("skops.io")' in (ROOT / "webapp" / "model" / "artifact.py").read_text()


# --- Planted pickles -------------------------------------------------------------------------------------------------


class Planted:
    """A pickle that leaves a trace when it is loaded."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


class Field:
    """A copy of saved_models/ in which malicious versions are planted; each method plants one and returns its name."""

    def __init__(self, models, trace, file_format):
        self.models, self.trace, self.file_format = models, trace, file_format
        self.planted = 0

    def plant(self, right_hash=True, card=True, folder=None, **changes):
        """Make a version of a malicious pickle, with the card of the shipped version but for what is said."""
        self.planted += 1
        version = f"{type(self).__name__}-{self.planted:02d}-{self.file_format}"
        folder = folder or self.models / version
        folder.mkdir(parents=True)
        content = pickle.dumps(Planted(self.trace))
        for name in FILES.values():
            (folder / name).write_bytes(content)
        if card:
            own = json.loads((ROOT / "saved_models" / SHIPPED / artifact.CARD).read_text())
            file = own["model_file"] | {"name": FILES[self.file_format], "format": self.file_format}
            if right_hash:
                file["sha256"] = hashlib.sha256(content).hexdigest()
            own |= {"model_version": version, "model_file": file, **changes}
            (folder / artifact.CARD).write_text(json.dumps(own))
            shutil.copy(ROOT / "saved_models" / SHIPPED / artifact.LEARNT, folder)
        return version

    def with_a_foreign_card(self):
        return self.plant(right_hash=False)

    def with_the_card_of_the_shipped_version(self):
        return self.plant(right_hash=False, model_version=SHIPPED)

    def without_a_card(self):
        return self.plant(card=False)

    def with_a_card_that_names_a_file_elsewhere(self):
        (self.models / "evil.pkl").write_bytes(pickle.dumps(Planted(self.trace)))
        file = {"name": "../evil.pkl", "format": self.file_format, "bytes": 1}
        return self.plant(model_file=file | {"sha256": digest(self.models / "evil.pkl")})

    def with_a_format_that_is_no_word(self):
        return self.plant(model_file={"name": "model.pkl", "format": ["pickle"], "sha256": "", "bytes": 1})

    def with_the_file_of_another_format(self):
        name = FILES["pickle" if self.file_format == "joblib" else "joblib"]
        return self.plant(model_file={"name": name, "format": self.file_format, "sha256": "", "bytes": 1})

    def outside(self):
        name = f"evil-{self.file_format}"
        self.plant(folder=self.models.parent / name, model_version=f"../{name}")
        return f"../{name}"

    def outside_by_its_full_path(self):
        folder = self.models.parent / f"far-{self.file_format}"
        self.plant(folder=folder, model_version=str(folder))
        return str(folder)

    def in_a_folder_of_a_version(self):
        name = f"{SHIPPED}/evil-{self.file_format}"
        self.plant(folder=self.models / name, model_version=name)
        return name

    def behind_a_link(self):
        elsewhere = self.models.parent / f"link-{self.file_format}"
        version = self.plant(folder=elsewhere)
        (self.models / version).symlink_to(elsewhere)
        return version

    def with_files_behind_links(self):
        return self.link(*FILES.values())

    def with_a_card_behind_a_link(self):
        return self.link(artifact.CARD)

    def link(self, *names):
        version = self.plant()
        for name in names:
            elsewhere = self.models.parent / f"{version}-{name}"
            (self.models / version / name).rename(elsewhere)
            (self.models / version / name).symlink_to(elsewhere)
        return version


class SignedField(Field):
    """The same where there is a key: what is planted is right in itself, but not rightly signed."""

    def sign(self, text):
        version = self.plant()
        (self.models / version / artifact.SIGNATURE).write_text(text)
        return version

    def unsigned(self):
        return self.plant()

    def signed_with_another_key(self):
        version = self.plant()
        signature = artifact.signature_of((self.models / version / artifact.CARD).read_bytes(), "another key")
        (self.models / version / artifact.SIGNATURE).write_text(signature)
        return version

    def with_an_empty_signature(self):
        return self.sign("")

    def with_a_signature_of_other_characters(self):
        return self.sign("é" * 64)

    def with_the_signature_of_another_version(self):
        return self.sign((self.models / SHIPPED / artifact.SIGNATURE).read_text())

    def with_a_folder_for_a_signature(self):
        version = self.plant()
        (self.models / version / artifact.SIGNATURE).mkdir()
        return version

    def with_the_card_and_signature_of_another_version(self):
        version = self.plant(card=False)
        for name in (artifact.CARD, artifact.SIGNATURE):
            shutil.copy(self.models / SHIPPED / name, self.models / version)
        return version


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def plant_all(kind, models, trace):
    """Plant everything of a kind in both formats; return the names."""
    ways = [name for name in vars(kind) if name.startswith(("with", "outside", "in_", "behind", "unsigned", "signed"))]
    found = []
    for file_format in FILES:
        field = kind(models, trace, file_format)
        found += [getattr(field, way)() for way in ways]
    return found


def served(client):
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


def test_the_trap_works(models, tmp_path):
    """What the hash alone does not hold back: whoever can write both files has their code run."""
    trace = tmp_path / "trace"
    for file_format in FILES:
        version = Field(models, trace, file_format).plant()
        artifact.verify(models, version)
        assert not trace.exists()  # verifying reads bytes alone
        with pytest.raises(ModelUnusable, match="cannot be loaded"):
            artifact.load(models, version)
        trace.rmdir()  # it ran


@pytest.mark.parametrize("kind", [Field, SignedField])
def test_a_planted_pickle_is_never_loaded_on_any_path(tmp_path, monkeypatch, app, client, flask, models, kind):
    if kind is SignedField:
        monkeypatch.setattr(config, "MODEL_KEY", KEY)
        artifact.sign(models, SHIPPED)
    trace, inference = tmp_path / "trace", app.extensions["inference"]
    planted = plant_all(kind, models, trace)
    client.post("/login", data={"password": PASSWORD})
    assert len(planted) >= 14
    assert served(client) == SHIPPED

    for evil in planted:  # asked for by name, by commands and on the pages
        signing = [("sign", evil)] if kind is Field else []
        for words in [("use", evil), ("challenge", evil), ("compare", evil, SHIPPED), *signing]:
            result = flask("models", *words)
            assert (result.exit_code, len(result.output.splitlines())) == (2, 1), (words, result.output)
        assert flask("models", "show", evil).exit_code in (0, 2)
        for page in ("use", "challenge", "rollback"):
            assert client.post(f"/models/{page}", data={"version": evil}).status_code in (404, 422, 503)
        assert client.get("/models/compare", query_string={"first": evil, "second": evil}).status_code in (404, 503)
        assert not trace.exists(), evil
    for words in (["list"], ["history"], ["verify"]):
        assert flask("models", *words).exit_code == (words == ["verify"])
    assert client.get("/models").status_code == 200
    assert served(client) == SHIPPED

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
        assert client.get(page).status_code == 200
    assert flask("models", "verify").exit_code == 1

    for evil in planted[:: len(planted) // 2]:  # a whole app that starts so, and what else reads a model
        (models / "current").write_text(evil + "\n")
        assert flask("models", "prune", "--keep", "0", "--yes").exit_code in (0, 2)
        other = create_app(tmp_path / "other", TESTING=True, MODELS_FOLDER=str(models))
        assert other.test_client().post("/api/v1/predict", json={"text": HAM}).status_code == 503
        for words in (["predict", HAM], ["retrain"], ["evaluate", "docs/examples/urgent.csv"], ["batch", "-", "-"]):
            assert other.test_cli_runner().invoke(args=words, input="text\nhello\n").exit_code == 2, words
        other.extensions["engine"].dispose()
        assert not trace.exists(), evil


def test_a_running_server_with_a_key_serves_signed_versions_and_nothing_else(tmp_path):
    """Real workers, and `current` written by hand, as by whoever synchronises folders."""
    models, trace = tmp_path / "saved_models", tmp_path / "trace"
    shutil.copytree(ROOT / "saved_models", models)
    settings = {"HAMLET_MODELS_FOLDER": str(models), "HAMLET_MODEL_KEY": KEY}
    server = Server(tmp_path / "instance", **settings)

    def flask(*words):
        command = [sys.executable, "-m", "flask", "models", *words]
        environment = {**os.environ, **settings, "HAMLET_INSTANCE_FOLDER": str(tmp_path / "instance")}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    assert "is not signed" in flask("use", SHIPPED).stderr
    assert flask("sign", SHIPPED).stdout.startswith(f"{SHIPPED} is signed: model.joblib with SHA-256 {SHIPPED[-7:]}")
    try:
        server.start()
        for evil in [*plant_all(Field, models, trace)[::4], *plant_all(SignedField, models, trace)[::3]]:
            (models / "current").write_text(evil + "\n")
            (models / "challenger").write_text(evil + "\n")
            wait_until(lambda: server.call("/readyz")[0] == 503)
            assert server.call("/api/v1/predict", {"text": HAM})[1]["model_version"] == SHIPPED
            (models / "current").write_text(SHIPPED + "\n")
            wait_until(lambda: server.call("/readyz")[0] == 200)
            assert not trace.exists(), evil
    finally:
        server.stop(signal.SIGKILL)
    assert KEY not in server.output()


# --- Signing ---------------------------------------------------------------------------------------------------------


def test_with_a_key_what_is_trained_is_signed_and_served(flask, client, models, labelled, key):
    flask("models", "sign", SHIPPED)
    assert flask("train", labelled, "--use").exit_code == 0
    version = (models / "current").read_text().strip()
    assert served(client) == version != SHIPPED
    assert flask("models", "verify").exit_code == 0
    assert key not in flask("models", "show", version).output


def test_a_signature_is_over_the_whole_card(models, key):
    artifact.sign(models, SHIPPED)
    path = models / SHIPPED / artifact.CARD
    for old, new in [('"threshold": 0.6', '"threshold": 0.9'), ('"licence": "MIT"', '"licence": "MIX"'), ("}\n", "}")]:
        card = path.read_text()
        assert old in card
        path.write_text(card.replace(old, new))
        for read in (artifact.read_card, artifact.verify, artifact.load, artifact.read_learnt):
            with pytest.raises(ModelUnusable, match="changed after it was signed"):
                read(models, SHIPPED)
        path.write_text(card)
    assert artifact.load(models, SHIPPED).version == SHIPPED


def test_a_version_that_lost_its_signature_while_it_is_served_is_told(client, flask, models, key):
    artifact.sign(models, SHIPPED)
    assert client.get("/readyz").status_code == 200
    (models / SHIPPED / artifact.SIGNATURE).unlink()
    answer = client.get("/readyz")
    assert (answer.status_code, "is not signed" in answer.json["detail"]) == (503, True)
    assert f"models sign {SHIPPED}" in flask("models", "list").output


def test_without_a_key_a_signature_means_nothing(models):
    (models / SHIPPED / artifact.SIGNATURE).write_text("nonsense")
    assert artifact.load(models, SHIPPED).version == SHIPPED


def test_what_is_not_as_its_card_says_is_not_signed(flask, models, key):
    for name in ("model.joblib", artifact.LEARNT):
        content = (models / SHIPPED / name).read_bytes()
        (models / SHIPPED / name).write_bytes(content + b" ")
        assert "SHA-256 differs" in flask("models", "sign", SHIPPED).output
        (models / SHIPPED / name).write_bytes(content)
    assert not (models / SHIPPED / artifact.SIGNATURE).exists()
    assert flask("models", "sign", SHIPPED).exit_code == 0


def test_to_sign_takes_a_key(flask, models):
    assert "set HAMLET_MODEL_KEY" in flask("models", "sign", SHIPPED).output
    with pytest.raises(BadData):
        artifact.sign(models, SHIPPED)


@pytest.mark.parametrize("key", ["", "x" * 31])
def test_a_key_that_is_too_short_gets_one_clear_line(tmp_path, key):
    settings = {**os.environ, "HAMLET_MODEL_KEY": key, "HAMLET_INSTANCE_FOLDER": str(tmp_path)}
    for words in (["-m", "webapp"], ["-m", "flask", "models", "list"]):
        done = subprocess.run([sys.executable, *words], cwd=ROOT, env=settings, capture_output=True, text=True)
        assert done.returncode != 0
        assert done.stderr.strip().splitlines()[-1] == "HAMLET_MODEL_KEY: must have at least 32 characters"
        assert "Traceback" not in done.stderr


# --- Damage ----------------------------------------------------------------------------------------------------------


def damaged(content, step):
    """Yield (how, bytes): with one bit flipped, and cut off, at every `step`-th byte."""
    for at in range(0, len(content), step):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        yield f"bit {at % 8} of byte {at} flipped", bytes(flipped)
        yield f"cut off at byte {at}", content[:at]


def test_a_model_file_with_a_flipped_bit_or_cut_off_is_refused_before_it_is_unpickled(models, monkeypatch):
    """At every 1,000th byte."""
    path = models / SHIPPED / "model.joblib"
    content = path.read_bytes()
    monkeypatch.setattr(artifact, "joblib", None)  # whoever came so far would raise AttributeError
    with path.open("r+b", buffering=0) as file:
        for at in range(0, len(content), 1000):
            file.seek(at)
            file.write(bytes([content[at] ^ 1 << at // 1000 % 8]))
            with pytest.raises(ModelUnusable, match="SHA-256 differs"):
                artifact.verify(models, SHIPPED)
            file.seek(at)
            file.write(content[at : at + 1])
        assert artifact.verify(models, SHIPPED)
        for at in range(len(content) // 1000 * 1000, -1, -1000):
            file.truncate(at)
            with pytest.raises(ModelUnusable, match="SHA-256 differs"):
                artifact.load(models, SHIPPED)


def test_a_damaged_card_is_refused_or_can_be_shown(app, client, flask, models):
    """A flipped bit may leave a card that can be read: without a key nothing tells that a licence was another."""
    client.post("/login", data={"password": PASSWORD})
    path = models / SHIPPED / artifact.CARD
    served(client)
    readable = 0
    for number, (how, content) in enumerate(damaged(path.read_bytes(), 25)):
        path.write_bytes(content)
        try:
            artifact.verify(models, SHIPPED)
            artifact.read_learnt(models, SHIPPED)
            readable += 1
        except ModelUnusable:
            pass
        if number % 50 == 0:
            for words in (["models", "list"], ["models", "show", SHIPPED]):
                result = flask(*words)
                assert result.exception is None or isinstance(result.exception, SystemExit), (how, result.output)
            assert client.get("/models").status_code == 200, how
    assert readable


def test_with_a_key_every_damaged_card_is_refused(models, key):
    artifact.sign(models, SHIPPED)
    path = models / SHIPPED / artifact.CARD
    for _, content in damaged(path.read_bytes(), 25):
        path.write_bytes(content)
        with pytest.raises(ModelUnusable):
            artifact.read_card(models, SHIPPED)


@pytest.mark.parametrize(
    "content",
    [b"", b"null", b"[]", b"[" * 100_000, b"\xff\xfe", b'{"model_version": 1}', b"NaN", b'"x"', b"1" * 5000],
)
def test_a_card_that_is_something_else_is_refused(models, content):
    (models / SHIPPED / artifact.CARD).write_bytes(content)
    with pytest.raises(ModelUnusable):
        artifact.read_card(models, SHIPPED)


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": "0.4"},
        {"threshold": float("nan")},
        {"labels": ["ham"]},
        {"labels": None},
        {"data": [{"file": "x"}]},
        {"weights": []},
        {"metrics": {"held_out": {"messages": 1, "spam": 1, "accuracy": {"value": 1.0}}}},
        {"metrics": {"held_out": {"messages": 1, "spam": 1, "accuracy": 0.9}}},
        {"model_file": {"name": "model.pkl", "format": {}, "sha256": ""}},
        {"messages": {"messages": "many"}},
        {"learnt": []},
        {"retraining": {"last_review": 1}},
        {"pipeline": ["os:system"]},
        {"versions": {"scikit-learn": 1.9}},
    ],
    ids=str,
)
def test_a_card_of_another_shape_is_refused(models, change):
    path = models / SHIPPED / artifact.CARD
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ModelUnusable, match=f"not readable .look at {next(iter(change))}"):
        artifact.verify(models, SHIPPED)


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "\0", "x" * 5000, "~root", "C:\\evil", "..\\evil"])
def test_a_name_that_no_version_can_have_is_refused(models, name):
    (models / artifact.CARD).write_text((models / SHIPPED / artifact.CARD).read_text().replace(SHIPPED, "."))
    with pytest.raises(ModelUnusable):
        artifact.load(models, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes in folders here")
@pytest.mark.parametrize("name", ["model.joblib", artifact.CARD, artifact.SIGNATURE])
def test_a_pipe_in_place_of_a_file_makes_nobody_wait(models, key, name):
    artifact.sign(models, SHIPPED)
    (models / SHIPPED / name).unlink()
    os.mkfifo(models / SHIPPED / name)
    with pytest.raises(ModelUnusable, match="no ordinary file"):
        artifact.verify(models, SHIPPED)


def test_saved_models_may_be_a_link_itself(models, tmp_path):
    (tmp_path / "link").symlink_to(models)
    assert artifact.load(tmp_path / "link", SHIPPED).version == SHIPPED


# --- Who may write ---------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing here")
@pytest.mark.parametrize("place", [".", f"{SHIPPED}/model.joblib"])
def test_what_others_may_write_to_is_told_once_at_the_start_by_verify_and_on_the_page(
    tmp_path, client, flask, models, caplog, place
):
    client.post("/login", data={"password": PASSWORD})
    assert writable.warning(models) == ""
    assert "chmod" not in client.get("/models").text + flask("models", "verify").output
    path = (models / place).resolve()
    path.chmod(path.stat().st_mode | 0o002)
    assert f"Others than the owner may write to {path}: " in writable.warning(models)
    caplog.clear()
    create_app(tmp_path / "other", MODELS_FOLDER=str(models)).extensions["engine"].dispose()
    assert [record.levelname for record in caplog.records if "chmod -R go-w" in record.message] == ["WARNING"]
    verified = flask("models", "verify")
    assert (verified.exit_code, f"chmod -R go-w {models}" in verified.output) == (0, True)
    assert "chmod -R go-w" in client.get("/models").text
    assert served(client) == SHIPPED  # a warning, no refusal
    subprocess.run(["chmod", "-R", "go-w", str(models)], check=True)
    assert writable.warning(models) == ""


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing here")
def test_every_place_is_looked_at(models):
    for place in ("current", SHIPPED, f"{SHIPPED}/{artifact.CARD}", f"{SHIPPED}/{artifact.LEARNT}"):
        path = models / place
        path.chmod(path.stat().st_mode | 0o002)
        assert str(path) in writable.warning(models)
        path.chmod(path.stat().st_mode & ~0o022)
    assert writable.warning(models) == ""


@pytest.mark.skipif(os.name == "nt", reason="modes mean nothing here")
def test_a_group_counts_unless_it_is_a_persons_own(models, monkeypatch):
    import grp
    import pwd

    def told(user, group, members, uid):
        monkeypatch.setattr(pwd, "getpwuid", lambda _: SimpleNamespace(pw_name=user))
        monkeypatch.setattr(grp, "getgrgid", lambda _: SimpleNamespace(gr_name=group, gr_mem=members))
        mode = SimpleNamespace(st_mode=0o775, st_uid=uid, st_gid=1)
        return writable._others_may_write(SimpleNamespace(stat=lambda: mode))

    assert not told("ann", "ann", [], 1000)  # as on Ubuntu and Fedora, whose umask lets it write
    assert told("ann", "ann", ["bob"], 1000)
    assert told("ann", "staff", [], 1000)
    assert told("root", "root", [], 0)
    models.chmod(0o777)
    assert writable._others_may_write(models)
    with monkeypatch.context() as patched:
        patched.setattr(os, "name", "nt")
        on_windows = writable._others_may_write(models)
    assert not on_windows

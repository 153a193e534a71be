"""Hamlet starts safely with no configuration, and refuses a dangerous one in one clear line."""

import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PASSWORD, SPAM

from webapp import config, instance
from webapp.app import create_app
from webapp.config import ROOT
from webapp.log.database import open_database

OF_DATABASES = [("postgresql://hamlet", "127.0.0.1:1/x"), ("mysql://hamlet", "db/x"), ("hamlet", "db")]
NOT_ENCODED = ["gehe@im", "gehe:im", "gehe/im", "gehe#im", "geheim%", "gehe@im:x@y", "ge[heim"]


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start an app with nothing but some environment variables."""
    apps = []
    for name in [name for name in os.environ if name.startswith("HAMLET_")]:
        monkeypatch.delenv(name)

    def start(folder=tmp_path / "instance", **environment):
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            apps.append(create_app(folder))
        return apps[-1]

    yield start
    for app in apps:
        app.extensions["engine"].dispose()


@pytest.fixture
def refusal(start):
    """Try to start; return the one line that says why not."""

    def refusal(*folder, **environment):
        with pytest.raises(SystemExit) as end:
            start(*folder, **environment)
        assert "\n" not in end.value.code
        return end.value.code

    return refusal


def test_without_any_setting_everything_is_closed(start, tmp_path):
    app = start()
    assert (app.debug, app.testing, app.config["WTF_CSRF_ENABLED"]) == (False, False, True)
    assert os.environ.get("HOST", "127.0.0.1") == config.HOST
    assert app.config["TRUSTED_PROXIES"] == 0
    assert stat.S_IMODE((tmp_path / "instance").stat().st_mode) == 0o700
    assert len((tmp_path / "instance" / "secret_key").read_text()) >= 64
    assert app.test_client().get("/review").status_code == 303


def test_messages_are_private_even_in_a_folder_that_is_not(start, tmp_path):
    (tmp_path / "instance").mkdir(mode=0o755)
    old = os.umask(0)
    try:
        start().extensions["inference"].predict([SPAM], "api")
    finally:
        os.umask(old)
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "instance").iterdir()}
    assert files.keys() >= {"log.db", "log.db-wal", "log.db-shm", "secret_key", "admin_password"}
    assert set(files.values()) == {0o600}


def test_a_secret_key_that_was_emptied_is_refused(refusal, tmp_path):
    (tmp_path / "instance").mkdir(mode=0o700)
    for content in ("", "short"):
        (tmp_path / "instance" / "secret_key").write_text(content)
        assert "delete it, and a new one is made" in refusal()


def test_what_everybody_can_read_is_refused(start, refusal, tmp_path):
    start().extensions["engine"].dispose()
    for name in ("secret_key", "admin_password", "log.db"):
        path = tmp_path / "instance" / name
        path.chmod(0o644)
        path.parent.chmod(0o700)
        start()  # nobody else gets into the folder
        path.parent.chmod(0o755)
        assert f"everybody on this machine can read {name} in it: chmod 700 the folder" in refusal()
        path.chmod(0o640)  # a group that may make backups, say
        start()


def test_a_folder_that_is_none_or_open_to_everybody_is_refused(refusal, tmp_path):
    (tmp_path / "instance").mkdir()
    (tmp_path / "instance").chmod(0o1777)  # as /tmp, where anybody could have left a secret key that they know
    assert "everybody on this machine may write to it: chmod 700 it" in refusal()
    assert not list((tmp_path / "instance").iterdir())
    (tmp_path / "file").touch()
    assert "below cannot be used ([Errno 20] Not a directory" in refusal(tmp_path / "file" / "below")
    folder = ROOT / "static" / "instance"
    try:
        assert "everybody could download it from static/" in refusal(folder)
        assert not list(folder.iterdir())
    finally:
        folder.rmdir()


def test_commands_are_shown_as_they_can_be_pasted(tmp_path):
    show = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv[1]); from webapp.config import FLASK; print(FLASK)",
    ]
    for folder, program in ((ROOT, "flask"), (tmp_path, f"flask --app {ROOT / 'wsgi'}")):
        shown = subprocess.check_output([*show, str(ROOT)], cwd=folder, text=True).strip()
        assert shown.endswith(f"/{program}")
        own = os.environ | {"HAMLET_INSTANCE_FOLDER": str(tmp_path / "instance")}
        subprocess.check_output([*shlex.split(shown), "models", "list"], cwd=folder, env=own)


IMPOSSIBLE = {
    **{
        wrong: (f": there is no such setting, did you mean {right}?", ["9000"])  # else its default would count
        for right, *misspelt in (
            *(("HAMLET_STORE_TEXT", "STORE_TEXTS", "STORETEXT", "store_text"), ("HAMLET_SECRET_KEY", "SECRET")),
            *(("HAMLET_ADMIN_PASSWORD", "PASSWORD"), ("HAMLET_TRUSTED_PROXIES", "TRUSTED_PROXY")),
            *(("HAMLET_DATABASE_URL", "DB_URL"), ("HAMLET_INSTANCE_FOLDER", "INSTANCE")),
            *(("HOST", "HOST"), ("PORT", "PORT")),
        )
        for wrong in misspelt
    },
    "SECRET_KEY": (
        ": String should have at least 32",
        ["", " " * 40, "changeme", "null", "only 31 characters as counted"],
    ),
    "MODEL_KEY": (": String should have at least 32", ["", "x" * 31]),
    "ADMIN_PASSWORD": (": must have 8 characters or more", ["", "null"]),
    "TRUSTED_PROXIES": ("={}: Input should be", ["*", "0.0.0.0/0", "true", "11", "-1", "1.5", "null", "[1]", ""]),
    "STORE_TEXT": ("={}: Input should be a valid boolean", ["flase", "2", "none", ""]),
    "CORS_ORIGINS": ("={}: must be origins", ["*", "null", "a.example", "https://a.example/", "https://a.b,https://c"]),
}


def test_impossible_values_are_refused_and_secrets_not_shown(refusal):
    for name, (words, values) in IMPOSSIBLE.items():
        for value in values:
            assert refusal(**{f"HAMLET_{name}": value}).startswith(f"HAMLET_{name}{words.format(value)}")


def test_a_database_that_cannot_be_used_is_said_without_its_password(refusal, monkeypatch):
    for words, urls in (
        ("forget it: name a file", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"]),
        ("what follows its ? is not understood", ["sqlite:////srv/log.db?mode=ro", "sqlite:////srv/what?.db"]),
        ("cannot be used", [f"{before}:geheim@{after}" for before, after in OF_DATABASES]),
        ("unable to open database file", ["sqlite:////no/such/folder/log.db"]),
        ("@ as %40, : as %3A", [f"postgresql://hamlet:{password}@127.0.0.1:1/x" for password in NOT_ENCODED]),
    ):
        for url in urls:
            line = refusal(HAMLET_DATABASE_URL=url)
            assert line.startswith("Hamlet cannot start")
            assert (words in line, "gehe" in line) == (True, False)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert "pip install -r requirements-postgres.txt" in refusal(HAMLET_DATABASE_URL="postgresql://localhost/hamlet")


def test_a_platform_s_settings_count_where_ours_are_not_set(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://hamlet@db/x")
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    settings = config.read_all()
    assert (settings["DATABASE_URL"], settings["WORKERS"]) == ("postgres://hamlet@db/x", 3)
    assert instance.surprises(Path("/")) == ["The log is where DATABASE_URL says, as HAMLET_DATABASE_URL is not set."]
    monkeypatch.setenv("HAMLET_DATABASE_URL", "sqlite:////srv/log.db")
    monkeypatch.setenv("HAMLET_WORKERS", "1")
    settings = config.read_all()
    assert (settings["DATABASE_URL"], settings["WORKERS"]) == ("sqlite:////srv/log.db", 1)


def test_urls_and_folders_as_platforms_and_people_write_them(tmp_path, monkeypatch):
    for kind in ("postgres", "POSTGRES", "postgresql+psycopg2", "postgresql+asyncpg", " postgresql"):
        engine = open_database(f"{kind}://hamlet:a%40b@db.example/x\n", tmp_path)
        found = engine.dialect.driver, engine.url.host, engine.url.password, engine.url.database
        assert found == ("psycopg", "db.example", "a@b", "x")
    assert str(Path.home() / "hamlet") == config.Settings(INSTANCE_FOLDER="~/hamlet").INSTANCE_FOLDER
    # A relative one is in the project whatever folder a command is typed in.
    monkeypatch.setattr("webapp.log.database.ROOT", tmp_path)
    assert open_database("sqlite:///log.db", tmp_path / "instance").url.database == str(tmp_path / "log.db")


def test_a_host_in_any_spelling_and_one_that_is_none(monkeypatch):
    right = {"::": "::", "[::]": "::", "0.0.0.0": "0.0.0.0", "localhost\r": "localhost", "": "127.0.0.1"}
    for given, host in right.items():
        monkeypatch.setenv("HOST", given)
        assert config.read_all()["HOST"] == host
    for given in ("x86_64-conda-linux-gnu", "i686-w64-mingw32", "http://x", "a b", ":::", "256.1.1.1"):
        monkeypatch.setenv("HOST", given)
        with pytest.raises(SystemExit, match="must be an address, such as 127.0.0.1"):
            config.read_all()


def test_a_log_on_a_disk_that_is_new_at_each_start_is_said_to_be_lost(tmp_path, monkeypatch):
    for name in (*instance.OF_CONTAINERS, "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(instance, "MARKER", tmp_path / "marker")
    monkeypatch.setattr(instance, "DISK", tmp_path)
    assert instance.surprises(tmp_path) == []  # a machine of one's own
    (tmp_path / "marker").touch()
    assert ["will be lost" in sentence for sentence in instance.surprises(tmp_path)] == [True]
    assert instance.surprises(Path("/proc")) == []  # a volume
    (tmp_path / "marker").unlink()
    monkeypatch.setenv("DYNO", "web.1")
    assert ["will be lost" in sentence for sentence in instance.surprises(tmp_path)] == [True]
    monkeypatch.setenv("HAMLET_DATABASE_URL", "postgresql://db/x")
    assert instance.surprises(tmp_path) == []


def test_settings_of_flask_and_kubernetes_disturb_nothing(start):
    own = {"HAMLET_DEBUG": "true", "HAMLET_TESTING": "true", "HAMLET_WTF_CSRF_ENABLED": "false"}
    own |= {"HAMLET_PROPAGATE_EXCEPTIONS": "true", "HAMLET_SESSION_COOKIE_HTTPONLY": "false"}
    kubernetes = {"HAMLET_SERVICE_HOST": "10.0.0.1", "HAMLET_PORT": "tcp://10.0.0.1:80", "HAMLET_SERVICE_PORT": "80"}
    kubernetes |= {"HAMLET_PORT_80_TCP_PROTO": "tcp", "HAMLET_DB_PORT": "tcp://10.0.0.2:5432"}
    app = start(**own, **kubernetes, HAMLET_SECRET_KEY="1" * 64)
    settings = app.config
    assert app.secret_key == "1" * 64  # as it is written
    assert (settings["DEBUG"], settings["TESTING"], settings["WTF_CSRF_ENABLED"]) == (False, False, True)
    assert (settings["PROPAGATE_EXCEPTIONS"], settings["SESSION_COOKIE_HTTPONLY"]) == (None, True)


# --- Real programs ---


STARTS = [
    ("gunicorn", {"FLASK_DEBUG": "1"}, "In debug mode visitors see source code and more: unset FLASK_DEBUG."),
    ("webapp", {"PORT": "eighty"}, "PORT=eighty: Input should be a valid integer"),
    ("flask run --debug --port 0 --host 0.0.0.0", {}, "In debug mode visitors see source code"),
    ("webapp", {"HAMLET_SECRET_KEY": "changeme"}, "HAMLET_SECRET_KEY: String should have at least 32 characters"),
]


@pytest.mark.parametrize(("command", "setting", "words"), STARTS, ids=str)
def test_a_dangerous_setting_stops_a_real_server_with_one_line(tmp_path, command, setting, words):
    folders = {"HAMLET_INSTANCE_FOLDER": str(tmp_path / "instance"), "HAMLET_ADMIN_PASSWORD": PASSWORD}
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "1", **folders, **setting}
    program = [sys.executable, "-m", *command.split()]
    done = subprocess.run(program, cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60)
    (line,) = (done.stdout + done.stderr).strip().splitlines()
    assert (done.returncode != 0, line.startswith(words)) == (True, True)

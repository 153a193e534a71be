"""What the tests share: an app on a log of its own, a small trained model, and real servers to talk to."""

import contextlib
import copy
import csv
import datetime as dt
import fcntl
import functools
import http.client
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from itertools import cycle, product
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgres import HOW_TO_GET, Postgres, find_programs, free_port
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from webapp import config
from webapp.app import create_app
from webapp.config import PROJECT_SET, ROOT
from webapp.extras.access import keys as api_keys
from webapp.extras.review import samples
from webapp.extras.review.reviews import give_review
from webapp.log.database import open_database, write_transaction
from webapp.log.tables import create_tables, first_id, metadata, new_id, predictions, rolled_up, schema_version
from webapp.model import artifact
from webapp.model import registry as registry_module
from webapp.model.registry import ModelRegistry

SPAM = "URGENT! You have won a £1000 prize. Claim now: http://prize-claim.top or call 09061701461"
PASSWORD = "let the right one in"
SECRET_WORD = "xyzzymarker"  # for those who are not signed in
JSON, FORM = ({"Content-Type": f"application/{kind}"} for kind in ("json", "x-www-form-urlencoded"))
HAM = "Are we still on for lunch tomorrow? I can be there at half past twelve."
SHIPPED = (ROOT / "saved_models" / "current").read_text().strip()


def need(program, how_to_get):
    """Return the path of a program; skip where it is missing, but fail under CI, where nothing may be skipped."""
    path = shutil.which(program)
    return path or missing(program, how_to_get)


def need_module(name, how_to_get):
    """Return a module, where it is installed; else the same."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return missing(name, how_to_get)


def missing(what, how_to_get):
    message = f"{what} is missing: {how_to_get}"
    if os.environ.get("CI"):
        pytest.fail(message)
    return pytest.skip(message)


def pytest_configure(config):
    # A job in a shell's background, with all that it starts, takes no notice of Ctrl-C, which some tests send.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "real_load: a version is loaded in a process apart before it is served")
    config.addinivalue_line("markers", "databases(*names): run with the log on each of sqlite and postgresql")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("databases")
    if marker and "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", marker.args, indirect=True)


@pytest.fixture(scope="session")
def postgres():
    """A PostgreSQL server, one for each process of tests."""
    server = Postgres(find_programs() or missing("PostgreSQL", HOW_TO_GET))
    yield server
    server.remove()


@pytest.fixture(scope="session")
def postgres_template(postgres):
    """A database with today's tables, to be copied."""
    url = postgres.create()
    engine = open_database(url, Path())
    create_tables(engine)
    engine.dispose()
    return url.rpartition("/")[2]


@pytest.fixture
def database_url(request):
    """Where the app's log is: None, which is SQLite, unless the mark `databases` of the test says PostgreSQL too."""
    if getattr(request, "param", "sqlite") == "sqlite":
        yield None
    else:
        postgres, template = (request.getfixturevalue(name) for name in ("postgres", "postgres_template"))
        with postgres.database(f"TEMPLATE {template}") as url:
            yield url


LOAD = artifact.load


@functools.cache
def _load_shipped():
    return LOAD(ROOT / "saved_models", SHIPPED)


def load_shipped_once(folder, version):
    """Load a version, but the shipped one, which no test changes, once for all tests of a process."""
    if folder == ROOT / "saved_models" and version == SHIPPED and not config.MODEL_KEY:
        return copy.copy(_load_shipped())
    return LOAD(folder, version)


@pytest.fixture(autouse=True)
def _spare_what_is_tested_once(request, monkeypatch):
    """Do quickly what most tests only pass by; those that are about it are marked `real_load` or set it themselves.

    A version that is to be served is loaded in this process, as one apart takes 2 s. A switch shows at once.
    """
    monkeypatch.setattr(artifact, "load", load_shipped_once)
    monkeypatch.setattr(registry_module, "REFRESH_S", 0)
    if "real_load" not in request.keywords:
        monkeypatch.setattr(registry_module, "try_load", artifact.load)


@pytest.fixture(scope="session")
def model():
    """The shipped model."""
    return _load_shipped()


@pytest.fixture(scope="session")
def project_messages():
    """The rows of the project's own messages."""
    with PROJECT_SET.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def pa():
    """PyArrow, for Parquet."""
    need_module("pyarrow.parquet", "pip install -r requirements-parquet.txt")
    return need_module("pyarrow", "pip install -r requirements-parquet.txt")


@pytest.fixture
def make_app(tmp_path):
    """Make an app on a folder of its own: make_app(STORE_TEXT=False); or on another one's: make_app("instance")."""
    usual, apps = {"TESTING": True, "WTF_CSRF_ENABLED": False, "ADMIN_PASSWORD": PASSWORD}, []

    def make(folder="own", **settings):
        apps.append(create_app(tmp_path / folder, **usual | settings))
        return apps[-1]

    yield make
    for app in apps:
        app.extensions["engine"].dispose()


@pytest.fixture
def app(request, make_app, database_url):
    """The app with the shipped model, or the test's own folder of models, and an empty log."""
    models = request.getfixturevalue("models") if "models" in request.fixturenames else ROOT / "saved_models"
    return make_app("instance", DATABASE_URL=database_url, MODELS_FOLDER=str(models))


@pytest.fixture
def client(app):
    return app.test_client()


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


def sign_in(app):
    """Return a client that has signed in."""
    client = app.test_client()
    token = hidden(client.get("/login").text, "csrf_token")
    assert client.post("/login", data={"password": PASSWORD, "csrf_token": token}).status_code == 303
    return client


@pytest.fixture
def signed_in(app):
    return sign_in(app)


@pytest.fixture
def key(engine):
    """The header with an API key."""
    return {"Authorization": f"Bearer {api_keys.create(engine, 'test')}"}


@pytest.fixture(scope="module")
def whole_app(tmp_path_factory):
    """The app as it is served, CSRF protection included, with something on every page: messages hold SECRET_WORD."""
    app = create_app(tmp_path_factory.mktemp("whole") / "instance", ADMIN_PASSWORD=PASSWORD)
    engine = app.extensions["engine"]
    rows = app.extensions["inference"].predict([f"{text} {SECRET_WORD}" for _, text in messages(32)], "api")
    for row in rows[:5]:
        give_review(engine, row["id"], "web:somebody", "spam", "uncertain")
    hour = dt.timedelta(hours=1)
    samples.draw(engine, rows[0]["created_at"] - hour, rows[0]["created_at"] + hour, 10, 1)
    for kind in ("batch", "retrain"):
        make_job(app, kind, "failed", {"name": f"{SECRET_WORD}.csv"}, message=SECRET_WORD)
    yield app
    engine.dispose()


def address(app, rule):
    """Return the address of something in the whole app that a route leads to."""
    jobs = {job.kind: job.id for job in app.extensions["runner"].list_jobs()}
    (prediction,) = execute(app.extensions["engine"], sa.text("SELECT max(id) FROM predictions"))
    file = "css/bootstrap.min.css" if rule.startswith("/bootstrap") else "style.css"
    rule = rule.replace("<job_id>", jobs["retrain" if rule.startswith("/models") else "batch"])
    rule = rule.replace("<prediction_id>", prediction).replace("<path:filename>", file)
    return re.sub(r"<any\(.*\b(stop|delete)\b.*\):action>", r"\1", rule)


def execute(engine, statement, rows=None):
    """Run a statement and commit; return the rows that it gives, of a single column its values."""
    with engine.begin() as connection:
        result = connection.execute(statement, rows)
        if result.returns_rows:
            return result.scalars().all() if len(result.keys()) == 1 else result.all()
    return None


def stored(app, what=predictions.c.id):
    """Return what the log holds of a column, as values, or of a table, as rows; oldest first."""
    table = what.table if isinstance(what, sa.Column) else what
    return execute(app.extensions["engine"], sa.select(what).order_by(*table.primary_key))


def move(engine, ids, at):
    """Let logged messages be of another time, one a second."""
    for i, id_ in enumerate(ids):
        moved = {"id": first_id(at + dt.timedelta(seconds=i))[:24] + id_[24:], "created_at": at}
        execute(engine, sa.update(predictions).where(predictions.c.id == id_).values(**moved))


def served(client):
    """Return the version that answers."""
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


def hidden(page, name):
    """Return the value of a hidden field of a page."""
    return re.search(rf'name="{name}" value="(.+?)"', page)[1]


@pytest.fixture
def flask(app):
    """Run a command of the app: flask("predict", "hello").output."""

    def run(*words, **options):
        return app.test_cli_runner().invoke(args=[str(word) for word in words], **options)

    return run


@pytest.fixture
def start_flask(tmp_path):
    """Start a command of the app as a process of its own: start_flask("batch", "in.csv", stderr=subprocess.PIPE)."""
    settings = {"HAMLET_INSTANCE_FOLDER": str(tmp_path / "instance"), "HAMLET_ADMIN_PASSWORD": PASSWORD}

    def start(*words, **options):
        command = [sys.executable, "-m", "flask", *map(str, words)]
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **settings}, **options)

    return start


@pytest.fixture
def models(tmp_path):
    """A copy of saved_models/ that a test may change, used by the app."""
    folder = tmp_path / "saved_models"
    shutil.copytree(ROOT / "saved_models", folder)
    return folder


def use_models(app, folder):
    """Let the app serve the models of another folder; return its registry."""
    inference = app.extensions["inference"]
    registry = ModelRegistry(folder)
    registry.around_use = inference.registry.around_use
    registry.in_use = inference.registry.in_use
    inference.registry = registry
    app.config["MODELS_FOLDER"] = str(folder)
    return registry


def make_version(models, factor):
    """Save a version that is the shipped one, but so much surer (or, below 1, less sure) of everything; quickly."""
    card = artifact.read_card(models, SHIPPED)
    pipeline = artifact.load(models, SHIPPED).pipeline
    pipeline[-1].coef_ = pipeline[-1].coef_ * factor
    reference = artifact.verify(models, SHIPPED).learnt
    later = dt.timedelta(seconds=len(list(models.glob("2*"))))  # no two have the same second: names are in order
    return artifact.save(models, pipeline, card, "joblib", dt.datetime.now(dt.UTC) + later, reference)


@pytest.fixture(scope="session")
def _two_more(tmp_path_factory):
    folder = tmp_path_factory.mktemp("versions") / "saved_models"
    shutil.copytree(ROOT / "saved_models", folder)
    return folder, make_version(folder, 0.01), make_version(folder, 2)


@pytest.fixture
def versions(models, _two_more):
    """The names of three versions in `models`: the shipped one, one that calls nothing spam, and one that is surer."""
    folder, *names = _two_more
    for name in names:
        shutil.copytree(folder / name, models / name)
    return SHIPPED, *names


def messages(count):
    """Return `count` different labelled messages that are easy to tell apart."""
    things = ["train", "bus", "tram", "ferry", "bike", "car", "walk", "taxi", "boat", "plane"]
    days = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday", "today", "soon", "tonight"]
    foods = ["soup", "pasta", "curry", "salad", "pizza", "bread", "rice", "beans", "cake", "fruit"]
    return [
        ("spam", f"WIN a free {thing} {day}!!! Claim your {food} prize, call 0906170{i:04d} now")
        if i % 2
        else ("ham", f"shall we take the {thing} on {day}? I will bring {food} for us")
        for i, (food, day, thing) in zip(range(count), cycle(product(foods, days, things)), strict=False)
    ]


@pytest.fixture
def labelled(tmp_path):
    """A labelled CSV file of 200 messages."""
    path = tmp_path / "labelled.csv"
    path.write_text("label,text\n" + "".join(f'{label},"{text}"\n' for label, text in messages(200)))
    return path


class Browser:
    """Somebody with a browser, as far as tests need one: it keeps cookies, and may be signed in."""

    def __init__(self, url, password=None):
        self._url = url
        self._open = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open
        if password:
            self.send("/login", password=password)

    def ask(self, path, body=None, headers=None, timeout=60):
        """Return (status, text) of a GET, or of a POST where there is a body; `at` is then where that led."""
        try:
            answer = self._open(urllib.request.Request(self._url + path, body, headers or {}), timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.at = answer.url.removeprefix(self._url)
            return answer.status, answer.read().decode(errors="replace")

    def send(self, path, page=None, **fields):
        """Send a form from a page, with the token that is there, as text or, with a file in it, in parts."""
        fields["csrf_token"] = hidden(self.ask(page or path)[1], "csrf_token")
        if not any(isinstance(value, FileStorage) for value in fields.values()):
            return self.ask(path, urllib.parse.urlencode(fields).encode(), FORM)
        boundary, body = encode_multipart(fields)
        return self.ask(path, body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})


class Server:
    """A real gunicorn, started by `python -m webapp` or another command; a setting that is None is left unset."""

    def __init__(self, instance_folder, command=None, **environment):
        self._command = command or [sys.executable, "-m", "webapp"]
        self._folder = ROOT if command else Path("/")  # for `python -m webapp` it must not matter
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.instance_folder = instance_folder
        self.database_url = environment.get("HAMLET_DATABASE_URL")
        settings = {"PORT": str(self.port), "HAMLET_INSTANCE_FOLDER": str(instance_folder), "PYTHONPATH": str(ROOT)}
        settings = os.environ | settings | {"HAMLET_ADMIN_PASSWORD": PASSWORD} | environment
        self._environment = {name: value for name, value in settings.items() if value is not None}
        self._output = instance_folder.with_suffix(".output")

    def spawn(self):
        """Start it, and do not wait until it serves."""
        with self._output.open("ab") as output:
            options = {"cwd": self._folder, "env": self._environment, "start_new_session": True}
            self.process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT, **options)
        return self

    def start(self):
        self.spawn()
        for _ in range(1200):  # two minutes; a busy machine is slow, and that is no fault
            with contextlib.suppress(OSError):
                if self.call("/readyz")[0] == 200:
                    return self
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.stop(signal.SIGKILL)
        raise AssertionError(self.output())

    def stop(self, how=signal.SIGTERM):
        with contextlib.suppress(ProcessLookupError):
            if how == signal.SIGTERM:
                self.process.terminate()
            else:
                os.killpg(self.process.pid, how)
        self.process.wait(30)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)

    def call(self, path, body=None, timeout=20):
        """Return (status, parsed JSON or text) of a GET, or of a POST where there is a body."""
        data = None if body is None else json.dumps(body).encode()
        status, content = Browser(self.url).ask(path, data, JSON if data else {}, timeout)
        return status, json.loads(content) if content.startswith("{") else content

    def send_form(self, text):
        """Send a message as a browser would; return (status, headers, page), without following."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as browser:
            browser.request("GET", "/")
            page = browser.getresponse()
            form = {"csrf_token": hidden(page.read().decode(), "csrf_token"), "text": text}
            headers = FORM | {"Cookie": page.headers["Set-Cookie"].split(";")[0]}
            browser.request("POST", "/", urllib.parse.urlencode(form), headers)
            answer = browser.getresponse()
            return answer.status, answer.headers, answer.read().decode()

    def execute(self, statement):
        """Run a statement in its log, as the function of this name does."""
        engine = open_database(self.database_url, self.instance_folder)
        try:
            return execute(engine, statement)
        finally:
            engine.dispose()

    def workers(self):
        """Return the ids of its worker processes."""
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def stored(self):
        """Return the ids of all predictions in its log."""
        return self.execute(sa.text("SELECT id FROM predictions ORDER BY id"))

    def output(self):
        return self._output.read_text()

    def forget(self):
        """Empty its log, delete its jobs, and what it has said."""
        engine = open_database(self.database_url, self.instance_folder)
        with write_transaction(engine) as connection:
            for table in reversed(metadata.sorted_tables):
                if table not in (schema_version, rolled_up):
                    connection.execute(sa.delete(table))
            connection.execute(sa.update(rolled_up).values(before_id=""))
        engine.dispose()
        for job in (self.instance_folder / "jobs").glob("*/"):
            shutil.rmtree(job)
        os.truncate(self._output, 0)


@pytest.fixture
def server(tmp_path, database_url):
    """A running gunicorn with the shipped model and an empty log, for a test that does something to it."""
    with Server(tmp_path / "instance", HAMLET_DATABASE_URL=database_url) as server:
        yield server


@pytest.fixture(scope="session")
def _long_running(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("shared") / "instance") as server:
        yield server


@pytest.fixture
def shared_server(_long_running):
    """The same, started once for all tests that only talk to it."""
    _long_running.forget()
    return _long_running


def make_job(app, kind, state, arguments=None, **more):
    """Leave what a job of the background runner leaves behind; return its id and folder."""
    job_id = new_id()
    folder = app.extensions["runner"].folder(job_id)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"kind": kind, "arguments": arguments or {}}))
    (folder / "state.json").write_text(json.dumps({"progress": None, "message": "", "state": state} | more))
    return job_id, folder


@contextlib.contextmanager
def running_job(app, kind, arguments=None):
    """Let a job seem to run; yields its id."""
    job_id, folder = make_job(app, kind, "running", arguments)
    with (folder.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(job_id)
        lock.flush()
        yield job_id

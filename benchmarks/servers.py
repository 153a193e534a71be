"""The servers that are compared: how each is started, asked and stopped, and the load that wrk puts on it."""

import contextlib
import csv
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
HAMLET, PEER, MLSERVER = (ROOT / folder / "bin" for folder in (".venv", ".venv-bench", ".venv-bench-mlserver"))
MESSAGES = 20_000
CONNECTIONS = 32
WARM_UP_S = 2
SERVER_CORE, WRK_CORE = "0", "1"


@dataclass
class Server:
    """One server; commands and settings may hold {port}, {folder} (empty, its own) and {database}."""

    key: str
    name: str
    command: list[str]
    path: str = "/predict"
    body: Callable[[str], Any] = lambda text: {"text": text}
    spam_probability: Callable[[Any], float] | None = lambda answer: answer["spam_probability"]
    prepare: list[str] = field(default_factory=list)  # a command to run first
    environment: dict[str, str] = field(default_factory=dict)
    logs: bool = True
    folder: Path = PEERS


MAKE_LOG = [f"{PEER}/python", "_log.py"]
GUNICORN = [f"{HAMLET}/python", "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]
ONE_WORKER = {"HAMLET_INSTANCE_FOLDER": "{folder}", "PORT": "{port}", "HAMLET_WORKERS": "1"}
NO_TELEMETRY = {"MLFLOW_DISABLE_TELEMETRY": "true"}

EMPTY = Server(
    "empty",
    "empty Flask route",
    [*GUNICORN, "--chdir", str(PEERS), "flask_empty:app"],
    path="/",
    spam_probability=None,
    environment=ONE_WORKER,
    logs=False,
)
FLASK_MIN = Server(
    "flask_min",
    "bare Flask, Hamlet's worker, model, log",
    [*GUNICORN, "--chdir", str(PEERS), "flask_min:app"],
    path="/api/v1/predict",
    prepare=[f"{HAMLET}/python", "_log.py"],
    environment=ONE_WORKER,
)
HAMLET_SERVER = Server(
    "hamlet",
    "Hamlet",
    [f"{HAMLET}/python", "-m", "webapp"],
    path="/api/v1/predict",
    environment=ONE_WORKER,
    folder=ROOT,
)
FASTAPI_DEF = Server(
    "fastapi_def",
    "FastAPI `def`, predict_proba, log",
    [f"{PEER}/uvicorn", "fastapi_def:app", "--port", "{port}"],
    prepare=MAKE_LOG,
)
FASTAPI_ASYNC = Server(
    "fastapi_async",
    "FastAPI `async`, Hamlet's model, log",
    [f"{PEER}/uvicorn", "fastapi_async:app", "--port", "{port}"],
    path="/api/v1/predict",
    prepare=MAKE_LOG,
)
MLFLOW = Server(
    "mlflow",
    "MLflow, no log",
    [f"{PEER}/mlflow", "models", "serve", "-m", "{folder}/spam", "-p", "{port}", "--env-manager", "local"],
    path="/invocations",
    body=lambda text: {"inputs": [text]},
    spam_probability=lambda answer: answer["predictions"][0][1],
    prepare=[f"{PEER}/python", "mlflow_model.py", "{folder}/spam"],
    environment=NO_TELEMETRY,
    logs=False,
)
LITSERVE = Server("litserve", "LitServe, no log", [f"{PEER}/python", "litserve_server.py", "{port}"], logs=False)
MLSERVER_SERVER = Server(
    "mlserver",
    "MLServer, no log",
    [f"{MLSERVER}/mlserver", "start", "{folder}/spam"],
    path="/v2/models/spam/infer",
    body=lambda text: {
        "parameters": {"content_type": "str"},
        "inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": [text]}],
        "outputs": [{"name": "predict_proba"}],
    },
    spam_probability=lambda answer: answer["outputs"][0]["data"][1],
    prepare=[f"{MLSERVER}/python", "mlserver_model.py", "{folder}/spam", "{port}"],
    logs=False,
)
FLASK_TUTORIAL = Server(
    "flask_tutorial",
    "tutorial's Flask, predict_proba, log",
    [f"{PEER}/gunicorn", "flask_tutorial:app", "--bind", "127.0.0.1:{port}", "--no-control-socket"],
    prepare=MAKE_LOG,
)
QUICK = [EMPTY, FLASK_MIN, HAMLET_SERVER, FASTAPI_DEF, FASTAPI_ASYNC]
ALL = [*QUICK, MLFLOW, LITSERVE, MLSERVER_SERVER, FLASK_TUTORIAL]


class Running:
    """A server that runs, with what it takes to ask it."""

    def __init__(self, server: Server, port: int, folder: Path, process: subprocess.Popen[bytes]):
        self.server = server
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self.process = process

    def ask(self, path: str, body: Any) -> Any:
        """Return the JSON that a POST gives; raises OSError."""
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read()) if "json" in answer.headers["Content-Type"] else None

    def predict(self, text: str) -> float | None:
        """Return the spam probability that the server gives; raises OSError."""
        answer = self.ask(self.server.path, self.server.body(text))
        return self.server.spam_probability(answer) if self.server.spam_probability else None

    def rows(self) -> int:
        """Return how many predictions its log holds."""
        with contextlib.closing(sqlite3.connect(self.folder / "log.db")) as database:
            return database.execute("SELECT count(*) FROM predictions").fetchone()[0]

    def pids(self) -> list[str]:
        """Return the ids of all its processes."""
        return subprocess.run(["pgrep", "-g", str(self.process.pid)], capture_output=True, text=True).stdout.split()

    def memory_mib(self) -> float:
        """Return the memory (PSS, MiB) of all its processes."""
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self.pids()]
        return (
            sum(int(line.split()[1]) for text in texts for line in text.splitlines() if line.startswith("Pss:")) / 1024
        )

    def cpu_s(self) -> float:
        """Return the seconds of processor time that all its processes have used."""
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return sum(int(stat[11]) + int(stat[12]) for stat in stats) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(server: Server, pinned: bool = True, folder: Path | None = None) -> Iterator[tuple[Running, float]]:
    """Start a server; yield it and the seconds until its first good answer; stop it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as temporary:
        folder = folder or Path(temporary)
        filled = {"port": str(port), "folder": str(folder), "database": str(folder / "log.db")}
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("HAMLET_", "PORT"))
        } | {
            "PYTHONPATH": str(ROOT),
            "MODELS": str(ROOT / "saved_models"),
            "DATABASE": filled["database"],
            "PATH": f"{Path(server.command[0]).parent}:{os.environ['PATH']}",
            **{name: value.format(**filled) for name, value in server.environment.items()},
        }

        def words(command: list[str]) -> list[str]:
            return [word.format(**filled) for word in command]

        options: dict[str, Any] = {"cwd": server.folder, "env": environment, "stderr": subprocess.STDOUT}
        if server.prepare:
            subprocess.run(words(server.prepare), check=True, stdout=subprocess.DEVNULL, **options)
        on_one_core = ["taskset", "-c", SERVER_CORE] if pinned else []
        with (Path(temporary) / "output").open("wb") as output:
            started = time.perf_counter()
            process = subprocess.Popen(on_one_core + words(server.command), stdout=output, process_group=0, **options)
            try:
                one = Running(server, port, folder, process)
                wait_until_ready(one, Path(output.name))
                yield one, time.perf_counter() - started
            finally:
                stop(process)


def wait_until_ready(one: Running, output: Path) -> None:
    for _ in range(6000):
        try:
            one.predict("Are we still on for lunch?")
            return
        except OSError:
            time.sleep(0.01)
        if one.process.poll() is not None:
            break
    sys.exit(f"{one.server.name} does not answer:\n{output.read_text()[-3000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """End all processes of a server; whatever it committed is safe from this."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Return a free port with two more free ones above it, most likely: MLServer takes three."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def messages() -> list[str]:
    """Return MESSAGES different messages, always the same: one of the project's own, with the end of another."""
    with open(ROOT / "webapp" / "model" / "messages.csv", newline="", encoding="utf-8") as file:
        texts = sorted({row["text"] for row in csv.DictReader(file)})
    chosen = random.Random(0)
    return [f"{chosen.choice(texts)} {chosen.choice(texts)[-30:]} {number}" for number in range(MESSAGES)]


def load(
    one: Running, seconds: float, texts: list[str], pinned: bool = True, connections: int = CONNECTIONS
) -> dict[str, Any]:
    """Put wrk's load on a server and return its figures; exits if anything but good answers came back.

    The figures are of the time after a warm-up, in which every worker process starts to take connections; only
    `answers` counts what was answered in the warm-up, too.
    """
    if shutil.which("wrk") is None:
        sys.exit("This needs wrk: sudo apt install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as bodies:
        bodies.write("".join(json.dumps(one.server.body(text)) + "\n" for text in texts))
        bodies.flush()
        on_one_core = ["taskset", "-c", WRK_CORE] if pinned else []
        wrk = [*on_one_core, "wrk", "-t1", f"-c{connections}", "--latency", "--timeout", "10s"]
        script = ["-s", str(ROOT / "benchmarks" / "post.lua"), one.url + one.server.path]

        def run(seconds: float) -> dict[str, Any]:
            finished = subprocess.run(
                [*wrk, f"-d{seconds}s", *script],
                env=os.environ | {"BODIES": bodies.name},
                capture_output=True,
                text=True,
                check=True,
            )
            figures: dict[str, Any] = json.loads(finished.stderr.strip().splitlines()[-1])
            if figures["errors"]:
                sys.exit(f"{one.server.name}: {figures['errors']} of {figures['answers']} requests failed")
            return figures

        warm_up, figures = run(WARM_UP_S), run(seconds)
    return figures | {"answers": warm_up["answers"] + figures["answers"]}

"""Does a switch lose a request, mix two versions, or leave a broken model behind, whatever is killed?

    python benchmarks/switching.py      # 15 minutes: 30 s of load with 20 switches, then 50 kills of each kind

The load: 32 connections to a real gunicorn with two workers. Each answer must be good, name one version, and give that
version's probability; a second after a switch nobody may get the old version any longer. The kills: SIGKILL hits the
server and a process that keeps switching (or saving versions, or retraining) at random moments; then a new server must
start, on a model that is as its card says, and no half-written version may be listed. tests/test_switching_proofs.py
does a little of all this each time.
"""

import argparse
import contextlib
import dataclasses
import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.servers import CONNECTIONS, HAMLET_SERVER, Server, running  # noqa: E402
from benchmarks.versions import copy_models, make_version  # noqa: E402
from webapp.extras.review.reviews import give_review  # noqa: E402
from webapp.log.database import open_database  # noqa: E402
from webapp.model import artifact  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

TEXT = "Free entry, win cash, txt WIN to 80085"
KEEPS_SWITCHING = """
import sys
from pathlib import Path
from webapp.extras.lifecycle import switching
from webapp.log.database import open_database
from webapp.model.registry import ModelRegistry
engine, registry = open_database(None, Path(sys.argv[1])), ModelRegistry(Path(sys.argv[2]))
print("ready", flush=True)
while True:
    for version in sys.argv[3:]:
        registry.use(version, "command:proof")
"""
# What is saved is made beforehand, so that nearly all of the time goes into writing.
KEEPS_SAVING = """
import datetime as dt, sys
from pathlib import Path
from webapp.model import artifact
models, version = Path(sys.argv[2]), sys.argv[3]
card, _, reference = artifact.verify(models, version)
content, now = (models / version / artifact.MODEL_FILES[card.model_file.format]).read_bytes(), dt.datetime.now(dt.UTC)
artifact.to_bytes = lambda pipeline, file_format: content
print("ready", flush=True)
while True:
    now += dt.timedelta(seconds=1)
    artifact.save(models, None, card, "joblib", now, reference)
"""
KEEPS_RETRAINING = """
import sys
from pathlib import Path
from webapp.extras.lifecycle import retraining
from webapp.log.database import open_database
from webapp.model.registry import ModelRegistry
engine, registry = open_database(None, Path(sys.argv[1])), ModelRegistry(Path(sys.argv[2]))
retraining.FEWEST_NEW = 0  # after the first one none is new
print("ready", flush=True)
while True:
    retraining.retrain(engine, registry)
"""
# What is killed, and the longest time (s) from the beginning of its work to its death; a retraining takes some seconds.
KILLED = {"switch": (KEEPS_SWITCHING, 0.1), "save": (KEEPS_SAVING, 0.1), "retrain": (KEEPS_RETRAINING, 8)}
REVIEWED = 100


class Answer(NamedTuple):
    """What came back, and when it was asked for (time.monotonic)."""

    asked_at: float
    version: str
    spam_probability: float


class Load:
    """So many connections that ask again and again, until it is told to stop."""

    def __init__(self, url: str, connections: int = CONNECTIONS):
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self._address = urllib.parse.urlsplit(url).netloc
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(connections)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        body, headers = json.dumps({"text": TEXT}), {"Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self._address, timeout=20)
        while not self._stop.is_set():
            asked_at = time.monotonic()
            try:
                connection.request("POST", "/api/v1/predict", body, headers)
                answer = connection.getresponse()
                content = json.loads(answer.read())
                if answer.status == 200:
                    self.answers.append(Answer(asked_at, content["model_version"], content["spam_probability"]))
                else:
                    self.failures.append(f"{answer.status}: {content}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


def switch_under_load(
    url: str, instance: Path, models: Path, versions: list[str], pauses: list[float]
) -> dict[str, Any]:
    """Switch among versions, with a pause (seconds) after each switch, and return what the load saw."""
    expected = {version: artifact.load(models, version).score(TEXT).spam_probability for version in versions}
    engine, registry = open_database(None, instance), ModelRegistry(models)
    switched: list[tuple[float, str]] = []
    try:
        with Load(url) as load:
            for number, pause in enumerate(pauses):
                time.sleep(pause)
                version = versions[(number + 1) % len(versions)]
                registry.use(version, "command:proof", f"switch {number + 1}")
                switched.append((time.monotonic(), version))
            time.sleep(pauses[-1])
    finally:
        engine.dispose()
    mixed = [one for one in load.answers if abs(one.spam_probability - expected[one.version]) > 1e-9]
    ends = [when for when, _ in switched[1:]] + [float("inf")]
    late = 0.0
    for (when, version), end in zip(switched, ends, strict=True):
        old = [one.asked_at - when for one in load.answers if when < one.asked_at < end and one.version != version]
        late = max([late, *old])
    return {
        "answers": len(load.answers),
        "failed": len(load.failures),
        "failures": load.failures[:3],
        "mixed": len(mixed),
        "versions": sorted({one.version for one in load.answers}),
        "agree_after_s": round(late, 3),
    }


def review_some(folder: Path, ask: Callable[[str, Any], Any]) -> None:
    """Send and review REVIEWED messages, each with a word of its own, so that there is something to retrain on."""
    engine = open_database(None, folder)
    for number in range(REVIEWED):
        word = "".join(random.Random(number).choices("bcdfghklmnprst", k=8))
        row = ask("/api/v1/predict", {"text": f"{TEXT} {word}"})
        give_review(engine, row["id"], "command:proof", "spam" if number % 2 else "ham", "random")
    engine.dispose()


def kill_after(wait_s: float, code: str, words: list[str], meanwhile: Callable[[], None]) -> None:
    """Start a process that works without an end, and kill it after so much of its work, then do something."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("it did not begin to work")
        time.sleep(wait_s)
        if process.poll() is not None:
            raise RuntimeError("it ended by itself")
    finally:
        process.kill()
        meanwhile()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def faults(models: Path) -> list[str]:
    """Return what is wrong in the folder after a kill: a version that is not as its card says, or one half written."""
    registry, found = ModelRegistry(models), []
    for version in registry.versions():
        try:
            artifact.verify(models, version)
        except artifact.ModelUnusable as error:
            found.append(str(error))
    try:
        registry.check()
    except artifact.ModelUnusable as error:
        found.append(str(error))
    return found


def kill_often(server: Server, folder: Path, models: Path, versions: list[str], kills: int) -> dict[str, int]:
    """Kill the server and each of what is KILLED so often; return how many next starts were not good."""
    chance, bad = random.Random(0), dict.fromkeys(KILLED, 0)
    before = set(ModelRegistry(models).versions())
    for kind, (code, longest_s) in KILLED.items():
        for _ in range(kills):
            with running(server, pinned=False, folder=folder) as (one, _):  # the next start, too
                answer = one.ask("/api/v1/predict", {"text": TEXT})
                served = artifact.load(models, answer["model_version"]).score(TEXT).spam_probability
                bad[kind] += abs(served - answer["spam_probability"]) > 1e-9
                with contextlib.suppress(ProcessLookupError):
                    words = [str(folder), str(models), *versions]
                    wait_s = chance.uniform(0, longest_s)
                    kill_after(wait_s, code, words, lambda one=one: os.killpg(one.process.pid, 9))
            found = faults(models)
            bad[kind] += bool(found)
            for fault in found:
                print(fault)
            for version in set(ModelRegistry(models).versions()) - before:
                subprocess.run(["rm", "-r", str(models / version)], check=True)
            subprocess.run(f"rm -rf {models}/.*.unfinished", shell=True, check=True)
        print(f"{kills} kills during a {kind}: {bad[kind]} times something was wrong afterwards")
    return bad


def main() -> None:
    """Do both, print, save; exit with 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--switches", type=int, default=20)
    parser.add_argument("--kills", type=int, default=50)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "instance"
        folder.mkdir()
        models, served = copy_models(Path(name))
        versions = [served, make_version(models, 0.5), make_version(models, 2)]
        environment = HAMLET_SERVER.environment | {"HAMLET_WORKERS": "2", "HAMLET_MODELS_FOLDER": str(models)}
        server = dataclasses.replace(HAMLET_SERVER, environment=environment)
        pauses = [arguments.seconds / (arguments.switches + 1)] * arguments.switches
        with running(server, pinned=False, folder=folder) as (one, _):
            seen = switch_under_load(one.url, folder, models, versions, pauses)
            review_some(folder, one.ask)
        print(json.dumps(seen, indent=2))
        bad = kill_often(server, folder, models, versions, arguments.kills)
    results.save(
        switching={
            "seconds": arguments.seconds,
            "switches": arguments.switches,
            **{name: seen[name] for name in ("answers", "failed", "mixed", "agree_after_s")},
            "kills_of_each_kind": arguments.kills,
            "bad_starts": sum(bad.values()),
        }
    )
    if seen["failed"] or seen["mixed"] or seen["agree_after_s"] > 1 or any(bad.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()

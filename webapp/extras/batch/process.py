"""Starts jobs, each in a process of its own that outlives whoever started it: a web worker, a reload of the server."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from webapp.config import ROOT
from webapp.errors import NotReady
from webapp.extras.batch import jobs as store
from webapp.extras.batch.folders import job_folder

# What a server tells its own processes, and would be a lie in another one.
FOR_THE_SERVER = (
    "PROMETHEUS_MULTIPROC_DIR",
    "GUNICORN_",
    "LISTEN_",
    "NOTIFY_SOCKET",
    "WATCHDOG_",
    "WERKZEUG_",
    "FLASK_",
)

# People who wait for an answer come first; on busy cores threads that wait for each other made a job four times slower.
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1"}


def start(
    engine: sa.Engine,
    instance_folder: Path,
    environment: Mapping[str, str],
    job_id: str,
    kind: str,
    arguments: dict[str, Any],
    started_by: str,
) -> None:
    """Start a new job; `environment` holds the app's settings. Raises JobRunning, LogUnavailable, NotReady."""
    store.begin(engine, job_id, kind, arguments, started_by)
    _start_process(engine, instance_folder, environment, job_id)


def resume(engine: sa.Engine, instance_folder: Path, environment: Mapping[str, str], job_id: str) -> None:
    """Let a job that ended early go on; raises JobRunning, NotFound, LogUnavailable, NotReady."""
    store.begin_again(engine, job_id)
    _start_process(engine, instance_folder, environment, job_id)


def _start_process(engine: sa.Engine, instance_folder: Path, environment: Mapping[str, str], job_id: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOR_THE_SERVER)}
    folder = job_folder(instance_folder, job_id)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (folder / "output.log").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  no shell; the id is of a job of ours
                [sys.executable, "-m", "flask", "job", "run", job_id],
                cwd=ROOT,
                env={**ONE_CORE, **inherited, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what is sent to the server's processes, Ctrl-C say, is not for it
            )
    except OSError as error:
        store.end(engine, store.get_job(engine, job_id), "failed", "The process could not be started.")
        raise NotReady(f"The job could not be started: {error.strerror or error}.") from error
    threading.Thread(target=process.wait, daemon=True).start()  # a dead child that nobody waits for stays as a zombie

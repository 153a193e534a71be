"""The one background runner: work in a process of its own, which outlives the server that started it.

A job is a folder, instance/jobs/ID/: job.json says what to do, state.json how far it is or how it ended, output.log
what it printed. instance/jobs/lock names the job that runs and its process, which holds the file's lock. The kernel
frees the lock when the process ends, for any reason: a job that has not ended, and whose lock is free, was interrupted.
Cancelling a job is SIGTERM. One job runs at a time in an instance folder.
"""

import datetime as dt
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from webapp.config import JOBS_KEPT_DAYS, ROOT
from webapp.errors import HamletError, JobRunning, NotFound, NotReady
from webapp.extras.batch.output import read_json, take_lock, write_json
from webapp.extras.batch.run import Report
from webapp.log.tables import moment_of, new_id

ID = "-".join("[0-9a-f]" * count for count in (8, 4, 4, 4, 12))  # of a job, and so the name of its folder
Work = Callable[["Job", Path, Report], dict[str, Any]]  # takes the job and its folder, returns the result

# Settings of a server for its own processes, wrong in any other.
FOR_THE_SERVER = ("PROMETHEUS_MULTIPROC_DIR", "GUNICORN_", "LISTEN_", "NOTIFY_", "WATCHDOG_", "WERKZEUG_", "FLASK_")
# Requests to the server come first; on busy cores threads that wait for each other made a job four times slower.
ONE_CORE = {"OPENBLAS_NUM_THREADS": "1"}

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """A job as it is now; `state` is running, done, failed or interrupted."""

    id: str
    kind: str
    arguments: dict[str, Any]
    created_at: dt.datetime
    state: str
    progress: float | None = None  # 0 to 1, None where unknown
    message: str = "Starting"  # how far it is, or why it failed
    result: dict[str, Any] | None = None

    @property
    def status(self) -> dict[str, Any]:
        """Return how far it is, for static/job.js."""
        return {"state": self.state, "progress": self.progress, "message": self.message}


@contextmanager
def _startable() -> Iterator[None]:
    """Say what the system says where a job cannot be started: the disk is full, say. Raises NotReady."""
    try:
        yield
    except OSError as error:
        raise NotReady(f"The job cannot be started: {error.strerror or error}.") from error


class Runner:
    """The jobs of one instance folder; `settings` gives the environment variables by which a process gets the app's."""

    def __init__(self, instance_folder: Path, settings: Callable[[], Mapping[str, str]]):
        self.jobs = instance_folder / "jobs"
        self.kinds: dict[str, Work] = {}  # what each kind of job does; extras add theirs
        self._settings = settings

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job; raises NotFound for what is no id."""
        if not fnmatchcase(job_id, ID):
            raise NotFound("There is no such job.")
        return self.jobs / job_id

    @_startable()
    def start(self, kind: str, prepare: Callable[[Path], dict[str, Any]] = lambda folder: {}) -> str:
        """Start a new job and return its id; `prepare` puts its files into its folder and returns its arguments.

        Raises JobRunning, NotReady or what `prepare` raises, and leaves nothing behind then.
        """
        job_id = new_id()
        folder = self.folder(job_id)
        try:
            folder.mkdir(mode=0o700, parents=True)
            write_json(folder / "job.json", {"kind": kind, "arguments": prepare(folder)})
            self.resume(job_id)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return job_id

    @_startable()
    def resume(self, job_id: str) -> None:
        """Let a job go on in a process of its own, unless it runs or is done. Raises JobRunning, NotReady."""
        folder = self.folder(job_id)
        (self.jobs / "lock").touch(0o600)
        with (self.jobs / "lock").open("r+b") as lock:
            if not take_lock(lock):
                if self.running_id() == job_id:
                    return
                raise JobRunning("Another job is running, and one is allowed at a time. Wait until it is done.")
            lock.truncate()
            lock.write(job_id.encode())
            lock.flush()
            if read_json(folder / "state.json").get("state") != "done":
                (folder / "state.json").unlink(missing_ok=True)
                self._spawn(job_id, lock.fileno())

    def _spawn(self, job_id: str, lock: int) -> None:
        if os.name == "nt":
            raise NotReady("Jobs need Linux or macOS; flask batch and flask retrain do the same in a terminal.")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(FOR_THE_SERVER)}
        with (self.folder(job_id) / "output.log").open("ab") as output:
            process = subprocess.Popen(  # noqa: S603  no shell; the id is of a job of ours
                [sys.executable, "-m", "flask", "--app", "wsgi", "job", job_id],
                cwd=ROOT,
                env={**ONE_CORE, **inherited, **self._settings()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # what is sent to the server's processes, Ctrl-C say, is not for it
                pass_fds=[lock],  # which keeps the lock until the process, and what it forks, is gone
            )
        os.write(lock, b" %d" % process.pid)
        threading.Thread(target=process.wait, daemon=True).start()  # else it would stay as a zombie when it ends

    def run(self, job_id: str) -> str:
        """Do a job's work in the process that `_spawn` made; store how it ended, and return that: done, failed, ..."""
        if self.running_id() != job_id:
            raise NotFound("No such job waits for a process: the server starts this command by itself.")
        job, folder, now = self.get(job_id), self.folder(job_id), dict[str, Any]()

        def report(progress: float | None, message: str) -> None:
            now.update(progress=progress, message=message)
            write_json(folder / "state.json", now)

        try:
            now.update(result=self.kinds[job.kind](job, folder, report), state="done", message="", progress=1.0)
        except HamletError as error:
            now.update(state="failed", message=str(error))
        except Exception:
            logger.exception("job %s failed", job_id)
            now.update(state="failed", message="Something went wrong that should not; its output.log says what.")
        write_json(folder / "state.json", now)
        return str(now["state"])

    def cancel(self, job_id: str) -> None:
        """Stop a job's process, if it runs; a job bears that at any moment, and can go on."""
        if self.running_id() == job_id:
            with suppress(OSError, ValueError):  # it is only being started, or has just ended
                os.kill(int((self.jobs / "lock").read_text().removeprefix(job_id)), signal.SIGTERM)

    def delete(self, job_id: str) -> None:
        """Delete a job that does not run, and its files; raises JobRunning."""
        if self.running_id() == job_id:
            raise JobRunning("This job is running. Cancel it first.")
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def remove_old(self, before: dt.datetime | None = None) -> None:
        """Delete the jobs that were begun before a time, by default those too old to keep."""
        before = before or dt.datetime.now(dt.UTC) - dt.timedelta(days=JOBS_KEPT_DAYS)
        for folder in self.jobs.glob(ID):
            if moment_of(folder.name) < before and self.running_id() != folder.name:
                self.delete(folder.name)

    def get(self, job_id: str, kind: str = "") -> Job:
        """Return a job, of that kind if one is given; raises NotFound."""
        folder = self.folder(job_id)
        runs = self.running_id() == job_id  # asked first: a job that ends meanwhile has written how it ended
        about, now = read_json(folder / "job.json"), read_json(folder / "state.json")
        if not about or kind not in ("", about["kind"]):
            raise NotFound("There is no such job. It may have been deleted, or belong to another host.")
        if runs or "state" not in now:
            now["state"] = "running" if runs else "interrupted"
        return Job(job_id, created_at=moment_of(job_id), **about, **now)

    def list_jobs(self, kind: str = "") -> list[Job]:
        """Return the jobs that are kept, newest first: all, or those of a kind."""
        jobs = []
        for folder in sorted(self.jobs.glob(ID), reverse=True):
            with suppress(NotFound):  # of another kind, only being made, or just deleted
                jobs.append(self.get(folder.name, kind))
        return jobs

    def running_id(self) -> str:
        """Return the id of the job that runs, "" if none does."""
        with suppress(FileNotFoundError), (self.jobs / "lock").open("r+b") as lock:
            return "" if take_lock(lock, is_shared=True) else lock.read(36).decode()
        return ""

    def running(self) -> Job | None:
        """Return the job that runs, if one does."""
        with suppress(NotFound):  # it is only being made
            return self.get(self.running_id())
        return None

"""The one background runner: work in a process of its own, which outlives whoever started it.

A job is a folder, instance/jobs/ID/: job.json says what to do, state.json how far it is or how it ended, output.log
what it printed. Its process holds the lock of instance/jobs/lock, which the kernel lets go at its death, whatever
killed it: so a job without an end whose lock is free was interrupted. One job runs at a time in an instance folder.
"""

import datetime as dt
import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from webapp.config import JOBS_KEPT_DAYS, ROOT
from webapp.errors import HamletError, JobRunning, NotFound, NotReady
from webapp.log.ids import moment_of, new_id

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Report = Callable[[float | None, str], None]  # how far it is, 0 to 1 or None, and in words
Work = Callable[["Job", Path, Report], dict[str, Any]]  # takes the job and its folder, returns the result

LOCK_TRIES = 10  # whoever only asks whether a job runs holds the lock for an instant
REPORT_EVERY_S = 0.5
BEING_UPLOADED = dt.timedelta(hours=1)  # a folder is made before its job, and no upload takes as long as this
LOG_SHOWN = 20_000  # bytes of the end of a job's output
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

logger = logging.getLogger(__name__)


class Job(NamedTuple):
    """A job as it is now; `state` is running, done, failed, cancelled or interrupted."""

    id: str
    kind: str
    arguments: dict[str, Any]
    started_by: str
    created_at: dt.datetime
    state: str
    progress: float | None = None  # 0 to 1, None where unknown
    message: str = "Starting"  # how far it is, or why it failed
    result: dict[str, Any] | None = None
    finished_at: dt.datetime | None = None
    cancel_asked: bool = False


class Runner:
    """The jobs of one instance folder; `settings` gives the environment variables by which a process gets the app's."""

    def __init__(self, instance_folder: Path, settings: Callable[[], Mapping[str, str]]):
        self.jobs = instance_folder / "jobs"
        self.kinds: dict[str, Work] = {}  # what each kind of job does; extras add theirs
        self._settings = settings

    def create(self) -> tuple[str, Path]:
        """Make the folder of a new job, for its files; return its id and the folder. Raises OSError."""
        job_id = new_id()
        self.folder(job_id).mkdir(mode=0o700, parents=True)
        return job_id, self.folder(job_id)

    def folder(self, job_id: str) -> Path:
        """Return the folder of a job; raises NotFound for what is no id."""
        if not re.fullmatch(r"[0-9a-f-]{36}", job_id):
            raise NotFound("There is no such job.")
        return self.jobs / job_id

    def start(self, kind: str, arguments: dict[str, Any], started_by: str, job_id: str | None = None) -> str:
        """Start a new job and return its id; raises JobRunning, NotReady."""
        try:
            job_id = job_id or self.create()[0]
            lock = self._lock(job_id)
            try:
                about = {"kind": kind, "arguments": arguments, "started_by": started_by}
                _write(self.folder(job_id) / "job.json", about)
                self._spawn(job_id, lock)
            finally:
                os.close(lock)
        except OSError as error:
            raise NotReady(f"The job cannot be started: {error.strerror or error}.") from error
        return job_id

    def resume(self, job_id: str) -> None:
        """Let a job that ended early go on; leave one alone that runs or is done. Raises JobRunning, NotFound."""
        self.get(job_id)
        try:
            lock = self._lock(job_id)
        except JobRunning:
            if self.running_id() == job_id:
                return
            raise
        try:
            if _read(self.folder(job_id) / "state.json").get("state") == "done":
                return
            for name in ("state.json", "cancel"):
                (self.folder(job_id) / name).unlink(missing_ok=True)
            self._spawn(job_id, lock)
        except OSError as error:
            raise NotReady(f"The job cannot be started: {error.strerror or error}.") from error
        finally:
            os.close(lock)

    def cancel(self, job_id: str) -> None:
        """Let a job's process stop, as Ctrl-C would."""
        folder = self.folder(job_id)
        if self.running_id() == job_id:
            (folder / "cancel").touch()  # for a process that is only starting
            if pid := _read(folder / "state.json").get("pid"):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)

    def delete(self, job_id: str) -> None:
        """Delete a job that does not run, and its files; raises JobRunning, NotFound."""
        if self.get(job_id).state == "running":
            raise JobRunning("This job is running. Cancel it first.")
        self.discard(job_id)

    def discard(self, job_id: str) -> None:
        """Delete the folder of a job that does not run."""
        shutil.rmtree(self.folder(job_id), ignore_errors=True)

    def get(self, job_id: str) -> Job:
        """Return a job; raises NotFound."""
        folder = self.folder(job_id)
        runs = self.running_id() == job_id  # asked first: one that ends meanwhile has written how
        about, state = _read(folder / "job.json"), _read(folder / "state.json")
        if not about:
            raise NotFound("There is no such job. It may have been deleted, or belong to another host.")
        finished = state.pop("finished_at", None)
        state.pop("pid", None)
        if runs or "state" not in state:
            state["state"] = "running" if runs else "interrupted"
        return Job(
            job_id,
            created_at=moment_of(job_id),
            finished_at=dt.datetime.fromisoformat(finished) if finished else None,
            cancel_asked=(folder / "cancel").exists(),
            **about,
            **state,
        )

    def list_jobs(self) -> list[Job]:
        """Return all jobs that are kept, newest first."""
        return [self.get(path.parent.name) for path in sorted(self.jobs.glob("*/job.json"), reverse=True)]

    def running_id(self) -> str | None:
        """Return the id of the job that runs, if one does."""
        try:
            lock = os.open(self.jobs / "lock", os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return os.pread(lock, 36, 0).decode()
        finally:
            os.close(lock)
        return None

    def running(self) -> Job | None:
        """Return the job that runs, if one does."""
        with suppress(NotFound):  # it is only being made
            return self.get(self.running_id() or "")
        return None

    def output(self, job_id: str) -> str:
        """Return the end of what a job printed, "" where there is nothing."""
        try:
            with (self.folder(job_id) / "output.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_SHOWN))
                return file.read().decode(errors="replace")
        except OSError:
            return ""

    def remove_old(self, before: dt.datetime | None = None) -> None:
        """Delete the jobs that were begun before a time, by default those too old to keep, and broken-off uploads."""
        now = dt.datetime.now(dt.UTC)
        before = before or now - dt.timedelta(days=JOBS_KEPT_DAYS)
        for folder in self.jobs.glob("*-*-*-*-*"):
            oldest = before if (folder / "job.json").exists() else now - BEING_UPLOADED
            if moment_of(folder.name) < oldest and self.running_id() != folder.name:
                self.discard(folder.name)

    def run(self, job_id: str) -> str:
        """Do a job's work in this process, which `start` made; store how it ended, and return that: done, failed, ...

        The work reports how far it is. SIGTERM raises KeyboardInterrupt in it, as Ctrl-C does; it may be run again.
        """
        if self.running_id() != job_id:
            raise NotFound("No such job waits for a process: the server starts this command by itself.")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        job, folder = self.get(job_id), self.folder(job_id)
        now: dict[str, Any] = {"progress": None, "message": "Starting", "pid": os.getpid()}
        written = 0.0

        def report(progress: float | None, message: str) -> None:
            nonlocal written
            now.update(progress=progress, message=message)
            if time.monotonic() - written > REPORT_EVERY_S:
                written = time.monotonic()
                _write(folder / "state.json", now)

        result = None
        try:
            _write(folder / "state.json", now)
            if (folder / "cancel").exists():  # asked before this process could be told
                raise KeyboardInterrupt
            result = self.kinds[job.kind](job, folder, report)
            state, now["message"], now["progress"] = "done", "", 1.0
        except KeyboardInterrupt:
            state = "cancelled" if (folder / "cancel").exists() else "interrupted"
        except HamletError as error:
            state, now["message"] = "failed", str(error)
        except OSError as error:  # no room on the disk, say
            logger.exception("job %s failed", job_id)
            state, now["message"] = "failed", f"The server says: {error.strerror or error}"
        except Exception:
            logger.exception("job %s failed", job_id)
            state, now["message"] = "failed", "Something went wrong that should not. The log of the job says what."
        end = {"state": state, "result": result, "finished_at": dt.datetime.now(dt.UTC).isoformat()}
        _write(folder / "state.json", now | end)
        return state

    def _lock(self, job_id: str) -> int:
        """Take the lock for a job; return its file, to be handed to the process. Raises JobRunning, NotReady."""
        if fcntl is None:
            raise NotReady("Jobs need Linux or macOS; flask batch and flask retrain do the same in a terminal.")
        lock = os.open(self.jobs / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.03)
            else:
                os.pwrite(lock, job_id.encode(), 0)
                return lock
        os.close(lock)
        raise JobRunning("Another job is running, and one is allowed at a time. Wait until it is done.")

    def _spawn(self, job_id: str, lock: int) -> None:
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
        threading.Thread(target=process.wait, daemon=True).start()  # else it would stay as a zombie when it ends


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace a small JSON file at once."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content))
    new.replace(path)


def _read(path: Path) -> dict[str, Any]:
    """Return a small JSON file, {} where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found

"""Runs a job in this process, and says every few seconds how far it is."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from webapp.errors import HamletError, LogUnavailable
from webapp.extras.batch import jobs as store
from webapp.extras.batch.jobs import Job

BEAT_S = 1
ENDED_TRIES = 20

Report = Callable[[float | None, str], None]  # how far it is, 0 to 1 or None, and in words
Work = Callable[[Job, Report], dict[str, Any]]

logger = logging.getLogger(__name__)


class Stopped(KeyboardInterrupt):
    """The job has to stop: as if somebody had pressed Ctrl-C, and as little swallowed by an `except Exception`."""


def run(engine: sa.Engine, job_id: str, work: Work) -> str:
    """Claim a job, do its work and store how that ended: return done, failed, cancelled or interrupted.

    `work` gets the job and a function to report by. It must report every few seconds and before any step that cannot
    be taken back: there it is stopped when somebody cancels the job, or when others took it for dead. A job may be run
    again after it was stopped, or killed, so its work must be able to go on from there.
    Raises NotFound unless the job waits for a process; LogUnavailable.
    """
    job = store.claim(engine, job_id)
    result = None
    with _Heart(engine, job) as heart:
        try:
            result = work(job, heart.report)
            state, message = "done", ""
        except KeyboardInterrupt:
            state, message = ("cancelled" if heart.order == "cancel" else "interrupted"), heart.message
        except HamletError as error:
            state, message = "failed", str(error)
        except OSError as error:  # no room on the disk, say
            logger.exception("job %s failed", job_id)
            state, message = "failed", f"The server says: {error.strerror or error}"
        except Exception:
            logger.exception("job %s failed", job_id)
            state, message = "failed", "Something went wrong that should not. The log of the job says what."
        _end(engine, job, state, message, result)
    return state


def _end(engine: sa.Engine, job: Job, state: str, message: str, result: dict[str, Any] | None) -> None:
    for _ in range(ENDED_TRIES):
        with suppress(LogUnavailable):  # somebody writes for long; what the work found must not be lost for that
            store.end(engine, job, state, message, result)
            return
        time.sleep(BEAT_S)
    store.end(engine, job, state, message, result)


class _Heart:
    """Beats in a thread of its own while the work is done."""

    def __init__(self, engine: sa.Engine, job: Job):
        self.order = "go on"
        self.message = job.message
        self._progress: float | None = None
        self._engine = engine
        self._job = job
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, daemon=True)

    def report(self, progress: float | None, message: str) -> None:
        """Note how far the work is; raises Stopped when it has to stop."""
        self._progress, self.message = progress, message
        if self.order != "go on":
            raise Stopped

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def _beat_on(self) -> None:
        heard = time.monotonic()
        while not self._over.wait(BEAT_S):
            try:
                self.order = store.beat(self._engine, self._job, self._progress, self.message)
                heard = time.monotonic()
            except LogUnavailable:
                if time.monotonic() - heard > store.DEAD_AFTER_S:  # by now the others take it for dead
                    self.order = "lost"

"""The table of jobs: what runs where, how far it is, and that it is one at a time.

A job's process claims it, then says every few seconds that it lives. One that has said nothing for DEAD_AFTER_S is
dead, whatever killed it: its job is interrupted and stands in nobody's way. Hosts that share the database compare
their clocks by this, so these must be right to a few seconds.
"""

import datetime as dt
import socket
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import JobRunning, NotFound
from webapp.log.database import write_transaction
from webapp.log.ids import new_id
from webapp.log.tables import jobs

DEAD_AFTER_S = 30
HOST = socket.gethostname()


class Job(NamedTuple):
    """A row of the table; `state` is running, done, failed, cancelled or interrupted."""

    id: str
    created_at: dt.datetime
    kind: str
    arguments: dict[str, Any]
    started_by: str
    host: str
    state: str
    claim: str | None
    cancel_asked: int
    beat_at: dt.datetime
    progress: float | None
    message: str
    finished_at: dt.datetime | None
    result: dict[str, Any] | None


def begin(engine: sa.Engine, job_id: str, kind: str, arguments: dict[str, Any], started_by: str) -> None:
    """Store a new job, to be claimed by a process of this host; raises JobRunning, LogUnavailable."""
    values = {"id": job_id, "created_at": _now(), "kind": kind, "arguments": arguments, "started_by": started_by}
    _make_running(engine, sa.insert(jobs).values(**values, **_fresh()))


def begin_again(engine: sa.Engine, job_id: str) -> None:
    """Let a job that ended early be claimed once more; raises JobRunning, NotFound, LogUnavailable."""
    early = jobs.c.state.in_(("failed", "cancelled", "interrupted"))
    _make_running(engine, sa.update(jobs).where(jobs.c.id == job_id, early).values(**_fresh()))


def _make_running(engine: sa.Engine, statement: sa.Insert | sa.Update) -> None:
    dead = sa.update(jobs).where(jobs.c.state == "running", jobs.c.beat_at < _dead_before())
    try:
        with write_transaction(engine) as connection:
            connection.execute(dead.values(state="interrupted", finished_at=jobs.c.beat_at))
            if connection.execute(statement).rowcount == 0:
                raise NotFound("There is no such job that could be resumed.")
    except sa.exc.IntegrityError:  # the index jobs_running allows one
        raise JobRunning("Another job is running, and one is allowed at a time. Wait until it is done.") from None


def _fresh() -> dict[str, Any]:
    return {
        "host": HOST,
        "state": "running",
        "claim": None,
        "cancel_asked": 0,
        "beat_at": _now(),
        "progress": None,
        "message": "Starting",
        "finished_at": None,
    }


def claim(engine: sa.Engine, job_id: str) -> Job:
    """Take a job for this process; raises NotFound unless it waits for one, LogUnavailable."""
    waiting = sa.and_(jobs.c.id == job_id, jobs.c.state == "running", jobs.c.claim.is_(None))
    with write_transaction(engine) as connection:
        taken = connection.execute(sa.update(jobs).where(waiting).values(claim=new_id(), beat_at=_now())).rowcount
    if not taken:
        raise NotFound("No such job waits for a process to run it.")
    return get_job(engine, job_id)


def beat(engine: sa.Engine, job: Job, progress: float | None, message: str) -> str:
    """Say that the job's process lives; return "go on", "cancel", or "lost" if the job is not its own any more.

    Raises LogUnavailable.
    """
    change = sa.update(jobs).where(*_own(job)).values(beat_at=_now(), progress=progress, message=message)
    with write_transaction(engine) as connection:
        cancel_asked = connection.execute(change.returning(jobs.c.cancel_asked)).scalar()
    return {None: "lost", 0: "go on"}.get(cancel_asked, "cancel")


def end(engine: sa.Engine, job: Job, state: str, message: str, result: dict[str, Any] | None = None) -> None:
    """Store how a job ended, unless it is not this process's any more; raises LogUnavailable."""
    values: dict[str, Any] = {"state": state, "message": message, "result": result}
    if state == "done":
        values["progress"] = 1.0
    with write_transaction(engine) as connection:
        connection.execute(sa.update(jobs).where(*_own(job)).values(beat_at=_now(), finished_at=_now(), **values))


def _own(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return jobs.c.id == job.id, jobs.c.state == "running", jobs.c.claim.is_not_distinct_from(job.claim)


def ask_to_cancel(engine: sa.Engine, job_id: str) -> None:
    """Let the job's process stop at its next beat; raises LogUnavailable."""
    with write_transaction(engine) as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(cancel_asked=1))


def delete(engine: sa.Engine, job_id: str) -> None:
    """Delete a job that does not run; its files follow (folders.py). Raises JobRunning, NotFound, LogUnavailable."""
    with write_transaction(engine) as connection:
        deleted = connection.execute(sa.delete(jobs).where(jobs.c.id == job_id, _is_over())).rowcount
    if not deleted:
        get_job(engine, job_id)
        raise JobRunning("This job is running. Cancel it first.")


def delete_older(connection: sa.Connection, before: dt.datetime) -> list[str]:
    """Delete the jobs that were begun before a time and do not run; return their ids."""
    too_old = sa.delete(jobs).where(jobs.c.created_at < before, _is_over()).returning(jobs.c.id)
    return list(connection.execute(too_old).scalars())


def get_job(engine: sa.Engine, job_id: str) -> Job:
    """Return a job; raises NotFound, LogUnavailable."""
    found = _select(engine, sa.select(jobs).where(jobs.c.id == job_id))
    if not found:
        raise NotFound("There is no such job. It may have been deleted.")
    return found[0]


def list_jobs(engine: sa.Engine) -> list[Job]:
    """Return all jobs that are kept, newest first; raises LogUnavailable."""
    return _select(engine, sa.select(jobs).order_by(jobs.c.id.desc()))


def _select(engine: sa.Engine, query: sa.Select[Any]) -> list[Job]:
    with engine.connect() as connection:
        found = [Job(**row) for row in connection.execute(query).mappings()]
    return [
        job._replace(state="interrupted") if job.state == "running" and job.beat_at < _dead_before() else job
        for job in found
    ]


def _is_over() -> sa.ColumnElement[bool]:
    return sa.or_(jobs.c.state != "running", jobs.c.beat_at < _dead_before())


def _dead_before() -> dt.datetime:
    return _now() - dt.timedelta(seconds=DEAD_AFTER_S)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)

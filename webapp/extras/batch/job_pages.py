"""What the pages of jobs have in common: start one, find it, say how far it is."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import abort, current_app, jsonify, redirect, url_for
from flask.typing import ResponseReturnValue

from webapp.config import environment
from webapp.extras.access.routes import reviewer_id
from webapp.extras.batch import jobs as store
from webapp.extras.batch import process
from webapp.extras.batch.folders import job_folder
from webapp.extras.batch.jobs import Job

LOG_SHOWN = 20_000  # bytes of the end of a job's output


def start(job_id: str, kind: str, arguments: dict[str, Any]) -> None:
    """Start a new job in the name of whoever is signed in; raises JobRunning, LogUnavailable, NotReady."""
    process.start(engine(), instance_folder(), _settings(), job_id, kind, arguments, reviewer_id())


def resume(job_id: str) -> None:
    """Let a job that ended early go on; raises as `start` does, and NotFound."""
    process.resume(engine(), instance_folder(), _settings(), job_id)


def job_of(kind: str, job_id: str) -> Job:
    """Return a job of a kind; raises NotFound, LogUnavailable."""
    job = store.get_job(engine(), job_id)
    if job.kind != kind:
        abort(404)
    return job


def running_job() -> Job | None:
    """Return the one job that runs, of whatever kind."""
    return next((job for job in store.list_jobs(engine()) if job.state == "running"), None)


def status(job: Job, **more: Any) -> ResponseReturnValue:
    """Say how far a job is, for static/job.js."""
    return jsonify({"state": job.state, "progress": job.progress, "message": job.message, **more})


def cancel(job: Job) -> ResponseReturnValue:
    """Ask a job to stop, and go back to its page."""
    store.ask_to_cancel(engine(), job.id)
    return redirect(url_for(".run", job_id=job.id), 303)


def output_of(job: Job) -> str:
    """Return the end of what a job printed; "" where that is gone, or on another host."""
    try:
        with (job_folder(instance_folder(), job.id) / "output.log").open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - LOG_SHOWN))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def engine() -> sa.Engine:
    found: sa.Engine = current_app.extensions["engine"]
    return found


def instance_folder() -> Path:
    return Path(current_app.instance_path)


def _settings() -> dict[str, str]:
    return environment(current_app.config, instance_folder())

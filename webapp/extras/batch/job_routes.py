"""What the pages of jobs have in common: start one, find it, say how far it is."""

from typing import Any

import sqlalchemy as sa
from flask import abort, current_app, jsonify, redirect, url_for
from flask.typing import ResponseReturnValue

from webapp.extras.access.routes import reviewer_id
from webapp.extras.batch.runner import Job, Runner


def runner() -> Runner:
    """Return the app's runner."""
    found: Runner = current_app.extensions["runner"]
    return found


def start(kind: str, arguments: dict[str, Any], job_id: str | None = None) -> str:
    """Start a job in the name of whoever is signed in; return its id. Raises JobRunning, NotReady."""
    return runner().start(kind, arguments, reviewer_id(), job_id)


def job_of(kind: str, job_id: str) -> Job:
    """Return a job of a kind; raises NotFound."""
    job = runner().get(job_id)
    if job.kind != kind:
        abort(404)
    return job


def status(job: Job, **more: Any) -> ResponseReturnValue:
    """Say how far a job is, for static/job.js."""
    return jsonify({"state": job.state, "progress": job.progress, "message": job.message, **more})


def cancel(job: Job) -> ResponseReturnValue:
    """Ask a job to stop, and go back to its page."""
    runner().cancel(job.id)
    return redirect(url_for(".run", job_id=job.id), 303)


def engine() -> sa.Engine:
    found: sa.Engine = current_app.extensions["engine"]
    return found

"""What the pages of jobs have in common: start one, find it, say how far it is."""

import datetime as dt
from typing import Any

import sqlalchemy as sa
from flask import abort, current_app, jsonify, redirect, url_for
from flask.typing import ResponseReturnValue

from webapp.extras.batch.runner import Job, Runner
from webapp.web.check import how_long_ago


def runner() -> Runner:
    """Return the app's runner."""
    found: Runner = current_app.extensions["runner"]
    return found


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


def shown_ago(moment: dt.datetime) -> str:
    """Return how long ago a time is, in words."""
    return how_long_ago(dt.datetime.now(dt.UTC) - moment)

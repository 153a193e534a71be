"""The retraining pages: start one, watch it, read its log, see what came out."""

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.errors import JobRunning, NotReady
from webapp.extras.access.routes import signed_in_only
from webapp.extras.batch import job_routes as jobs
from webapp.extras.batch.job_routes import shown_ago
from webapp.extras.batch.runner import Job
from webapp.extras.lifecycle.routes import models_page, record_refusal

blueprint = Blueprint("retrain", __name__, url_prefix="/models/retrain")
blueprint.before_request(signed_in_only)


@blueprint.post("")
def start() -> ResponseReturnValue:
    """Start to train a new version, by a process of its own."""
    try:
        job_id = jobs.runner().start("retrain", {"anyway": request.form.get("anyway") == "yes"})
    except (JobRunning, NotReady) as error:
        record_refusal(error)
        return models_page(error=str(error)), error.status
    return redirect(url_for(".run", job_id=job_id), 303)


@blueprint.get("/<job_id>")
def run(job_id: str) -> str:
    """Show how far it is, or what came out."""
    job = _job(job_id)
    return render_template("lifecycle/models_job.html", job=job, log=jobs.runner().output(job_id), ago=shown_ago)


@blueprint.get("/<job_id>/status")
def status(job_id: str) -> ResponseReturnValue:
    """Say how far it is, for the page's script."""
    job = _job(job_id)
    return jobs.status(job, log=jobs.runner().output(job_id))


@blueprint.post("/<job_id>/cancel")
def cancel(job_id: str) -> ResponseReturnValue:
    """Ask it to stop; nothing is saved then."""
    return jobs.cancel(_job(job_id))


def _job(job_id: str) -> Job:
    return jobs.job_of("retrain", job_id)

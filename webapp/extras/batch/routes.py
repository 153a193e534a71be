"""The batch pages: upload a file of messages, watch it being scored, download the result."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from flask import Blueprint, abort, flash, redirect, render_template, request, send_file, url_for
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge

from webapp.cli.command import current_inference
from webapp.config import JOBS_KEPT_DAYS, MAX_UNPACKED, MAX_UPLOAD
from webapp.errors import BadData, InvalidInput, JobRunning, LogUnavailable
from webapp.extras.access.routes import login_required, signed_in
from webapp.extras.batch.commands import current_runner, uploaded
from webapp.extras.batch.run import result_of
from webapp.extras.batch.runner import Job
from webapp.model.files import ENDINGS, ending_format, open_table
from webapp.model.labels import read_meanings

LONGEST_NAME = 100  # bytes of a file's name, to which endings are added

blueprint = Blueprint("batch", __name__, url_prefix="/batch")
blueprint.before_request(login_required)


@blueprint.url_value_preprocessor
def _take_larger_files(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Lift the limit of a request's size; not in a view, as CSRF protection reads the form before that."""
    with suppress(LogUnavailable):  # then nobody is signed in, and the guard of these pages says why
        if endpoint == "batch.upload" and signed_in():
            request.max_content_length = MAX_UPLOAD + 100_000  # for the rest of the form


@blueprint.get("")
def page(error: str = "", text_column: str = "") -> str:
    """Show the form and the last runs."""
    runner = current_runner()
    runner.remove_old()
    return render_template(
        "batch/batch.html",
        jobs=runner.list_jobs("batch"),
        running=runner.running(),
        limit=MAX_UPLOAD,
        days=JOBS_KEPT_DAYS,
        error=error,
        text_column=text_column,
    )


@blueprint.post("")
def upload() -> ResponseReturnValue:
    """Keep the file and start to score it."""
    file, text_column = request.files.get("file"), request.form.get("text_column", "").strip()
    try:
        if file is None or not file.filename:
            raise InvalidInput("Choose a file first.")
        job_id = current_runner().start("batch", partial(_keep, file, text_column or None))
    except (InvalidInput, BadData, JobRunning) as error:
        return _refuse(error.status, error.title, str(error), text_column)
    return redirect(url_for(".run", job_id=job_id), 303)


@blueprint.errorhandler(RequestEntityTooLarge)
def _too_large(_error: RequestEntityTooLarge) -> ResponseReturnValue:
    if not signed_in():  # a sign-in that ended meanwhile: the file got no further than the limit for everybody
        return redirect(url_for("login.form", next=url_for(".page")), 303)
    words = f"The file is larger than {MAX_UPLOAD // 1024**2} MB. On the server, the command below takes any size."
    return _refuse(413, "Too large", words)


def _keep(file: FileStorage, text_column: str | None, folder: Path) -> dict[str, Any]:
    """Keep an uploaded file in the folder of its job; return the job's arguments. Raises BadData, OSError."""
    name = "".join(filter(str.isprintable, str(file.filename).rpartition("/")[2]))  # no header may hold others
    name = name.encode()[-LONGEST_NAME:].decode(errors="ignore").strip(". ") or "messages"
    source = uploaded(folder, name)
    source.parent.mkdir()
    file.save(source)
    try:
        words = read_meanings(current_inference().registry.labels())
        with open_table(source, text_column, words) as table:
            table.find_column(text_column)
            table.check_size(MAX_UNPACKED)
    except BadData as error:
        raise BadData(str(error).replace("--text-column", "the field below")) from error
    if ending_format(source) != table.format:  # the result gets the ending, too, by which programs know what to do
        name += next(ending for ending, kind in ENDINGS.items() if kind == table.format)
        source.rename(uploaded(folder, name))
    return {"name": name, "text_column": text_column}


def _refuse(status: int, title: str, words: str, text_column: str = "") -> ResponseReturnValue:
    # Not its columns' names, which are the sender's.
    current_inference().record_failure("form", status, f"{title}: a file", request.headers["X-Request-ID"])
    return page(words, text_column), status


@blueprint.get("/<job_id>")
def run(job_id: str) -> str:
    """Show how far a run is, or what came of it."""
    return render_template("batch/batch_run.html", job=_job(job_id), days=JOBS_KEPT_DAYS)


@blueprint.get("/<job_id>/status")
def status(job_id: str) -> dict[str, Any]:
    """Say how far a run is, for the page's script."""
    return _job(job_id).status


@blueprint.get("/<job_id>/download")
def download(job_id: str) -> ResponseReturnValue:
    """Send the file with its predictions."""
    job = _job(job_id)
    path = result_of(uploaded(current_runner().folder(job.id), job.arguments["name"]))
    if job.state != "done" or not path.exists():
        abort(404)
    answer = send_file(path, "application/octet-stream", as_attachment=True)
    answer.headers["Cache-Control"] = "no-store"  # Flask would let browsers keep it, as it does with styles
    return answer


@blueprint.post("/<job_id>/<any(cancel, resume, delete):action>")
def change(job_id: str, action: str) -> ResponseReturnValue:
    """Do what a button says: the runner's methods have the same names."""
    getattr(current_runner(), action)(_job(job_id).id)
    if action != "delete":
        return redirect(url_for(".run", job_id=job_id), 303)
    flash("The run and its files are deleted. Its predictions are still in the log.")
    return redirect(url_for(".page"), 303)


def _job(job_id: str) -> Job:
    return current_runner().get(job_id, "batch")

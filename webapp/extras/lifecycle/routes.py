"""The models page: which version is served, which is tried, how good each is; serve, try, stop, roll back."""

from collections.abc import Callable

from flask import Blueprint, current_app, flash, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp import config
from webapp.errors import HamletError, InvalidInput, ModelUnusable, NotFound
from webapp.extras.access.routes import reviewer_id, signed_in_only
from webapp.extras.batch.job_routes import engine, runner, shown_ago
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.trial import shadow_report
from webapp.extras.lifecycle.view import STEPS, advice, events_of, numbers, saved_versions, state_of
from webapp.extras.review.reviews import give_review
from webapp.inference import Inference

blueprint = Blueprint("models", __name__, url_prefix="/models")
blueprint.before_request(signed_in_only)

WHY_LENGTH = 200  # characters that are kept of a reason
EVENTS = 50  # of the audit list that are shown
RETRAININGS = 3  # the newest, that are shown


@blueprint.get("")
def page() -> str:
    """Show the state of things, what to do next, all versions, and their history."""
    return models_page()


def models_page(error: str | None = None) -> str:
    """Return the page, with what could not be done."""
    registry = _inference().registry
    history = switching.history(engine())
    state = state_of(engine(), registry, history, reviewer_id())
    named = numbers(registry, history)
    versions = saved_versions(engine(), registry, state, named)
    trial = next((version for version in versions if version.role == "challenger"), None)
    report, running = shadow_report(engine(), registry, trial.name) if trial else None, runner().running()
    words, step = advice(state, report, is_training=running is not None and running.kind == "retrain")
    return render_template(
        "lifecycle/models.html",
        advice=words,
        steps=STEPS,
        step=step,
        state=state,
        versions=versions,
        numbers=named,
        usable=[version.name for version in versions if not version.fault],
        trial=trial,
        report=report,
        running=running,
        retrainings=[job for job in runner().list_jobs() if job.kind == "retrain"][:RETRAININGS],
        events=events_of(history, reviewer_id())[:EVENTS],
        error=error,
        signed=config.MODEL_KEY is not None,
        why_length=WHY_LENGTH,
        ago=shown_ago,
    )


@blueprint.post("/use")
def use() -> ResponseReturnValue:
    """Serve a version from now on."""
    version = request.form.get("version", "")
    return _switch(
        lambda why: _inference().registry.use(version, reviewer_id(), why),
        f"Version {version} is served now.",
    )


@blueprint.post("/challenge")
def challenge() -> ResponseReturnValue:
    """Try a version in the shadow of the served one."""
    version = request.form.get("version", "")
    return _switch(
        lambda why: switching.challenge(engine(), _inference().registry, version, reviewer_id(), why),
        f"Version {version} is tried from now on: it scores each message too, and nobody is told.",
    )


@blueprint.post("/stop")
def stop() -> ResponseReturnValue:
    """Try no version any longer."""
    return _switch(
        lambda why: switching.challenge(engine(), _inference().registry, None, reviewer_id(), why),
        "The shadow test is over. What was found out stays in the log.",
    )


@blueprint.post("/confirm")
def confirm() -> ResponseReturnValue:
    """Store once more what people said of messages on which the model was very sure of the contrary."""
    chosen = set(request.form.getlist("id"))
    registry = _inference().registry
    waiting = retraining.gather(engine(), registry, registry.current_version()).unconfirmed
    confirmed = [one for one in waiting if one.prediction_id in chosen]
    for one in confirmed:
        give_review(engine(), one.prediction_id, reviewer_id(), one.true_label, "confirm")
    flash(f"{len(confirmed)} of {len(waiting)} confirmed: the next version learns them.")
    return redirect(url_for(".page", _anchor="retrain"), 303)


@blueprint.post("/rollback")
def rollback() -> ResponseReturnValue:
    """Serve the version again that was served before, if that is still the one that was asked for."""
    version = request.form.get("version", "")

    def back(why: str) -> None:
        if switching.rollback_target(switching.history(engine())) != version:
            raise InvalidInput("Somebody has switched versions meanwhile. See the history below, and choose again.")
        switching.rollback(engine(), _inference().registry, reviewer_id(), why)

    return _switch(back, f"Rolled back: version {version} is served again.")


def _switch(change: Callable[[str], object], words: str) -> ResponseReturnValue:
    """Make a change and say so, or show the page again with the reason why not; then nothing has changed."""
    why = " ".join(request.form.get("why", "").split())[:WHY_LENGTH]
    try:
        change(why)
    except (ModelUnusable, NotFound, InvalidInput) as error:
        record_refusal(error)
        return models_page(error=str(error)), error.status
    flash(words)
    return redirect(url_for(".page"), 303)


def record_refusal(error: HamletError) -> None:
    """Count something that was refused on this page."""
    _inference().record_failure("form", error.status, f"{error.title}: on the models page", g.request_id)


def _inference() -> Inference:
    inference: Inference = current_app.extensions["inference"]
    return inference

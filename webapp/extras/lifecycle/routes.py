"""The models pages: see which version is served, tried, how good each is; serve, try, retrain, roll back, compare."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.cli.command import current_inference
from webapp.errors import HamletError, ModelUnusable
from webapp.extras.access.routes import login_required, reviewer_id
from webapp.extras.batch.commands import current_runner
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.challenger import shadow_report
from webapp.extras.lifecycle.comparison import EVER, compare, sampled_examples
from webapp.extras.lifecycle.retraining import Reviews
from webapp.extras.monitor.rollups import count
from webapp.extras.review.accuracy import share_right
from webapp.extras.review.reviews import give_reviews
from webapp.extras.review.samples import reached_members
from webapp.log.tables import hourly_predictions
from webapp.model import artifact
from webapp.model.registry import ModelRegistry
from webapp.web.words import mark

blueprint = Blueprint("models", __name__, url_prefix="/models")
blueprint.before_request(login_required)

EVENTS = 50  # of the history that are shown
DONE = {  # what is said of each button's action
    "use": "Version {} is served now.",
    "challenge": "Version {} is tried from now on: it scores each message too, and answers none.",
    "stop": "The shadow test is over. What was found out stays in the log.",
    "rollback": "Rolled back: version {} is served again.",
    "retrain": "A new version is being trained, in a process of its own.",
    "confirm": "{} confirmed: the next version learns them.",
}


@blueprint.get("")
def page(error: str | None = None) -> str:
    """Show the state of things, what to do next, all versions, and their history; and what could not be done."""
    engine, registry, runner = current_app.extensions["engine"], current_inference().registry, current_runner()
    history = switching.history(engine)
    problem, reviews, report = "", Reviews(), None
    tried = registry.challenger.read()
    try:
        registry.check()
        served = registry.current_version()  # this process may be half a second behind: see registry.py
    except HamletError as fault:  # it may go on with a version whose files were damaged since
        model = registry.served.model
        problem, served = str(fault), model.version if model else ""
    with suppress(ModelUnusable):  # its card may be what is damaged; the page has to show all the same
        if served:
            reviews = retraining.gather(engine, registry, served)
            report = shadow_report(engine, registry, tried, served) if tried else None
    retrained = reviews.child if reviews.child not in {switch.to_version for switch in history} else None
    running = runner.running()
    versions = sorted(_versions(engine, registry, tried), key=lambda it: (it["name"] != served, it["name"] != tried))
    is_training = running is not None and running.kind == "retrain"
    return render_template(
        "lifecycle/models.html",
        served=served,
        problem=problem,
        rollback_target=switching.rollback_target(engine, registry),
        reviews=reviews,
        retrained=retrained,
        trial=next((version for version in versions if version["name"] == tried), None),
        report=report,
        versions=versions,
        numbers=_numbers([version["name"] for version in versions], history),
        running=running,
        is_training=is_training,
        last_retraining=next(iter(runner.list_jobs("retrain")), None),
        history=history[:EVENTS],
        me=reviewer_id(),
        error=error,
    )


def _versions(engine: sa.Engine, registry: ModelRegistry, tried: str) -> list[dict[str, Any]]:
    """Return all versions, the newest first: each one's card, or why it cannot be used, and how it did so far.

    The one that is tried is among them, even if its folder is gone.
    """
    counts, members, found = count(engine, hourly_predictions, ("model_version",)), reached_members(engine, *EVER), []
    for name in sorted({*registry.versions(), tried} - {""}, reverse=True):
        card, fault = registry.inspect(name)
        live = share_right([member for member in members if member.model_version == name], counts[(name,)])
        found.append({"name": name, "card": card, "fault": fault, "predictions": counts[(name,)], "live": live})
    return found


def _numbers(versions: Sequence[str], history: Sequence[sa.Row[Any]]) -> dict[str, str]:
    """Return what people call each version: v1 for the oldest, and so on, with those that were switched and pruned."""
    names = {*versions, *(name for switch in history for name in (switch.from_version, switch.to_version))}
    return {name: f"v{at}" for at, name in enumerate(sorted(filter(None, names)), 1)}


@blueprint.post(f"/<any({', '.join(DONE)}):action>")
def change(action: str) -> ResponseReturnValue:
    """Do what a button says: say that it is done, or why not: then nothing has changed."""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    version, who, why = request.form.get("version", ""), reviewer_id(), request.form.get("why", "")
    try:
        match action:
            case "use" | "challenge" | "rollback":  # to where the button said, whatever happened meanwhile
                registry.use(version, who, why, action)
            case "stop":
                if version == registry.challenger.read():  # else another one is tried since the page was opened
                    registry.use(None, who, why, "challenge")
            case "retrain":
                current_runner().start("retrain")
            case _:  # what people said of messages on which the model was very sure of the contrary, once more
                chosen = set(request.form.getlist("id"))
                waiting = retraining.gather(engine, registry, registry.current_version()).unconfirmed
                again = [review for review in waiting if review.prediction_id in chosen]
                give_reviews(engine, {review.prediction_id: review.true_label for review in again}, who, "confirm")
                version = f"{len(again)} of {len(waiting)}"
    except HamletError as error:
        return page(error=str(error)), error.status
    flash(DONE[action].format(version))
    return redirect(url_for(".page"), 303)


@blueprint.get("/retrain/<job_id>/status")
def retraining_status(job_id: str) -> dict[str, Any]:
    """Say how far it is, for the page's script."""
    return current_runner().get(job_id, "retrain").status


@blueprint.get("/compare")
def compare_page() -> ResponseReturnValue:
    """Compare two versions on the same reviewed messages."""
    engine, registry = current_app.extensions["engine"], current_inference().registry
    names = registry.versions()[::-1]
    first = request.args.get("first") or registry.current_version()
    others = registry.with_other_labels(registry.labels())  # nothing can be compared with these, so they come last
    newest = min((name for name in names if name != first), key=others.__contains__, default=first)
    second = request.args.get("second") or registry.challenger.read() or newest
    numbers = _numbers(names, switching.history(engine))
    shown: dict[str, Any] = {"versions": names, "first": first, "second": second, "numbers": numbers}
    differing = []
    try:
        for name in (first, second):
            registry.must_exist(name)
        models = [artifact.load(registry.folder, name) for name in (first, second)]
        found = compare(models[0], models[1], sampled_examples(engine, registry, (first, second)))
    except HamletError as error:
        return render_template("lifecycle/compare.html", **shown, error=str(error)), error.status
    for example, *_ in found.differing:
        rows = [current_inference().score([example.text], "form", model)[0] for model in models]
        sides = [row | {"pieces": mark(example.text, row["explanation"])} for row in rows]
        differing.append({"true_label": "spam" if example.is_spam else "ham", "sides": sides})
    return render_template("lifecycle/compare.html", **shown, found=found, differing=differing)

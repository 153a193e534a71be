"""The review pages: queues of messages to label, and a list of all."""

import datetime as dt
import secrets
from typing import Any

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from pydantic import ValidationError

from webapp.cli.command import current_inference
from webapp.errors import InvalidInput
from webapp.extras.access.routes import login_required, reviewer_id
from webapp.extras.review import queues, samples
from webapp.extras.review.queues import Filters, list_predictions
from webapp.extras.review.reviews import TRUE_LABELS, give_review, last_review, undo, verdict_on
from webapp.model.labels import SPAM_OR_HAM
from webapp.web.words import labels, mark, word

blueprint = Blueprint("review", __name__)
blueprint.before_request(login_required)


@blueprint.get("/review")
def page() -> ResponseReturnValue:
    """Show a queue with one of its messages open, or the list of all."""
    queue = request.args.get("queue", "random")
    if queue not in queues.LISTS:
        abort(404)
    return _page(queue)


@blueprint.post("/review")
def give() -> ResponseReturnValue:
    """Store a verdict and go on to the next message."""
    queue, true_label = request.form.get("queue", ""), request.form.get("true_label", "")
    if queue not in queues.LISTS or true_label not in TRUE_LABELS:
        abort(422, f"Choose {word('spam')}, {word('ham')} or unsure.")
    give_review(
        current_app.extensions["engine"], request.form.get("prediction_id", ""), reviewer_id(), true_label, queue
    )
    return _go_on(queue, request.form.get("next"), true_label)


@blueprint.post("/review/undo")
def take_back() -> ResponseReturnValue:
    """Take back the verdict that was the newest when the page was shown, and show its message again."""
    queue = request.form.get("queue", "")
    prediction_id = undo(current_app.extensions["engine"], reviewer_id(), request.form.get("undo", ""))
    return _go_on(queue if queue in queues.LISTS else "random", prediction_id, "undone")


@blueprint.post("/review/sample")
def draw_sample() -> ResponseReturnValue:
    """Draw a random sample of the last days."""
    size, days = (request.form.get(name, type=int, default=0) for name in ("size", "days"))
    engine, until = current_app.extensions["engine"], dt.datetime.now(dt.UTC)
    try:
        if not 1 <= days <= 3650:
            raise InvalidInput("A sample is of the last 1 to 3,650 days.")
        samples.draw(engine, until - dt.timedelta(days=days), until, size, secrets.randbelow(2**31))
    except InvalidInput as error:
        return _page("random", str(error)), error.status
    return redirect(url_for(".page", queue="random"), 303)


def _go_on(queue: str, prediction_id: str | None, done: str) -> ResponseReturnValue:
    """Redirect to a message of the queue, or to its first one, with the filters kept."""
    return redirect(url_for(".page", **_kept(), queue=queue, id=prediction_id or None, done=done), 303)


def _kept() -> dict[str, Any]:
    """Return the parameters that all links keep: the filters, and where the page begins."""
    return {name: request.args[name] for name in Filters.model_fields if request.args.get(name)}


def _page(queue: str, problem: str | None = None) -> str:
    """Return the page of a queue or list. The address names the open message; else a queue opens its first one."""
    engine, inference = current_app.extensions["engine"], current_inference()
    opened = request.args.get("id", "").lower()
    trial = (inference.registry.challenger.read(), inference.registry.served.read())
    older = sample = progress = None
    if queue == "all":
        try:
            filters = Filters.model_validate(_kept())
        except ValidationError:
            filters, problem = Filters(), "These filters cannot be used. A date is written as 2026-01-31."
        rows, older = list_predictions(engine, filters)
    else:
        rows = queues.upcoming(engine, queue, trial=trial)
        opened = opened or (rows[0]["id"] if rows else "")
    if queue == "random" and (found := samples.open_sample(engine)):
        sample, *progress = found
    if opened and opened not in [row["id"] for row in rows]:
        rows = [inference.log.get_prediction(opened), *rows]
    at = next((at for at, row in enumerate(rows) if row["id"] == opened), None)
    row = None if at is None else rows[at]
    reviewed_as = verdict_on(engine, row["id"]) if row else None
    return render_template(
        "review/review.html",
        queues=queues,
        queue=queue,
        waiting=queues.count_waiting(engine, trial),
        is_trial=trial[0],
        rows=rows,
        older=older,
        is_empty=row is None and not list_predictions(engine, Filters(limit=1))[0],
        problem=problem,
        sample=sample,
        progress=progress,
        row=row,
        previous=rows[at - 1] if at else None,
        following=rows[at + 1] if at is not None and at + 1 < len(rows) else None,
        pieces=mark(row["text"], row["explanation"] or []) if row and row["text"] else [],
        reviewed_as=reviewed_as,
        last_review=last_review(engine, reviewer_id()),
        is_blind=queue in queues.BLIND and not reviewed_as,
        kept={"queue": queue} | _kept(),
        keys=zip(TRUE_LABELS, "SHU" if labels() == SPAM_OR_HAM else "12U", strict=True),
    )

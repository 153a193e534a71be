"""The review pages: queues of messages to label, and a list of all."""

import datetime as dt
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flask import Blueprint, abort, current_app, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.errors import InvalidInput
from webapp.extras.access.routes import reviewer_id, signed_in_only
from webapp.extras.review import listing, queues, samples
from webapp.extras.review.accuracy import further_reviews
from webapp.extras.review.listing import Filters, list_predictions
from webapp.extras.review.reviews import TRUE_LABELS, give_review, reviews_of, undo
from webapp.inference import Inference
from webapp.log.queries import get_prediction
from webapp.web.check import how_long_ago
from webapp.web.explanation import mark
from webapp.web.words import word

KEYS_TAKEN = "uzjk"  # by the other keys of the review page

blueprint = Blueprint("review", __name__)
blueprint.before_request(signed_in_only)

QUEUES = {
    "random": "Random sample",
    "uncertain": "Most uncertain",
    "reported": "Reported as wrong",
    "disagreements": "Disagreements",
    "challenger": "Challenger differs",
    "all": "All messages",
}
SOURCES = ("form", "api", "batch", "stream", "cli")
BLIND = ("random", "challenger")  # there a verdict that is seen first would sway whoever judges, and the figures
PER_PAGE = 50  # of the list
KEPT = (*Filters._fields, "before", "sample")  # what stays in the address from one message to the next
SAMPLES_SHOWN = 5
ENOUGH_TO_PLAN = 10  # reviews from which on it is said how many more are needed


class Goal(NamedTuple):
    """How many more reviews bring the accuracy to within so many percentage points."""

    points: int
    more: int


@blueprint.get("/review")
def page() -> ResponseReturnValue:
    """Show a queue with one of its messages open, or the list of all."""
    queue = request.args.get("queue", "random")
    if queue not in QUEUES:
        abort(404)
    return _list_page() if queue == "all" else _queue_page(queue)


@blueprint.post("/review")
def give() -> ResponseReturnValue:
    """Store a verdict and go on to the next message."""
    queue, true_label = request.form.get("queue", ""), request.form.get("true_label", "")
    if queue not in QUEUES or true_label not in TRUE_LABELS:
        abort(422, f"Choose {word('spam')}, {word('ham')} or unsure.")
    give_review(_engine(), request.form.get("prediction_id", ""), reviewer_id(), true_label, queue)
    return _go_on(queue, request.form.get("next"), true_label)


@blueprint.post("/review/undo")
def take_back() -> ResponseReturnValue:
    """Take back one's newest verdict and show that message again."""
    queue = request.form.get("queue", "random")
    prediction_id = undo(_engine(), reviewer_id())
    return _go_on(queue if queue in QUEUES else "random", prediction_id, "undone" if prediction_id else "nothing")


@blueprint.post("/review/sample")
def draw_sample() -> ResponseReturnValue:
    """Draw a random sample of the last days."""
    size, days = (request.form.get(name, type=int, default=0) for name in ("size", "days"))
    until = dt.datetime.now(dt.UTC)
    try:
        if not 1 <= days <= 3650:
            raise InvalidInput("A sample is of the last 1 to 3,650 days.")
        samples.draw(_engine(), until - dt.timedelta(days=days), until, size, secrets.randbelow(2**31))
    except InvalidInput as error:
        return _queue_page("random", str(error)), error.status
    return redirect(url_for(".page", queue="random"), 303)


def _go_on(queue: str, prediction_id: str | None, done: str) -> ResponseReturnValue:
    """Go back to the queue, its filters and place kept, to a certain message or to the first."""
    return redirect(url_for(".page", **_kept(), queue=queue, id=prediction_id or None, done=done), 303)


def _kept() -> dict[str, Any]:
    return {name: request.args[name] for name in KEPT if request.args.get(name)}


def _queue_page(queue: str, draw_error: str | None = None) -> str:
    engine, reviewer = _engine(), reviewer_id()
    drawn = samples.all_samples(engine) if queue == "random" else []
    sample = next((sample for sample in drawn if sample.id == request.args.get("sample")), drawn[0] if drawn else None)
    sample_id = sample.id if sample else None
    rows, opened = _open(queue, reviewer, sample_id)
    unfinished = [
        (other, state)
        for other in drawn[:SAMPLES_SHOWN]
        if other != sample and (state := samples.progress(engine, other.id)).reviewed < state.total
    ]
    return _render(
        queue,
        rows,
        opened,
        is_taken=bool(opened and queues.is_taken(engine, opened, reviewer)),
        sample=sample,
        progress=samples.progress(engine, sample.id) if sample else None,
        goals=_goals(sample) if sample else [],
        unfinished=unfinished,
        draw_error=draw_error,
    )


def _open(queue: str, reviewer: str, sample_id: str | None) -> tuple[list[Any], str | None]:
    """Return the next messages and which of them is open: the one that was asked for, or the first that is free."""
    rows: list[Any] = queues.upcoming(_engine(), queue, reviewer, sample_id)
    opened = request.args.get("id")
    if opened:
        queues.claim_first(_engine(), queue, reviewer, [opened])  # not if it was reviewed; it may be looked at again
        if opened not in [row["id"] for row in rows]:
            rows.insert(0, get_prediction(_engine(), opened))
        return rows, opened
    while rows and not (opened := queues.claim_first(_engine(), queue, reviewer, [row["id"] for row in rows])):
        rows = queues.upcoming(_engine(), queue, reviewer, sample_id)  # others were faster
    return rows, opened


def _list_page() -> str:
    filters, problem = _filters(request.args)
    found = list_predictions(_engine(), filters, request.args.get("before"), PER_PAGE)
    rows = list(found.rows)
    opened = request.args.get("id")
    if opened and opened not in [row["id"] for row in rows]:
        rows.insert(0, dict(get_prediction(_engine(), opened)))
    return _render(
        "all",
        rows,
        opened,
        found=found,
        filter_problem=problem,
        sources=SOURCES,
        versions=current_app.extensions["inference"].registry.versions(),
        is_filtered=any(value is not None for value in filters),
    )


def _render(queue: str, rows: Sequence[Mapping[str, Any]], opened: str | None, **more: Any) -> str:
    engine, now = _engine(), dt.datetime.now(dt.UTC)
    at = next((at for at, row in enumerate(rows) if row["id"] == opened), None)
    row = None if at is None else rows[at]
    sample = more.get("sample")
    reviews = reviews_of(engine, [row["id"] for row in rows] if queue == "all" else [opened] if opened else [])
    given = reviews[opened] if opened else []
    waiting = queues.waiting(engine, reviewer_id(), sample.id if sample else None)
    own = next((review["true_label"] for review in given if review["reviewer"] == reviewer_id()), None)
    return render_template(
        "review/review.html",
        queue=queue,
        queue_names=_shown_queues(queue, waiting),
        blind_queues=BLIND,
        waiting=waiting,
        count_up_to=queues.COUNT_UP_TO,
        newest=queues.NEWEST,
        looks_at=listing.LOOKS_AT,
        rows=rows,
        row=row,
        previous=rows[at - 1] if at else None,
        following=rows[at + 1] if at is not None and at + 1 < len(rows) else None,
        pieces=mark(row["text"], row["explanation"] or []) if row and row["text"] else [],
        given=given,
        own=own,
        me=reviewer_id(),
        is_blind=queue in BLIND and own is None,
        reviewed={id_ for id_, some in reviews.items() if some},
        kept={"queue": queue} | _kept(),
        done=request.args.get("done"),
        is_empty=row is None and not list_predictions(engine, Filters(), limit=1).rows,
        ago=lambda moment: how_long_ago(now - moment),
        stores_texts=current_app.config["STORE_TEXT"],
        **more,
    )


def _shown_queues(queue: str, waiting: Mapping[str, int]) -> dict[str, str]:
    """Return the queues by their names; that of the challenger only where there is one, or something waits in it."""
    inference: Inference = current_app.extensions["inference"]
    if queue == "challenger" or waiting["challenger"] or inference.registry.named("challenger"):
        return QUEUES
    return {name: words for name, words in QUEUES.items() if name != "challenger"}


def _goals(sample: samples.Sample) -> list[Goal]:
    """Return how many more reviews it takes, once there are enough to plan with."""
    counted = samples.counted_members(_engine(), sample.since, sample.until)
    if len(counted) < ENOUGH_TO_PLAN:
        return []
    outcomes = [(row.label == row.true_label, 1.0) for row in counted]
    return [Goal(points, further_reviews(outcomes, points / 100) or 0) for points in (2, 1)]


def _filters(given: Mapping[str, str]) -> tuple[Filters, str | None]:
    """Return what the list's form asks for, and what is wrong with it."""
    values = {name: given.get(name, "").strip() or None for name in Filters._fields}
    try:
        since, until = _day(values["since"]), _day(values["until"], dt.timedelta(days=1))  # that day included
        problem = None
    except (ValueError, OverflowError):
        since = until = None
        problem = "A date is written as 2026-01-31. Both dates were left out."
    return Filters(
        text=values["text"],
        label=values["label"],
        source=values["source"],
        model_version=values["model_version"],
        since=since,
        until=until,
        reviewed={"yes": True, "no": False}.get(values["reviewed"] or ""),
    ), problem


def _day(date: str | None, later: dt.timedelta = dt.timedelta(0)) -> dt.datetime | None:
    return dt.datetime.strptime(date, "%Y-%m-%d").replace(tzinfo=dt.UTC) + later if date else None


def _engine() -> Any:
    return current_app.extensions["engine"]


@blueprint.app_template_global()
def review_keys() -> list[tuple[str, str]]:
    """Return the buttons of the review page, (label, key): the key is the word's first letter where that is free."""
    first = [word(label)[0] for label in ("spam", "ham")]
    free = all(key.isascii() and key.isalpha() and key not in KEYS_TAKEN for key in first)
    spam, ham = first if free and first[0] != first[1] else ("1", "2")
    return [("spam", spam.upper()), ("ham", ham.upper()), ("unsure", "U")]

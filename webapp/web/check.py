"""Step 3, serve: the form and the answer page."""

from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import InvalidInput, ModelUnusable
from webapp.inference import Inference
from webapp.model.card import Card, read_card
from webapp.model.labels import SPAM_OR_HAM
from webapp.web.words import labels, mark

blueprint = Blueprint("check", __name__)

MENU = [("check.form", "Check")]  # the pages in the bar on top: (endpoint, title)
REPORTS = {"right": "Yes", "wrong": "No", "unsure": "Not sure"}
EXAMPLES = [
    (
        "A prize",
        "Congratulations! You have been selected to win a £500 gift card. Claim it today: http://claim-gift-card.top/win",
    ),
    (
        "A parcel",
        "Hi, your parcel comes today between 11:20 and 12:20. Not in? Your driver Sam can leave it with a neighbour.",
    ),
    ("A friend", "Are you free on Saturday? We won the match, drinks are on me!!"),
]


@blueprint.get("/")
def form() -> ResponseReturnValue:
    """Show the form. Browsers may keep it, so that people who go back find what they had typed."""
    return _form_page(""), {"Cache-Control": "private, no-cache"}


@blueprint.post("/")
def send() -> ResponseReturnValue:
    """Score the message and go to its answer's page, which can be reloaded without scoring again."""
    text = request.form.get("text", "").replace("\r\n", "\n")  # browsers send \r\n but count it as one character
    inference: Inference = current_app.extensions["inference"]
    request_id = request.headers["X-Request-ID"]  # http.py sets it
    try:
        row = inference.predict([text], "form", request_id=request_id)[0]
    except InvalidInput as error:
        inference.record_failure("form", error.status, f"{error.title}: {error.errors[0]['message']}", request_id)
        return _form_page(text, error.errors[0]["message"]), error.status
    return redirect(url_for(".answer", prediction_id=row["id"]), 303)


def _form_page(text: str, error: str | None = None) -> str:
    examples = EXAMPLES if labels() == SPAM_OR_HAM else []  # they are about spam
    return render_template(
        "check.html", text=text, error=error, examples=examples, limit=MAX_TEXT_LENGTH, card=_served_card()
    )


def _served_card() -> Card | None:
    registry = current_app.extensions["inference"].registry
    try:
        return read_card(registry.folder, registry.current_version())
    except ModelUnusable:
        return None  # the answer to a message will say why


@blueprint.get("/predictions/<prediction_id>")
def answer(prediction_id: str) -> str:
    """Show a stored prediction. Its address cannot be guessed."""
    inference: Inference = current_app.extensions["inference"]
    row = inference.log.get_prediction(prediction_id.lower())
    explanation = row["explanation"] or []
    return render_template(
        "answer.html",
        row=row,
        marked=mark(row["text"] or "", explanation),
        explanation=explanation,
        reports=REPORTS,
    )


@blueprint.post("/predictions/<prediction_id>/report")
def report(prediction_id: str) -> ResponseReturnValue:
    """Store what the sender says of the verdict. It is their word, not the truth: reviewers decide that."""
    said = request.form.get("report", "")
    if said not in REPORTS:
        abort(422, "Choose yes, no or not sure.")
    inference: Inference = current_app.extensions["inference"]
    if not inference.log.set_sender_report(prediction_id, said):
        abort(404)
    flash("Thank you. Your answer is stored with the prediction.")
    return redirect(url_for(".answer", prediction_id=prediction_id), 303)

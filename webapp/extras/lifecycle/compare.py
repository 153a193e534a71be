"""The page that shows two versions side by side, on the same labelled messages."""

from collections.abc import Sequence
from typing import NamedTuple

from flask import Blueprint, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue

from webapp.config import PROJECT_SET
from webapp.errors import HamletError
from webapp.extras.access.routes import signed_in_only
from webapp.extras.batch.job_pages import engine
from webapp.extras.lifecycle.comparison import Comparison, Differing, compare
from webapp.extras.lifecycle.reviewed import reviewed_examples
from webapp.inference import Inference, explain
from webapp.model import artifact
from webapp.model.card import read_card
from webapp.model.data import drop_copies, read_labelled
from webapp.model.spam_model import SpamModel
from webapp.web.explanation import Piece, mark

blueprint = Blueprint("compare", __name__, url_prefix="/models/compare")
blueprint.before_request(signed_in_only)

OPEN = 10  # messages on which they differ that are shown at once; the others unfold

HEADLINES = {
    "first": "The first one is better on these messages.",
    "second": "The second one is better on these messages.",
    None: "It cannot be told from these messages which one is better.",
}


class Side(NamedTuple):
    """What one of the two says of a message."""

    label: str
    is_right: bool
    spam_probability: float
    threshold: float
    pieces: list[Piece]  # the message, marked as this version reads it


class Message(NamedTuple):
    """A message on which the two differ."""

    true_label: str
    sides: tuple[Side, Side]


@blueprint.get("")
def page() -> ResponseReturnValue:
    """Compare two versions."""
    inference: Inference = current_app.extensions["inference"]
    names = inference.registry.versions()[::-1]
    first = request.args.get("first") or inference.registry.current_version()
    second = request.args.get("second") or inference.registry.challenger_version() or first
    if not {first, second} <= set(names):
        abort(404, "There is no such version. The Models page lists those there are.")
    reviewed = reviewed_examples(engine(), (first, second))
    on = request.args.get("on") or ("reviews" if reviewed else "own")
    shown = {"versions": names, "first": first, "second": second, "on": on, "reviewed": len(reviewed)}
    try:
        models = [artifact.load(inference.registry.folder, name) for name in (first, second)]
    except HamletError as error:
        return render_template("lifecycle/compare.html", **shown, error=str(error)), error.status
    cards = [read_card(inference.registry.folder, name) for name in (first, second)]
    examples = reviewed if on == "reviews" else drop_copies(read_labelled(PROJECT_SET).examples)
    found = compare(models[0], models[1], examples)
    messages = [_message(one, models) for one in found.differing]
    return render_template(
        "lifecycle/compare.html",
        **shown,
        cards=cards,
        found=found,
        headline=HEADLINES[found.better],
        sentence=_sentence(found),
        messages=messages,
        open_messages=OPEN,
    )


def _sentence(found: Comparison) -> str:
    """Return what the exact McNemar test says, plainly."""
    differing = found.only_first_right + found.only_second_right
    if not found.messages:
        return "No message of a random sample has been reviewed that neither of them has learnt from."
    if not differing:
        return f"On all {found.messages:,} both are right, or both wrong, so nothing tells them apart."
    chance = "less than 1" if found.p_value < 0.01 else f"{100 * found.p_value:.0f}"
    return (
        f"Of {found.messages:,} messages, the first alone is right on {found.only_first_right:,} and the second alone "
        f"on {found.only_second_right:,}. Two that are equally good would differ so much by chance in {chance} of 100 "
        "such comparisons."
    )


def _message(one: Differing, models: Sequence[SpamModel]) -> Message:
    first, second = (_side(one, model) for model in models)
    return Message("spam" if one.is_spam else "ham", (first, second))


def _side(one: Differing, model: SpamModel) -> Side:
    score = model.score(one.text)
    label = model.label(score.spam_probability)
    return Side(
        label=label,
        is_right=(label == "spam") == one.is_spam,
        spam_probability=score.spam_probability,
        threshold=model.threshold,
        pieces=mark(one.text, explain(score)),
    )

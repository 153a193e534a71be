"""The page that shows two versions side by side, on the same reviewed messages."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from flask import Blueprint, abort, current_app, render_template, request
from flask.typing import ResponseReturnValue

from webapp.errors import HamletError
from webapp.extras.access.routes import signed_in_only
from webapp.extras.batch.job_routes import engine
from webapp.extras.lifecycle import switching
from webapp.extras.lifecycle.comparison import ChangedTerm, Comparison, Differing, changed_terms, compare
from webapp.extras.lifecycle.reviewed import sampled_examples
from webapp.extras.lifecycle.view import made_of, numbers
from webapp.inference import Inference, explain
from webapp.model import artifact
from webapp.model.card import read_card
from webapp.model.data import Example
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel
from webapp.web.explanation import Piece, mark

blueprint = Blueprint("compare", __name__, url_prefix="/models/compare")
blueprint.before_request(signed_in_only)

OPEN = 10  # messages on which they differ that are shown at once; the others unfold
KEPT = 8  # comparisons that a worker remembers: loading two versions and reading all their terms takes seconds


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
    registry = inference.registry
    names = registry.versions()[::-1]
    first = request.args.get("first") or registry.current_version()
    second = request.args.get("second") or registry.named("challenger") or next((n for n in names if n != first), first)
    if not {first, second} <= set(names):
        abort(404, "There is no such version. The Models page lists those there are.")
    shown: dict[str, Any] = {
        "versions": names,
        "first": first,
        "second": second,
        "numbers": numbers(registry, switching.history(engine())),
    }
    try:
        for name in (first, second):
            artifact.verify(registry.folder, name)  # now, whatever is remembered
        examples = sampled_examples(engine(), registry, (first, second))
        found, messages, terms = _compared(registry, first, second, tuple(examples))
    except HamletError as error:
        return render_template("lifecycle/compare.html", **shown, error=str(error)), error.status
    cards = [read_card(registry.folder, name) for name in (first, second)]
    return render_template(
        "lifecycle/compare.html",
        **shown,
        cards=cards,
        made=[made_of(card, shown["numbers"]) for card in cards],
        found=found,
        sentence=found.duel.sentence("the first one", "the second one"),
        messages=messages,
        terms=terms,
        open_messages=OPEN,
    )


@lru_cache(maxsize=KEPT)
def _compared(
    registry: ModelRegistry, first: str, second: str, examples: tuple[Example, ...]
) -> tuple[Comparison, list[Message], list[ChangedTerm]]:
    models = [artifact.load(registry.folder, name) for name in (first, second)]
    found = compare(models[0], models[1], examples)
    return found, [_message(one, models) for one in found.differing], changed_terms(models[0], models[1])


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

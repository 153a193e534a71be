"""What the pages call spam and ham: as the served model does. Its words are those of all predictions in the log."""

from collections.abc import Callable
from typing import Any

from flask import Flask, current_app, g
from jinja2 import pass_context

from webapp.inference import Inference
from webapp.model.labels import SPAM_OR_HAM, Labels


def labels() -> Labels:
    """Return the words of the served model, the same for the whole page."""
    if "labels" not in g:
        inference: Inference = current_app.extensions["inference"]
        g.labels = inference.registry.labels()
    found: Labels = g.labels
    return found


def word(label: str) -> str:
    """Return what people call a label."""
    return labels().word(label)


def looks(label: str) -> str:
    """Return a verdict as people say it."""
    if labels() == SPAM_OR_HAM:
        return "Looks like spam" if label == "spam" else "Looks fine"
    return f"Likely {word(label)}"


def register(app: Flask) -> None:
    """Give the templates these, and the words as {{ positive }} and {{ negative }}, in imported macros too.

    They are looked up when a page is rendered. A plain filter of a constant Jinja computes once, when it compiles the
    template, and a server would go on with the words of that moment; one with a context it does not.
    """
    for function in (word, looks):
        app.add_template_filter(_at_each_rendering(function), function.__name__)
    app.jinja_env.globals |= {"positive": _Word("spam"), "negative": _Word("ham")}


class _Word:
    def __init__(self, label: str):
        self._label = label

    def __str__(self) -> str:
        return word(self._label)


def _at_each_rendering(function: Callable[[str], str]) -> Callable[[Any, str], str]:
    return pass_context(lambda _context, label: function(label))

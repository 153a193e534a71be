"""What the pages call spam and ham: as the served model does. Its words are those of all predictions in the log."""

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
    """Give the templates these, and the words as {{ positive }} and {{ negative }}, in imported macros too."""
    for function in (word, looks):
        # With a context Jinja calls it at each rendering. A plain filter of a constant it would compute once, when it
        # compiles the template, and a server would go on with the words of that moment.
        at_each_rendering = pass_context(lambda _context, label, function=function: function(label))
        app.add_template_filter(at_each_rendering, function.__name__)
    app.jinja_env.globals |= {"positive": _Word("spam"), "negative": _Word("ham")}


class _Word:
    def __init__(self, label: str):
        self._label = label

    def __str__(self) -> str:
        return word(self._label)

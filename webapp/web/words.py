"""What the pages call spam and ham: as the served model does. Its words are those of all predictions in the log."""

from flask import current_app, g

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


class _Word:
    """A word that is looked up whenever a template writes it."""

    def __init__(self, label: str):
        self._label = label

    def __str__(self) -> str:
        return word(self._label)


# What templates may use, imported macros too. No filters: of a constant Jinja would compute them once, for all pages.
IN_TEMPLATES = {"word": word, "looks": looks, "positive": _Word("spam"), "negative": _Word("ham")}

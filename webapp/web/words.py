"""What the pages call spam and ham: as the served model does. Its words are those of all predictions in the log."""

from flask import Flask, current_app, g

from webapp.inference import Inference
from webapp.model.labels import SPAM_OR_HAM, Labels

KEYS_TAKEN = "uzjk"  # by the other keys of the review page


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


def worded(text: str) -> str:
    """Return a text of the pages, written with the words spam and ham, in the words of the served model."""
    return labels().sentence(text)


def looks(label: str) -> str:
    """Return a verdict as people say it."""
    if labels() == SPAM_OR_HAM:
        return "Looks like spam" if label == "spam" else "Looks fine"
    return f"Likely {word(label)}"


def review_keys() -> list[tuple[str, str]]:
    """Return the buttons of the review page, (label, key): the key is the word's first letter where that is free."""
    first = [word(label)[0] for label in ("spam", "ham")]
    free = all(key.isascii() and key.isalpha() and key not in KEYS_TAKEN for key in first)
    spam, ham = first if free and first[0] != first[1] else ("1", "2")
    return [("spam", spam.upper()), ("ham", ham.upper()), ("unsure", "U")]


def register(app: Flask) -> None:
    """Give the templates these."""
    for function in (word, worded, looks):
        app.add_template_filter(function)
    app.add_template_global(review_keys)

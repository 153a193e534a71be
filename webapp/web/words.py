"""Words for the pages: labels as the served model calls them, verdicts, times, and which words of a message counted."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from flask import current_app

from webapp.errors import counted
from webapp.inference import Inference
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.tokenizer import token_spans

MARKED = 0.08  # of what all shown terms weigh together: lighter pieces are not worth a mark


def labels() -> Labels:
    """Return the words of the served model: they are used for older predictions in the log too."""
    inference: Inference = current_app.extensions["inference"]
    return inference.registry.labels()


def word(label: str) -> str:
    """Return what people call a label."""
    return labels().word(label)


def looks(label: str) -> str:
    """Return a verdict as people say it."""
    if labels() == SPAM_OR_HAM:
        return "Looks like spam" if label == "spam" else "Looks fine"
    return f"Likely {word(label)}"


def readable(term: str) -> str:
    """Return a term of an explanation as people read it."""
    if term[:1] == "@" and term[1:].isalpha():  # a part of a host; "@" alone is a sign
        return f"{term[1:]} (in a link)"
    return term.strip("[]")


def how_long_ago(moment: dt.datetime) -> str:
    """Return the age of something in words, such as "3 minutes ago"."""
    age = dt.datetime.now(dt.UTC) - moment
    for unit, seconds in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        count = int(age.total_seconds() // seconds)
        if count > 0:
            return f"{counted(count, unit)} ago"
    return "just now"


def mark(text: str, explanation: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, int]]:
    """Cut a message into pieces: text, the label that it speaks for ("" where it counted little), strength 1 to 3."""
    contributions = {item["term"]: item["contribution"] for item in explanation}
    spans = []
    for start, end, tokens in token_spans(text):
        if weight := sum(contributions.get(token, 0.0) for token in tokens):
            spans.append((start, end, weight))
    heaviest = max((abs(weight) for _, _, weight in spans), default=0.0)
    total, pieces, at = sum(map(abs, contributions.values())), [], 0
    for start, end, weight in spans:
        # One character may be read as several tokens: ½ is a 1 and a 2.
        if start >= at and abs(weight) >= MARKED * total:
            towards = "spam" if weight > 0 else "ham"
            strength = 1 + round(2 * abs(weight) / heaviest)
            pieces += [(text[at:start], "", 0), (text[start:end], towards, strength)]
            at = end
    return [*pieces, (text[at:], "", 0)]

"""An explanation as people read it: the message with its terms marked, and a table of shares."""

from collections.abc import Sequence
from typing import NamedTuple

from webapp.log.tables import TermContribution
from webapp.model.tokenizer import token_spans

MARKED = 0.08  # of what all shown terms weigh together: lighter pieces are not worth a mark


class Piece(NamedTuple):
    """A piece of the message; `towards` is spam, ham or "" (unmarked), `strength` 1 to 3."""

    text: str
    towards: str
    strength: int


class Share(NamedTuple):
    """A line of the table."""

    term: str
    towards: str
    contribution: float
    percent: int  # of what all shown terms weigh together


def mark(text: str, explanation: Sequence[TermContribution]) -> list[Piece]:
    """Cut a message into pieces, those that counted marked by which way they pushed and how much."""
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
            pieces += [Piece(text[at:start], "", 0), Piece(text[start:end], towards, strength)]
            at = end
    return [piece for piece in [*pieces, Piece(text[at:], "", 0)] if piece.text]


def shares(explanation: Sequence[TermContribution]) -> list[Share]:
    """Return the table of terms, heaviest first."""
    total = sum(abs(item["contribution"]) for item in explanation) or 1.0
    return [
        Share(
            term=_readable(item["term"]),
            towards="spam" if item["contribution"] > 0 else "ham",
            contribution=item["contribution"],
            percent=round(100 * abs(item["contribution"]) / total),
        )
        for item in explanation
    ]


def _readable(term: str) -> str:
    if term[:1] == "@" and term[1:].isalpha():  # a part of a host; "@" alone is a sign
        return f"{term[1:]} (in a link)"
    return term.strip("[]")

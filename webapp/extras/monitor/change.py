"""Drift of a span of the log: which messages are compared with which."""

import datetime as dt
from typing import Any

import sqlalchemy as sa

from webapp.errors import HamletError
from webapp.extras.monitor.drift import UNKNOWN_WORDS, changed_terms, drift, from_training, window
from webapp.extras.monitor.references import declared_reference
from webapp.extras.monitor.span import Span
from webapp.extras.review.sampling import fair_sample
from webapp.log.tables import predictions
from webapp.model import artifact
from webapp.model.reference import token_shares
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel

MESSAGES = 1000  # of each side: enough to see what matters (docs/monitoring.md), and read in a moment
EXAMPLE_LENGTH = 160  # characters

FROM_LOG = "Compared with the messages from {since} to {until} UTC, which somebody declared normal."
WHEN = "%d %B %Y %H:%M"
FROM_TRAINING = (
    "Compared with the held-out part of the training data. That is a blend of several sources, not your traffic, so it "
    "is a rough yardstick: once a range of your own traffic looks right, declare it normal."
)

NO_WORDS = "This model keeps no list of the words that it has learnt, so the test of unknown words is left out."


def drift_report(engine: sa.Engine, registry: ModelRegistry, span: Span) -> dict[str, Any]:
    """Return the drift tests of a span, and which terms became more or less frequent.

    All messages are scored anew by the served model, so that a change of the model is not taken for one of the traffic.
    """
    try:
        model = registry.current()
        kept = artifact.read_reference(registry.folder, model.version)
    except HamletError:
        nothing: dict[str, Any] = {"reference": None, "tests": [], "messages": 0, "changed_terms": []}
        return {"state": "not known", "note": "Without a model nothing can be compared.", **nothing}
    rows = _messages(engine, span.since, span.until, span.model_version)
    current = window(model, _scored(model, rows))
    declared = declared_reference(engine)
    if declared:
        then = window(model, _scored(model, _messages(engine, declared.since, declared.until)))
        known = [tokens for tokens in then.tokens if tokens is not None]
        shares, shares_of, note = (
            token_shares(known),
            len(known),
            FROM_LOG.format(since=declared.since.strftime(WHEN), until=declared.until.strftime(WHEN)),
        )
    else:
        then, note = from_training(kept), FROM_TRAINING
        shares, shares_of = (kept["token_shares"], kept["messages"]) if kept else ({}, 0)
    terms = [
        {**one, "examples": [(rows[place].text or "")[:EXAMPLE_LENGTH] for place in one["examples"]]}
        for one in changed_terms(shares, shares_of, current.tokens)
    ]
    return {
        **drift(then, current, () if model.knows_words else (UNKNOWN_WORDS,)),
        "reference": {
            "kind": "declared" if declared else "training",
            "since": declared.since.isoformat() if declared else None,
            "until": declared.until.isoformat() if declared else None,
            "messages": len(then.called_spam),
        },
        "note": note if model.knows_words else f"{note} {NO_WORDS}",
        "messages": len(rows),
        "changed_terms": terms,
    }


def _messages(engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None) -> list[Any]:
    ids = fair_sample(engine, since, until, MESSAGES)
    query = sa.select(predictions.c.text, predictions.c.spam_probability).where(predictions.c.id.in_(ids))
    if model_version:
        query = query.where(predictions.c.model_version == model_version)
    with engine.connect() as connection:
        return list(connection.execute(query.order_by(predictions.c.id)))


def _scored(model: SpamModel, rows: list[Any]) -> list[tuple[str | None, float, bool]]:
    anew = iter(model.spam_probabilities([row.text for row in rows if row.text is not None]))
    probabilities = [row.spam_probability if row.text is None else next(anew) for row in rows]
    return [
        (row.text, probability, model.label(probability) == "spam")
        for row, probability in zip(rows, probabilities, strict=True)
    ]

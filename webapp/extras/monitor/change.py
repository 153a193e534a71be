"""Drift of a span of the log: which messages are compared with which."""

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from webapp.errors import HamletError
from webapp.extras.monitor.drift import DRIFTED, TOO_FEW, Window, changed_terms, changes, drift
from webapp.extras.monitor.features import FEATURES, READ_UP_TO, extract
from webapp.extras.monitor.references import FEWEST, declared_reference
from webapp.extras.monitor.span import Span
from webapp.extras.review.sampling import fair_sample
from webapp.log.ids import moment_of
from webapp.log.tables import predictions
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel

MESSAGES = 1_000  # of each side: enough to see what matters (docs/monitoring.md), and read in a moment
PROPOSED_FROM = 500  # messages in the log from which on it is proposed to declare them normal
EXAMPLE_LENGTH = 160  # characters
NO_REFERENCE = "no range declared normal"

NO_REFERENCE_NOTE = (
    "Drift is measured against a range of your own messages that looks right to you. None is declared normal yet."
)
COMPARED = "Compared with the messages from {since} to {until} UTC, which somebody declared normal."
LIKE_HOURS = "Of these, with those of the same hours of the day and of the same part of the week as this range has."
OTHER_HOURS = (
    "Of the hours of the day, or the part of the week, that this range has, they hold too few: if day and night, or "
    "weekdays and weekends, differ at yours, that alone can be the difference. Declare a whole week normal to be sure."
)
WHEN = "%d %B %Y %H:%M"


def drift_report(engine: sa.Engine, registry: ModelRegistry, span: Span) -> dict[str, Any]:
    """Return the drift tests of a span, and what changed: only messages after the declared range are compared with it.

    All messages count as the served model scores them, so that a change of the model is not taken for one of the
    traffic. Copies count once on each side: a campaign of one template is one new message.
    """
    nothing: dict[str, Any] = {
        "reference": None,
        "tests": [],
        "messages": 0,
        "changes": [],
        "changed_terms": [],
        "proposed": None,
    }
    try:
        model = registry.current()
    except HamletError:
        return nothing | {"state": "not known", "note": "Without a model nothing can be compared."}
    declared = declared_reference(engine)
    if declared is None:
        return nothing | {"state": NO_REFERENCE, "note": NO_REFERENCE_NOTE, "proposed": _proposed(engine)}
    ids = fair_sample(engine, max(span.since, declared.until), span.until, MESSAGES, model_version=span.model_version)
    ids_then = fair_sample(engine, declared.since, declared.until, 2 * MESSAGES)
    like = like_hours(ids_then, ids)
    has_like = len(like) >= min(FEWEST, len(ids_then))
    rows, rows_then = _messages(engine, ids), _messages(engine, (like if has_like else ids_then)[:MESSAGES])
    is_known = all(row.text is None or row.model_version == model.version for row in [*rows_then, *rows])
    then, now = (_window(model, side, is_known) for side in (rows_then, rows))
    state, tests = drift(then, now)
    note = COMPARED.format(since=declared.since.strftime(WHEN), until=declared.until.strftime(WHEN))
    if ids and len(like) < len(ids_then):
        note += f" {LIKE_HOURS if has_like else OTHER_HOURS}"
    found = changed_terms(then, now) if state != TOO_FEW else []
    return {
        "state": state,
        "tests": tests,
        "reference": {
            "since": declared.since.isoformat(),
            "until": declared.until.isoformat(),
            "messages": len(rows_then),
            "like_hours": has_like,
        },
        "note": note,
        "messages": len(rows),
        "copies": len(ids) - len(rows),
        "changes": changes(then, now) if state == DRIFTED else [],
        "changed_terms": [
            one | {"examples": [(rows[place].text or "")[:EXAMPLE_LENGTH] for place in one["examples"]]}
            for one in found
        ],
        "proposed": None,
    }


def _proposed(engine: sa.Engine) -> int | None:
    """Return how many messages there are to call normal, None while these are too few."""
    with engine.connect() as connection:
        some = sa.select(predictions.c.id).limit(100_000).subquery()
        messages: int = connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
    return messages if messages >= PROPOSED_FROM else None


def like_hours(reference: Sequence[str], current: Sequence[str]) -> list[str]:
    """Return the ids of the reference that are of an hour of the day and part of the week of the current ones."""
    hours = {_part_of_week(id_) for id_ in current}
    return [id_ for id_ in reference if _part_of_week(id_) in hours]


def _part_of_week(prediction_id: str) -> tuple[bool, int]:
    """Return whether a prediction is of a weekend, and its hour of the day (UTC)."""
    at = moment_of(prediction_id)
    return at.weekday() >= 5, at.hour


def _messages(engine: sa.Engine, ids: list[str]) -> list[Any]:
    """Return the predictions with these ids, oldest first, the first of each message and its copies."""
    shown = predictions.c
    query = sa.select(shown.text, shown.text_hash, shown.spam_probability, shown.model_version)
    with engine.connect() as connection:
        rows = connection.execute(query.where(shown.id.in_(ids)).order_by(shown.id)).all()
    return drop_copies(rows, lambda row: extract(row.text).copy_keys if row.text is not None else {row.text_hash})


def drop_copies(messages: Iterable[Any], keys_of: Callable[[Any], AbstractSet[str]]) -> list[Any]:
    """Return the first of each message and its copies: those that share a key with it or with another copy."""
    seen: set[str] = set()
    kept = []
    for message in messages:
        keys = keys_of(message)
        if not keys & seen:
            kept.append(message)
        seen |= keys
    return kept


def _window(model: SpamModel, rows: list[Any], is_known: bool) -> Window:
    """Return messages as a window; where what the served model says of them is not known, their beginnings are scored.

    That must be so for both sides alike.
    """
    probability = np.array(
        [
            row.spam_probability if is_known or row.text is None else _scored(model, row.text[:READ_UP_TO])
            for row in rows
        ]
    )
    unknown = tuple([np.nan] * len(FEATURES))
    found = [extract(row.text) if row.text is not None else None for row in rows]
    return Window(
        features=np.array([one.values if one else unknown for one in found], dtype=float).reshape(-1, len(FEATURES)),
        spam_probability=probability,
        called_spam=probability >= model.threshold,
        terms=[one.terms if one else None for one in found],
    )


@lru_cache(maxsize=2 * MESSAGES)
def _scored(model: SpamModel, start: str) -> float:
    return model.spam_probabilities([start])[0]

"""Drift of a span of the log: the range that somebody declared normal, and which messages are compared with it."""

import datetime as dt
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any

import numpy as np
import sqlalchemy as sa
from sklearn.feature_extraction.text import CountVectorizer

from webapp.errors import InvalidInput
from webapp.extras.monitor.drift import (
    BY_MODEL,
    DRIFTED,
    FEATURES,
    READ_UP_TO,
    Window,
    changed_terms,
    changes,
    drift,
    extract,
)
from webapp.extras.monitor.drift import FEWEST as NEEDED
from webapp.extras.monitor.service import Span
from webapp.extras.review.samples import fair_sample
from webapp.log.database import write_transaction
from webapp.log.tables import drift_references, first_id, moment_of, new_id, predictions
from webapp.model.scoring import SpamModel

FEWEST = 100  # messages to be declared normal; fewer would make a poor yardstick
MESSAGES = 1_000  # of each side: enough to see what matters (docs/monitoring.md), and read in a moment
PROPOSED_FROM = 500  # messages in the log from which on it is proposed to declare them normal
MOST = 0.9  # of the messages: where fewer have others of their hours to be compared with, the page says so
ALIKE = 0.7  # of the terms of two messages, from which on they are copies
NO_TEXT = (np.nan,) * (len(FEATURES) - len(BY_MODEL))
EXAMPLE_LENGTH = 160  # characters

NONE_DECLARED = (
    "Drift is measured against a range of your own messages that looks right to you. None is declared normal yet."
)
COMPARED = "Compared with the messages from {since} to {until} UTC, which somebody declared normal."
LIKE_HOURS = " Of these, with those of the same hours of the day and of the same part of the week as this range has."
OTHER_HOURS = (
    " Of the hours of the day, or the part of the week, that this range has, they hold too few: if day and night, or "
    "weekdays and weekends, differ at yours, that alone can be the difference. Declare a whole week normal to be sure."
)
WHEN = "%d %B %Y %H:%M"


def declare_reference(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> int:
    """Declare a range, or what there is of it up to now, normal and return how many predictions it has.

    Raises InvalidInput where it has too few, and LogUnavailable.
    """
    now = dt.datetime.now(dt.UTC)
    row = {"id": new_id(), "created_at": now, "since": since, "until": min(until, now)}
    within = predictions.c.id >= first_id(since), predictions.c.id < first_id(min(until, now))
    with write_transaction(engine) as connection:
        messages: int = connection.execute(sa.select(sa.func.count(predictions.c.id)).where(*within)).scalar_one()
        if messages < FEWEST:
            raise InvalidInput(
                f"This range has {messages} predictions: too few to compare others with. Choose one with at least "
                f"{FEWEST}."
            )
        connection.execute(sa.insert(drift_references), row)
    return messages


def drift_report(engine: sa.Engine, model: SpamModel | None, span: Span) -> dict[str, Any]:
    """Return the drift test of a span, and what changed: only messages after the declared range are compared with it.

    All messages count as the served model scores them, so that a change of the model is not taken for one of the
    traffic. Copies count once on each side: a campaign of one template is one new message.
    """
    report: dict[str, Any] = {"messages": 0, "proposed": None, "tests": [], "changes": [], "changed_terms": []}
    with engine.connect() as connection:
        newest = sa.select(drift_references).order_by(drift_references.c.id.desc()).limit(1)
        declared = connection.execute(newest).first()
        if model is None:
            return report | {"state": "not known", "note": "Without a model nothing can be compared."}
        if declared is None:
            some = sa.select(predictions.c.id).limit(100_000).subquery()
            messages = connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()
            proposed = messages if messages >= PROPOSED_FROM else None
            return report | {"state": "no range declared normal", "note": NONE_DECLARED, "proposed": proposed}
    note = COMPARED.format(since=declared.since.strftime(WHEN), until=declared.until.strftime(WHEN))
    ids = fair_sample(engine, max(span.since, declared.until), span.until, MESSAGES, model_version=span.model_version)
    ids_then = fair_sample(engine, declared.since, declared.until, 2 * MESSAGES)
    like = like_hours(ids_then, ids)
    has_like = len(like) >= min(FEWEST, len(ids_then))
    if not has_like or len(like_hours(ids, ids_then)) < MOST * len(ids):
        note += OTHER_HOURS if ids else ""
    elif len(like) < len(ids_then):
        note += LIKE_HOURS
    ids_then = (like if has_like else ids_then)[:MESSAGES]
    at_once = max(min(len(ids), len(ids_then)), NEEDED)
    rows, rows_then = (_messages(engine, side, at_once) for side in (ids, ids_then))
    is_known = all(row.text is None or row.model_version == model.version for row in [*rows_then, *rows])
    then, now = (_window(model, side, is_known) for side in (rows_then, rows))
    test = drift(then, now)
    terms = changed_terms(then, now)
    for term in terms:
        term["example"] = (rows[term["example"]].text or "")[:EXAMPLE_LENGTH] if term["example"] is not None else ""
    return report | {
        "state": test["state"],
        "note": note,
        "messages": len(rows),
        "tests": [test],
        "changes": changes(then, now, model.labels.spam) if test["state"] == DRIFTED else [],
        "changed_terms": terms,
    }


def like_hours(reference: Sequence[str], current: Sequence[str]) -> list[str]:
    """Return the ids of the reference that are of an hour of the day and part of the week of the current ones."""
    hours = {_part_of_week(id_) for id_ in current}
    return [id_ for id_ in reference if _part_of_week(id_) in hours]


def _part_of_week(prediction_id: str) -> tuple[bool, int]:
    """Return whether a prediction is of a weekend, and its hour of the day (UTC)."""
    at = moment_of(prediction_id)
    return at.weekday() >= 5, at.hour


def _messages(engine: sa.Engine, ids: Sequence[str], at_once: int) -> list[Any]:
    """Return the predictions with these ids, oldest first, of each so many in a row the first of its copies."""
    shown = predictions.c
    query = sa.select(shown.text, shown.text_hash, shown.spam_probability, shown.model_version)
    with engine.connect() as connection:
        rows = connection.execute(query.where(shown.id.in_(ids)).order_by(shown.id)).all()
    terms = [{str(row.text_hash)} if row.text is None else extract(row.text).terms or {row.text} for row in rows]
    return [rows[place] for place in drop_copies(terms, at_once)]


def drop_copies(terms: Sequence[AbstractSet[str]], at_once: int) -> list[int]:
    """Return the places of the first of each message and its copies, which are given as their terms.

    A copy has ALIKE of its terms in common with an earlier message (Jaccard 1912, New Phytologist 11): templates come
    with another name, link or code each time. It is looked for among `at_once` messages in a row, as many on both
    sides: of a template that comes again and again a thousand messages would else hold no more than a hundred do.
    """
    kept: list[int] = []
    for start in range(0, len(terms), at_once):
        held = CountVectorizer(analyzer=iter).fit_transform(terms[start : start + at_once])
        shared, sizes = (held @ held.T).toarray(), held.sum(axis=1)
        is_copy = np.tril(shared >= ALIKE * (sizes + sizes.T - shared), -1).any(axis=1)
        kept += (start + np.flatnonzero(~np.asarray(is_copy).ravel())).tolist()
    return kept


def _window(model: SpamModel, rows: Sequence[Any], is_known: bool) -> Window:
    """Return messages as a window; where what the served model says of some is not known, all beginnings are scored."""
    values = []
    for row in rows:
        probability = row.spam_probability
        if row.text is None:
            probability = probability if row.model_version == model.version else np.nan
        elif not is_known:
            probability = _scored(model, row.text[:READ_UP_TO])
        is_spam = np.nan if np.isnan(probability) else probability >= model.threshold
        values.append((probability, is_spam, *(NO_TEXT if row.text is None else extract(row.text).values)))
    terms = [None if row.text is None else extract(row.text).terms for row in rows]
    return Window(np.array(values, dtype=float).reshape(-1, len(FEATURES)), terms)


@lru_cache(maxsize=2 * MESSAGES)
def _scored(model: SpamModel, start: str) -> float:
    return model.spam_probabilities([start])[0]

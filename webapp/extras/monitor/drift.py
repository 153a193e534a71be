"""Has the traffic changed? A test of a span of the log against the range that was declared normal.

First what of the log is compared, then the formulas, which know nothing of it.
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from scipy import stats
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from webapp.errors import InvalidInput, counted
from webapp.extras.monitor.charts import figure
from webapp.extras.monitor.rollups import Span, count_predictions
from webapp.extras.review.samples import count_between, fair_sample
from webapp.log.database import write_transaction
from webapp.log.tables import drift_references, moment_of, new_id, predictions
from webapp.model.scoring import SpamModel
from webapp.model.tokenizer import tokenize

FEWEST_NORMAL = 100  # messages to be declared normal; fewer would make a poor yardstick
MESSAGES = 1_000  # of each side: enough to see what matters (docs/monitoring.md), and read in a moment
PROPOSED_FROM = 500  # messages in the log from which on it is proposed to declare them normal
MOST = 0.9  # of the messages: where fewer have others of their hours to be compared with, the page says so
ALIKE = 0.7  # of the terms of two messages, from which on they are copies
EXAMPLE_LENGTH = 160  # characters

NONE_DECLARED = "No range of your own messages is declared normal, or it was purged: there is nothing to compare with."
COMPARED = "Compared with {0.since:%d %B %Y %H:%M} to {0.until:%d %B %Y %H:%M} UTC, which was declared normal."
OTHER_HOURS = (
    " That range has too few messages of the same hours of the day and part of the week. So the difference may be one "
    "of day and night, or of weekdays and weekends: declare a whole week normal to be sure."
)

ALPHA = 0.03  # how often the test may alarm where nothing has changed
MATTERS_FROM = 0.2  # standard deviations: what Cohen (1988, 2.2) calls small; with thousands a trifle is significant
DRIFTED, NOT_SEEN, TOO_FEW = "drifted", "no drift seen", "too few messages to say"
FEWEST = 50  # messages of each side; with fewer only landslides would be seen
CHANGES, TERMS = 4, 6  # that are shown
SHORTEST = 3  # letters of a word that is shown; placeholders such as [link] are shown too
WORTH_TELLING = 0.2  # of the larger of two medians or shares
BINS = 8  # of the small picture of a change
RAREST = 0.02  # terms in fewer messages than this share of the smaller side are left out: they say little
SURE = 0.05  # the share of the shown terms that may be there by chance

OF_CHARACTERS, OF_MESSAGES = "% of the characters", "% of the messages"
BY_MODEL = {"Median {} probability": "%", "Called {}": OF_MESSAGES}
FEATURES = BY_MODEL | {  # what a change of each is called, and in what it is measured
    "Median length": "characters",
    "Digits": OF_CHARACTERS,
    "Capital letters": OF_CHARACTERS,
    "Punctuation marks": OF_CHARACTERS,
    "Letters and signs beyond plain English": OF_CHARACTERS,
    "With line breaks": OF_MESSAGES,
    "With links": OF_MESSAGES,
    "With phone numbers": OF_MESSAGES,
    "With amounts of money": OF_MESSAGES,
}
QUESTION = "Are the messages of another kind: their form (length, digits, links, ...) and what the model says of them?"
FOLLOWS = 1e-6  # a feature that varies less beside the others follows from them
READ_UP_TO = 1_000  # characters: more of a long mail says little more, and takes ten times as long


# --- What of the log is compared ---


def declare_reference(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> int:
    """Declare a range, up to now, normal and return how many predictions it has; raises InvalidInput (too few)."""
    now = dt.datetime.now(dt.UTC)
    until = min(until, now)
    messages = count_between(engine, since, until)
    if messages < FEWEST_NORMAL:
        found = counted(messages, "prediction")
        raise InvalidInput(f"This range has {found}, too few to compare with: choose one with {FEWEST_NORMAL} or more.")
    with write_transaction(engine) as connection:
        row = {"id": new_id(), "created_at": now, "since": since, "until": until}
        connection.execute(sa.insert(drift_references), row)
    return messages


def drift_report(engine: sa.Engine, model: SpamModel | None, span: Span) -> dict[str, Any]:
    """Compare the messages of a span that came after the declared range with it, and explain a difference.

    All are scored by the served model, so that a change of the model is not taken for one of the traffic. Copies count
    once on each side: a campaign of one template is one new message.
    """
    report: dict[str, Any] = {"messages": 0, "proposed": None, "tests": [], "changes": [], "changed_terms": []}
    if model is None:
        return report | {"state": "no model", "note": "Without a model nothing can be compared."}
    until_now = drift_references.c.until <= dt.datetime.now(dt.UTC)  # unless a clock that ran ahead declared it
    with engine.connect() as connection:
        newest = sa.select(drift_references).where(until_now).order_by(drift_references.c.id.desc()).limit(1)
        declared = connection.execute(newest).first()
    ids_then = fair_sample(engine, declared.since, declared.until, 2 * MESSAGES) if declared else []
    if declared is None or not ids_then:
        messages = count_predictions(engine)
        proposed = messages if messages >= PROPOSED_FROM else None
        return report | {"state": "no range declared normal", "note": NONE_DECLARED, "proposed": proposed}
    note = COMPARED.format(declared)
    ids = fair_sample(engine, max(span.since, declared.until), span.until, MESSAGES, model_version=span.model_version)
    like = like_hours(ids_then, ids)
    if len(like) >= min(FEWEST_NORMAL, len(ids_then)) and len(like_hours(ids, ids_then)) >= MOST * len(ids):
        ids_then = like
    elif ids:
        note += OTHER_HOURS
    ids_then = ids_then[:MESSAGES]
    at_once = max(min(len(ids), len(ids_then)), FEWEST)
    rows, rows_then = (_messages(engine, side, at_once) for side in (ids, ids_then))
    then, now = (_features(model, side) for side in (rows_then, rows))
    test = drift(then, now)
    return report | {
        "state": test["state"],
        "note": note,
        "messages": test["n_current"],
        "tests": [test],
        "changes": changes(then, now, model.labels.spam) if test["state"] == DRIFTED else [],
        "changed_terms": changed_terms(*([row.text for row in side if row.text] for side in (rows_then, rows))),
    }


def like_hours(reference: Sequence[str], current: Sequence[str]) -> list[str]:
    """Return the ids of the reference of which the current ones have the hour of the day and the part of the week."""

    def part_of_week(prediction_id: str) -> tuple[bool, int]:
        at = moment_of(prediction_id)
        return at.weekday() >= 5, at.hour

    parts = {part_of_week(id_) for id_ in current}
    return [id_ for id_ in reference if part_of_week(id_) in parts]


def _messages(engine: sa.Engine, ids: Sequence[str], at_once: int) -> list[Any]:
    """Return the predictions with these ids without copies, oldest first."""
    shown = predictions.c
    query = sa.select(shown.text, shown.text_hash, shown.spam_probability, shown.model_version)
    with engine.connect() as connection:
        rows = connection.execute(query.where(shown.id.in_(ids)).order_by(shown.id)).all()
    terms = [extract(row.text).terms or {row.text or str(row.text_hash)} for row in rows]
    return [rows[place] for place in drop_copies(terms, at_once)]


def drop_copies(terms: Sequence[AbstractSet[str]], at_once: int) -> list[int]:
    """Return the places of the first of each message and its copies, which are given as their terms.

    A copy has ALIKE of its terms in common with an earlier message (Jaccard 1912, New Phytologist 11): templates come
    with another name, link or code each time. Copies are looked for in groups of `at_once` messages in a row, as many
    on both sides: else 1,000 messages would hold a template that always comes no more often than 100 do.
    """
    kept: list[int] = []
    for start in range(0, len(terms), at_once):
        held = CountVectorizer(analyzer=iter).fit_transform(terms[start : start + at_once])
        shared, sizes = (held @ held.T).toarray(), held.sum(axis=1)
        is_copy = np.tril(shared >= ALIKE * (sizes + sizes.T - shared), -1).any(axis=1)
        kept += (start + np.flatnonzero(~np.asarray(is_copy).ravel())).tolist()
    return kept


def _features(model: SpamModel, rows: Sequence[Any]) -> np.ndarray:
    """Return the FEATURES of messages, shape (messages, features); what is not known is NaN."""
    others = [row.text for row in rows if row.model_version != model.version and row.text is not None]
    scored = dict(zip(others, model.spam_probabilities(others), strict=True))
    values = []
    for row in rows:
        is_its = row.model_version == model.version
        probability = row.spam_probability if is_its else scored.get(row.text, np.nan)
        is_spam = np.nan if np.isnan(probability) else probability >= model.threshold
        values.append((probability, is_spam, *extract(row.text).values))
    return np.array(values, dtype=float).reshape(-1, len(FEATURES))


# --- The features of a message ---


class Features(NamedTuple):
    """What is compared of one message."""

    values: Sequence[float]  # in the order of FEATURES, but for those BY_MODEL
    terms: frozenset[str]  # its words and placeholders


@lru_cache(maxsize=4_000)  # the same messages are looked at again and again; enough for both sides of a comparison
def extract(text: str | None) -> Features:
    """Return the features of a message; they are not known where the text was not stored."""
    if text is None:
        return Features([np.nan] * (len(FEATURES) - len(BY_MODEL)), frozenset())
    start = text[:READ_UP_TO]
    tokens, length = tokenize(start), max(len(start), 1)
    values = (
        len(text),
        sum(map(str.isdigit, start)) / length,
        sum(map(str.isupper, start)) / length,
        sum(not (letter.isalnum() or letter.isspace()) for letter in start) / length,
        (len(start) - len(start.encode("ascii", "ignore"))) / length,
        start.count("\n"),
        tokens.count("[link]"),
        tokens.count("[phone number]"),
        tokens.count("[amount of money]"),
    )
    return Features(values, frozenset(tokens))


# --- The test, and what explains an alarm ---


def rank_test(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Return p and the distance of two samples in all features at once; shapes (messages, features).

    The Wilcoxon-Mann-Whitney test for many features (Puri & Sen 1971, Nonparametric Methods in Multivariate Analysis,
    chapter 5): each value counts as its rank in both samples, so no outlier rules, and small changes of many features
    add up. It is a regression: how well do the k ranks of a message tell which sample it is of? Where nothing has
    changed, R^2 is distributed as Beta(k / 2, (N - 1 - k) / 2) (exact for normal scores, near for ranks). N^2 / n m of
    it is the squared distance of the two means in standard deviations, correlations allowed for (Mahalanobis 1936);
    from that is taken what chance adds, k N / n m. Of one feature the distance is Cohen's d.
    """
    n, m = len(reference), len(current)
    both = n + m
    ranks = stats.rankdata(np.vstack([reference, current]), axis=0)
    ranks -= ranks.mean(axis=0)
    side = np.repeat([-m / both, n / both], [n, m])
    weights, _, k, _ = np.linalg.lstsq(ranks, side, rcond=FOLLOWS)
    if not k:  # all alike
        return 1.0, 0.0
    r_squared = float((ranks @ weights) @ side / (side @ side))
    squared = (r_squared * both - k) * both / (n * m)
    return float(stats.beta.sf(r_squared, k / 2, (both - 1 - k) / 2)), max(squared, 0.0) ** 0.5


def drift(reference: np.ndarray, current: np.ndarray) -> dict[str, Any]:
    """Return what comes of the test. Where too few texts are known, only what the model said of them is compared."""
    test: dict[str, Any] = {"name": "form", "explanation": QUESTION, "effect_matters_from": MATTERS_FROM}
    test |= {"p_corrected": None, "effect": None, "state": TOO_FEW}
    for columns in (slice(None), slice(len(BY_MODEL))):
        then, now = (_known(values[:, columns]) for values in (reference, current))
        test |= {"n_reference": len(then), "n_current": len(now)}
        if min(len(then), len(now)) >= FEWEST:
            p_value, effect = rank_test(then, now)
            state = DRIFTED if p_value < ALPHA and effect >= MATTERS_FROM else NOT_SEEN
            return test | {"p_corrected": p_value, "effect": effect, "state": state}
    return test


def _known(values: np.ndarray) -> np.ndarray:
    known: np.ndarray = values[~np.isnan(values).any(axis=1)]
    return known


def changes(reference: np.ndarray, current: np.ndarray, positive: str = "spam") -> list[dict[str, Any]]:
    """Return which features differ most, the largest distance of ranks first: it explains an alarm.

    Each is a sentence and, for a small picture, the shares of the messages of both from low values to high.
    """
    found = []
    for column, (name, unit) in enumerate(FEATURES.items()):
        then, now = (_known(values[:, [column]]) for values in (reference, current))
        if not len(then) or not len(now):
            continue
        _, distance = rank_test(then, now)
        if unit == OF_MESSAGES:  # with one or more of them
            then, now = np.minimum(then, 1), np.minimum(now, 1)
        factor, middle = 1 if unit == "characters" else 100, np.mean if "% of" in unit else np.median
        before, after = (float(factor * middle(side)) for side in (then, now))
        if distance >= MATTERS_FROM and abs(after - before) >= WORTH_TELLING * max(before, after):
            sentence = f"{name.format(positive)}: {figure(before)} → {figure(after)} {unit}"
            found.append((distance, {"sentence": sentence, "bins": _bins(then, now)}))
    return [change for _, change in sorted(found, key=lambda pair: -pair[0])[:CHANGES]]


def _bins(then: np.ndarray, now: np.ndarray) -> list[tuple[float, float]]:
    low, high = np.percentile(np.vstack([then, now]), [1, 99])
    edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    counted = [np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] / len(side) for side in (then, now)]
    return [(round(float(a), 4), round(float(b), 4)) for a, b in zip(*counted, strict=True)]


def changed_terms(reference: Sequence[str], current: Sequence[str]) -> list[dict[str, Any]]:
    """Return the terms whose share of the messages moved most, strongest first, each with an example of now.

    They are ordered by z, the change of the share over its standard error if nothing had changed: a rare term has a
    large error and does not lead. At most 5 % of those shown are expected to be there by chance (Benjamini & Hochberg
    1995, JRSS B 57), by Fisher's exact test, as z is not normal where a term is in a few messages.
    """
    n, m = len(reference), len(current)
    if min(n, m) < FEWEST:
        return []
    counts_then, counts_now = (
        Counter(term for text in side for term in extract(text).terms) for side in (reference, current)
    )
    terms = sorted(
        term
        for term in {*counts_then, *counts_now} - ENGLISH_STOP_WORDS
        if (term.isalpha() and len(term) >= SHORTEST or term.startswith("["))
        and counts_then[term] + counts_now[term] >= RAREST * min(n, m)
    )
    then, now = (np.array([counts[term] for term in terms]) for counts in (counts_then, counts_now))
    pooled = (then + now) / (n + m)
    z = (now / m - then / n) / np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
    chance = stats.hypergeom(n + m, then + now, m)
    p_values = np.minimum(2 * np.minimum(chance.cdf(now), chance.sf(now - 1)), 1)
    is_sure = stats.false_discovery_control(p_values) < SURE
    return [
        {
            "term": terms[i],
            "share_then": round(then[i] / n, 4),
            "share_now": round(now[i] / m, 4),
            "z": round(z[i], 2),
            "example": next((text[:EXAMPLE_LENGTH] for text in current if terms[i] in extract(text).terms), ""),
        }
        for i in np.argsort(-abs(z), kind="stable")[:TERMS]
        if is_sure[i]
    ]

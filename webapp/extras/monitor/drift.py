"""Has the traffic changed? One test of a window of messages against a reference, and what differs most between them.

Pure functions; nothing here knows the database.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from webapp.model.tokenizer import tokenize

ALPHA = 0.03  # how often the test may alarm where nothing has changed
MATTERS_FROM = 0.2  # standard deviations: what Cohen (1988, 2.2) calls small; with thousands a trifle is significant
DRIFTED, NOT_SEEN, TOO_FEW = "drifted", "no drift seen", "too few messages to say"
FEWEST = 50  # messages of each side; with fewer only landslides would be seen
CHANGES, TERMS = 4, 6  # that are shown
SHORTEST = 3  # letters of a word that is shown; placeholders such as [link] are shown too
WORTH_TELLING = 0.2  # of the larger of two medians or shares
BINS = 8  # of the small picture of a change
RAREST = 0.02  # terms in fewer messages than this share, in both, are left out: they say little of the traffic
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
TINY = 1e-9  # a feature that varies less beside the others follows from them
READ_UP_TO = 1_000  # characters: more of a long mail says little more, and takes ten times as long


class Features(NamedTuple):
    """What is compared of one message."""

    values: tuple[float, ...]  # in the order of FEATURES
    terms: frozenset[str]  # its words and placeholders


@lru_cache(maxsize=4_000)  # the same messages are looked at again and again; enough for both sides of a comparison
def extract(text: str) -> Features:
    """Return the features of a message."""
    start = text[:READ_UP_TO]
    tokens, length = tokenize(start), max(len(start), 1)
    non_ascii = 0 if start.isascii() else sum(character > "\x7f" for character in start)
    values = (
        len(text),
        sum(map(str.isdigit, start)) / length,
        sum(map(str.isupper, start)) / length,
        sum(not (letter.isalnum() or letter.isspace()) for letter in start) / length,
        non_ascii / length,
        start.count("\n"),
        tokens.count("[link]"),
        tokens.count("[phone number]"),
        tokens.count("[amount of money]"),
    )
    return Features(values, frozenset(tokens))


class Window(NamedTuple):
    """Messages that are compared with others."""

    values: np.ndarray  # shape (messages, FEATURES): what BY_MODEL names, then as `extract` gives it; NaN: not known
    terms: Sequence[frozenset[str] | None] = ()  # of each message, None where it is not known


def rank_test(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Return p and the distance of two samples in all features at once; shapes (messages, features).

    The Wilcoxon-Mann-Whitney test for many features (Puri & Sen 1971, Nonparametric Methods in Multivariate Analysis,
    chapter 5): each value counts as its rank in both samples, so no outlier rules, and small changes of many features
    add up. The squared distance of the mean ranks in standard deviations, correlations allowed for (Mahalanobis 1936),
    is over n m / N (N - 1) of itself distributed as Beta(k / 2, (N - 1 - k) / 2) where nothing has changed, k being the
    number of features that do not follow from the others (Pillai 1955, for normal scores; ranks come near). Returned
    is the distance with what chance alone adds to its square, k N / n m, taken off: of one feature it is Cohen's d.
    """
    n, m = len(reference), len(current)
    both = n + m
    ranks = stats.rankdata(np.vstack([reference, current]), axis=0)
    scores = stats.zscore(ranks[:, np.ptp(ranks, axis=0) > 0])
    correlation = scores.T @ scores / both
    k = int(np.linalg.matrix_rank(correlation, tol=TINY, hermitian=True)) if scores.size else 0
    if not k:  # all alike
        return 1.0, 0.0
    shift = scores[n:].mean(axis=0) - scores[:n].mean(axis=0)
    squared = float(shift @ np.linalg.pinv(correlation, rcond=TINY, hermitian=True) @ shift)
    p_value = stats.beta.sf(min(squared * n * m / both**2, 1.0), k / 2, (both - 1 - k) / 2)
    return float(p_value), max(squared - k * both / (n * m), 0.0) ** 0.5


def drift(reference: Window, current: Window) -> dict[str, Any]:
    """Return what comes of the test. Where too few texts are known, only what the model said of them is compared."""
    for columns in (slice(None), slice(len(BY_MODEL))):
        then, now = (_known(window.values[:, columns]) for window in (reference, current))
        if min(len(then), len(now)) >= FEWEST:
            break
    test = {"name": "form", "explanation": QUESTION, "n_reference": len(then), "n_current": len(now)}
    test |= {"p_corrected": None, "effect": None, "effect_matters_from": MATTERS_FROM, "state": TOO_FEW}
    if min(len(then), len(now)) >= FEWEST:
        p_value, effect = rank_test(then, now)
        alarms = p_value < ALPHA and effect >= MATTERS_FROM
        test |= {"p_corrected": p_value, "effect": effect, "state": DRIFTED if alarms else NOT_SEEN}
    return test


def _known(values: np.ndarray) -> np.ndarray:
    known: np.ndarray = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    return known


def changes(reference: Window, current: Window, positive: str = "spam") -> list[dict[str, Any]]:
    """Return what differs most between two windows, the largest distance of ranks first: it explains an alarm.

    Each is a sentence and, for a small picture, the shares of the messages of both from low values to high.
    """
    told = []
    for column, (name, unit) in enumerate(FEATURES.items()):
        then, now = (_known(window.values[:, column]) for window in (reference, current))
        if not len(then) or not len(now):
            continue
        _, distance = rank_test(then[:, None], now[:, None])
        if unit == OF_MESSAGES:  # with one or more of them
            then, now = then > 0, now > 0
        factor, middle = 1 if unit == "characters" else 100, np.mean if "% of" in unit else np.median
        before, after = (float(factor * middle(side)) for side in (then, now))
        if distance >= MATTERS_FROM and abs(after - before) >= WORTH_TELLING * max(before, after):
            digits = 1 if max(before, after) < 10 else 0
            sentence = f"{name.format(positive)}: {before:,.{digits}f} → {after:,.{digits}f} {unit}"
            told.append((distance, {"sentence": sentence, "bins": _bins(then, now)}))
    return [change for _, change in sorted(told, key=lambda pair: -pair[0])[:CHANGES]]


def _bins(then: np.ndarray, now: np.ndarray) -> list[tuple[float, float]]:
    edges = np.array([-0.5, 0.5, 1.5])
    if then.dtype != bool:
        low, high = np.percentile(np.concatenate([then, now]), [1, 99])
        edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    counted = [np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] / len(side) for side in (then, now)]
    return [(round(float(a), 4), round(float(b), 4)) for a, b in zip(*counted, strict=True)]


def changed_terms(reference: Window, current: Window) -> list[dict[str, Any]]:
    """Return the terms whose share of messages moved most, strongest first, with the place of an example in `current`.

    Ordered by z, the change of the share over its standard error if nothing had changed (whose square is Pearson's
    chi-squared): a rare term has a large error and does not lead. Left out is what comes up by chance when so many
    terms are looked at: at most 5 % of those shown are expected to (Benjamini & Hochberg 1995, JRSS B 57).
    """
    then, now = ([held for held in window.terms if held is not None] for window in (reference, current))
    if min(len(then), len(now)) < FEWEST:
        return []
    counts_then, counts_now = (Counter(term for held in side for term in held) for side in (then, now))
    terms = sorted(
        term
        for term in {*counts_then, *counts_now} - ENGLISH_STOP_WORDS
        if (term.isalpha() and len(term) >= SHORTEST or term.startswith("["))
        and (counts_then[term] >= RAREST * len(then) or counts_now[term] >= RAREST * len(now))
    )
    if not terms:
        return []
    held_then, held_now = (np.array([counts[term] for term in terms]) for counts in (counts_then, counts_now))
    pooled = (held_then + held_now) / (len(then) + len(now))
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / len(then) + 1 / len(now)))
    z = (held_now / len(now) - held_then / len(then)) / error
    is_sure = stats.false_discovery_control(2 * stats.norm.sf(abs(z))) < SURE
    return [
        {
            "term": terms[i],
            "share_then": round(counts_then[terms[i]] / len(then), 4),
            "share_now": round(counts_now[terms[i]] / len(now), 4),
            "z": round(float(z[i]), 2),
            "example": next((at for at, held in enumerate(current.terms) if held and terms[i] in held), None),
        }
        for i in np.argsort(-abs(z), kind="stable")[:TERMS]
        if is_sure[i]
    ]

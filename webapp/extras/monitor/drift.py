"""Has the traffic changed? Four tests of a window of messages against a reference, judged together.

A test alarms where its p, multiplied by the number of tests, is below .05, and the difference is large enough to
matter: with thousands of messages a trifle is significant too. What matters begins where Cohen (1988, Statistical Power
Analysis, 2.2 and 6.2) calls an effect small: means .2 standard deviations apart, or h = .2 between proportions. Normal
distributions .2 standard deviations apart have D = 2 Phi(.1) - 1 = .08 and AUC = Phi(.2 / sqrt 2) = .556.

Pure functions; nothing here knows the database.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.linear_model import LogisticRegression

from webapp.model.data import copy_keys
from webapp.model.tokenizer import count_capitals, count_digits, counter_of, tokenize

ALPHA = 0.05  # how often all tests together may alarm where nothing has changed
DRIFTED, NOT_SEEN, TOO_FEW = "drifted", "no drift seen", "too few messages to say"
D_MATTERS_FROM = 0.08
FEWEST = 50  # messages of each side; with fewer only landslides would be seen
CHANGES, TERMS = 4, 6  # that are shown
SHORTEST = 3  # letters of a word that is shown; placeholders such as [link] are shown too
WORTH_TELLING = 0.2  # of the larger of two medians or shares
BINS = 8  # of the small picture of a change
RAREST = 0.02  # terms in fewer messages than this share, in both, are left out: they say little of the traffic

OF_CHARACTERS, OF_MESSAGES = "% of the characters", "% of the messages"
# They are of the text alone, whatever the model makes of it, so they do not change when the model does.
FEATURES = {  # what its change is called, and in what it is measured
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
READ_UP_TO = 1_000  # characters: more of a long mail says little more, and takes ten times as long

_count_visible, _count_spaces = counter_of(str.isalnum), counter_of(str.isspace)


class Features(NamedTuple):
    """What is compared of one message."""

    values: tuple[float, ...]  # in the order of FEATURES
    terms: frozenset[str]  # its words and placeholders
    copy_keys: frozenset[str]  # it is a copy of what shares one of these


@lru_cache(maxsize=4_000)  # the same messages are looked at again and again; enough for both sides of a comparison
def extract(text: str) -> Features:
    """Return the features of a message."""
    start = text[:READ_UP_TO]
    tokens, length = tokenize(start), max(len(start), 1)
    non_ascii = 0 if start.isascii() else sum(character > "\x7f" for character in start)
    values = (
        len(text),
        count_digits(start) / length,
        count_capitals(start) / length,
        (len(start) - _count_visible(start) - _count_spaces(start)) / length,
        non_ascii / length,
        start.count("\n"),
        tokens.count("[link]"),
        tokens.count("[phone number]"),
        tokens.count("[amount of money]"),
    )
    return Features(values, frozenset(tokens), frozenset(copy_keys(start)))


class Window(NamedTuple):
    """Messages that are compared with others; features and terms are those that `extract` gives."""

    features: np.ndarray  # shape (messages, FEATURES); NaN where the text was not stored
    spam_probability: np.ndarray  # shape (messages,)
    called_spam: np.ndarray  # shape (messages,), booleans
    terms: Sequence[frozenset[str] | None] = ()  # of each message, None where it is not known


def kolmogorov_smirnov(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Return p and D, the largest distance between the cumulative shares of two samples; shapes (messages,).

    Smirnov 1939; the two-sided p is that of one sample of n1 n2 / (n1 + n2) values (scipy's "asymp", after Hodges 1958,
    Arkiv foer Matematik 3). Where values are tied, chance gives a large D even more seldom than p says (Noether 1963,
    Metrika 7): the test is conservative. D is its own effect size.
    """
    found = stats.ks_2samp(reference, current, method="asymp")
    return float(found.pvalue), float(found.statistic)


def fisher_exact(reference: np.ndarray, current: np.ndarray) -> tuple[float, float]:
    """Return p and Cohen's h of how many of two samples are True; shapes (messages,).

    Two-sided p by Fisher's exact test (Fisher 1934, Statistical Methods for Research Workers, 5th edition, 21.02).
    Effect: h = |2 arcsin sqrt(now) - 2 arcsin sqrt(then)| (Cohen 1988, 6.2).
    """
    then, now = int(reference.sum()), int(current.sum())
    p_value = stats.fisher_exact([[then, len(reference) - then], [now, len(current) - now]]).pvalue
    h = abs(2 * np.arcsin(np.sqrt(now / len(current))) - 2 * np.arcsin(np.sqrt(then / len(reference))))
    return float(p_value), float(h)


def classifier(reference: np.ndarray, current: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return p and the AUC of a classifier that learns on half of both samples to tell the other halves apart.

    Classifier two-sample test (Lopez-Paz & Oquab 2017, ICLR); shapes (messages, features). It adds up small changes of
    many features. Not its accuracy is judged but its AUC, which does not mind that one sample is larger. The classifier
    is a logistic regression on each feature's rank among those learnt from, and on the rank's square, so that it
    notices "more" as well as "more extreme", and no outlier rules it. The p is Mann & Whitney's (1947), one-sided.
    """
    random = np.random.default_rng(seed)
    learn_then, held_then = np.array_split(reference[random.permutation(len(reference))], 2)
    learn_now, held_now = np.array_split(current[random.permutation(len(current))], 2)
    learn = np.vstack([learn_then, learn_now])
    scale = np.sort(learn, axis=0)
    model = LogisticRegression(class_weight="balanced", solver="liblinear", random_state=0)
    model.fit(_ranks(learn, scale), np.arange(len(learn)) >= len(learn_then))
    then, now = (model.decision_function(_ranks(held, scale)) for held in (held_then, held_now))
    if np.ptp(np.concatenate([then, now])) == 0:  # all alike: nothing to order
        return 1.0, 0.5
    found = stats.mannwhitneyu(now, then, alternative="greater", method="asymptotic")
    return float(found.pvalue), float(found.statistic / (len(then) * len(now)))


def _ranks(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return each value's place in its sorted column of `scale`, from -1 to 1, and that squared; ties share theirs."""
    columns = []
    for column, known in zip(values.T, scale.T, strict=True):
        below, up_to = (np.searchsorted(known, column, side) for side in ("left", "right"))
        place = (below + up_to) / len(known) - 1
        columns += [place, place**2]
    return np.column_stack(columns)


Test = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


def _known(values: np.ndarray) -> np.ndarray:
    known: np.ndarray = values[~np.isnan(values).any(axis=tuple(range(1, values.ndim)))]
    return known


# What is asked, of which values, by which test, from how many messages on, and from which effect on it matters.
_QUESTIONS: dict[str, tuple[str, Callable[[Window], np.ndarray], Test, int, float]] = {
    "spam_probability": (
        "Does the model give other probabilities than it did?",
        lambda window: window.spam_probability,
        kolmogorov_smirnov,
        FEWEST,
        D_MATTERS_FROM,
    ),
    "length": (
        "Are the messages longer or shorter than they were?",
        lambda window: window.features[:, 0],
        kolmogorov_smirnov,
        FEWEST,
        D_MATTERS_FROM,
    ),
    "called_spam": (
        "Does another share of the messages reach the model's threshold?",
        lambda window: window.called_spam,
        fisher_exact,
        FEWEST,
        0.2,
    ),
    "form": (
        "Can a second model tell today's messages from earlier ones by their form (length, digits, links, ...)?",
        lambda window: np.column_stack([window.spam_probability, window.features]),
        classifier,
        2 * FEWEST,  # half to learn from, half to be tested on
        0.556,
    ),
}


def drift(reference: Window, current: Window) -> tuple[str, list[dict[str, Any]]]:
    """Return the state (DRIFTED where a test says so, TOO_FEW where none can say anything) and what came of each test.

    p is corrected: multiplied by the number of tests that could be made (Bonferroni 1936), so all together alarm in at
    most 5 % of unchanged windows, however they depend on each other. It is None where there are too few messages.
    """
    tests: list[dict[str, Any]] = []
    for name, (question, values, test, minimum, matters_from) in _QUESTIONS.items():
        then, now = _known(values(reference)), _known(values(current))
        p_value, effect = test(then, now) if min(len(then), len(now)) >= minimum else (None, None)
        tests.append(
            {"name": name, "explanation": question, "n_reference": len(then), "n_current": len(now)}
            | {"p_corrected": p_value, "effect": effect, "effect_matters_from": matters_from, "state": TOO_FEW}
        )
    made = [told for told in tests if told["p_corrected"] is not None]
    for told in made:
        told["p_corrected"] = min(1.0, len(made) * told["p_corrected"])
        alarms = told["p_corrected"] < ALPHA and told["effect"] >= told["effect_matters_from"]
        told["state"] = DRIFTED if alarms else NOT_SEEN
    states = {told["state"] for told in tests}
    return next(state for state in (DRIFTED, NOT_SEEN, TOO_FEW) if state in states), tests


def changes(reference: Window, current: Window, positive: str = "spam") -> list[dict[str, Any]]:
    """Return what differs most between two windows, the largest D first: what an alarm is explained by.

    Each is a sentence and, for a small picture, the shares of the messages of both from low values to high.
    """
    columns = {
        f"Median {positive} probability": (100 * reference.spam_probability, 100 * current.spam_probability, "%"),
        f"Called {positive}": (reference.called_spam, current.called_spam, OF_MESSAGES),
    }
    for i, (name, unit) in enumerate(FEATURES.items()):
        columns[name] = (reference.features[:, i], current.features[:, i], unit)
    told = []
    for name, (then, now, unit) in columns.items():
        then, now = _known(then), _known(now)
        distance = kolmogorov_smirnov(then, now)[1] if len(then) and len(now) else 0.0
        if unit == OF_MESSAGES:  # with one or more of them
            then, now = then > 0, now > 0
        if distance >= D_MATTERS_FROM:
            before, after = (float(100 * side.mean() if "% of" in unit else np.median(side)) for side in (then, now))
            digits = 1 if max(before, after) < 10 else 0
            if abs(after - before) >= WORTH_TELLING * max(before, after):
                sentence = f"{name}: {before:,.{digits}f} → {after:,.{digits}f} {unit}"
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
    is_sure = stats.false_discovery_control(2 * stats.norm.sf(abs(z))) < ALPHA
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

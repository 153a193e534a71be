"""Has the traffic changed? Four tests of a window of messages against a reference, judged together.

A test alarms where its p, corrected for there being four, is below .05, and the difference is large enough to matter:
with thousands of messages a trifle is significant too. What matters begins where Cohen (1988, Statistical Power
Analysis, 2.2 and 6.2) calls an effect small: means .2 standard deviations apart, or h = .2 between proportions. Normal
distributions .2 standard deviations apart have D = 2 Phi(.1) - 1 = .08 and AUC = Phi(.2 / sqrt 2) = .556.

Pure functions; nothing here knows the database.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from sklearn.linear_model import LogisticRegression

from webapp.extras.monitor.features import COUNTED, FEATURES

ALPHA = 0.05  # how often all tests together may alarm where nothing has changed
DRIFTED, NOT_SEEN, TOO_FEW = "drifted", "no drift seen", "too few messages to say"
TOLD = ("name", "explanation", "statistic_name", "effect_matters_from", "minimum_n")
STRONGEST = 10  # terms that are shown
EXAMPLES = 2  # messages shown with each
SHORTEST = 3  # letters of a word that is shown; placeholders such as [link] are shown too
WORTH_TELLING = 0.2  # of the larger of two medians or shares
BINS = 8  # of the small picture of a change
RAREST = 0.02  # terms in fewer messages than this share, in both, are left out: they say little of the traffic


class Window(NamedTuple):
    """Messages that are compared with others; features and terms are those of features.py."""

    features: np.ndarray  # shape (messages, FEATURES); NaN where the text was not stored
    spam_probability: np.ndarray  # shape (messages,)
    called_spam: np.ndarray  # shape (messages,), booleans
    terms: Sequence[frozenset[str] | None] = ()  # of each message, None where it is not known


class Result(NamedTuple):
    """What came of comparing two samples."""

    statistic: float
    p_value: float
    effect: float


def kolmogorov_smirnov(reference: np.ndarray, current: np.ndarray) -> Result:
    """Return D, the largest distance between the cumulative shares of two samples; shapes (messages,).

    Smirnov 1939; the two-sided p is that of one sample of n1 n2 / (n1 + n2) values (scipy's "asymp", after Hodges 1958,
    Arkiv foer Matematik 3). Where values are tied, chance gives a large D even more seldom than p says (Noether 1963,
    Metrika 7): the test is conservative. D is its own effect size.
    """
    found = stats.ks_2samp(reference, current, method="asymp")
    return Result(float(found.statistic), float(found.pvalue), float(found.statistic))


def fisher_exact(reference: np.ndarray, current: np.ndarray) -> Result:
    """Compare how many of two samples are True; shapes (messages,). The statistic is share now - share then.

    Two-sided p by Fisher's exact test (Fisher 1934, Statistical Methods for Research Workers, 5th edition, 21.02).
    Effect: h = |2 arcsin sqrt(now) - 2 arcsin sqrt(then)| (Cohen 1988, 6.2).
    """
    then, now = int(reference.sum()), int(current.sum())
    p_value = stats.fisher_exact([[then, len(reference) - then], [now, len(current) - now]]).pvalue
    share_then, share_now = then / len(reference), now / len(current)
    h = abs(2 * np.arcsin(np.sqrt(share_now)) - 2 * np.arcsin(np.sqrt(share_then)))
    return Result(share_now - share_then, float(p_value), float(h))


def classifier(reference: np.ndarray, current: np.ndarray, seed: int = 0) -> Result:
    """Can a classifier that learns on one half of both samples tell them apart in the other half?

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
        return Result(0.5, 1.0, 0.5)
    found = stats.mannwhitneyu(now, then, alternative="greater", method="asymptotic")
    auc = float(found.statistic / (len(then) * len(now)))
    return Result(auc, float(found.pvalue), auc)


def _ranks(values: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return each value's place in its sorted column of `scale`, from -1 to 1, and that squared; ties share theirs."""
    columns = []
    for column, known in zip(values.T, scale.T, strict=True):
        below, up_to = (np.searchsorted(known, column, side) for side in ("left", "right"))
        place = (below + up_to) / len(known) - 1
        columns += [place, place**2]
    return np.column_stack(columns)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the same order (Holm 1979, Scandinavian Journal of Statistics 6).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none becomes smaller than the one before it.
    However the tests depend on each other, a corrected p below .05 comes up in at most 5 % of unchanged windows.
    """
    corrected, least = [1.0] * len(p_values), 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min((len(p_values) - place) * p_values[i], 1.0))
        corrected[i] = least
    return corrected


def _all_columns(window: Window) -> np.ndarray:
    columns = np.column_stack([window.spam_probability, window.features])
    known: np.ndarray = columns[~np.isnan(columns).any(axis=1)]
    return known


class _Question(NamedTuple):
    """What a test asks, of what, and from when on its answer counts."""

    name: str
    explanation: str
    test: Callable[[np.ndarray, np.ndarray], Result]
    values: Callable[[Window], np.ndarray]  # what the test gets, without unknown values
    minimum_n: int  # on each side
    statistic_name: str
    effect_matters_from: float


_D = "D (Kolmogorov-Smirnov): how far the shares of messages below a value are apart at most, 0 to 1"
# The minima: with 50 messages against 1,000, a D of .23 passes the strictest of Holm's steps. With fewer, only
# landslides would be seen. The classifier needs 50 to learn from and 50 to be tested on.
_QUESTIONS = (
    _Question(
        "spam_probability",
        "Does the model give other probabilities than it did?",
        kolmogorov_smirnov,
        lambda window: window.spam_probability,
        50,
        _D,
        0.08,
    ),
    _Question(
        "length",
        "Are the messages longer or shorter than they were?",
        kolmogorov_smirnov,
        lambda window: window.features[~np.isnan(window.features[:, 0]), 0],
        50,
        _D,
        0.08,
    ),
    _Question(
        "called_spam",
        "Is another share of the messages called {positive}?",
        fisher_exact,
        lambda window: window.called_spam,
        50,
        "difference of the shares (Fisher's exact test); effect: Cohen's h, .2 is small, .8 large",
        0.2,
    ),
    _Question(
        "form",
        "Can a second model tell today's messages from earlier ones by their form (length, digits, links, ...)?",
        classifier,
        _all_columns,
        100,
        "AUC of a classifier on messages that it has not seen: .5 is guessing, 1 telling them apart without fault",
        0.556,
    ),
)


def drift(reference: Window, current: Window) -> tuple[str, list[dict[str, Any]]]:
    """Return the state (DRIFTED where a test says so, TOO_FEW where none can say anything) and what came of each test.

    Its figures are None where there are too few messages.
    """
    samples = [(question.values(reference), question.values(current)) for question in _QUESTIONS]
    results = [
        question.test(then, now) if min(len(then), len(now)) >= question.minimum_n else None
        for question, (then, now) in zip(_QUESTIONS, samples, strict=True)
    ]
    corrected = iter(holm([result.p_value for result in results if result]))
    tests: list[dict[str, Any]] = []
    for question, (then, now), result in zip(_QUESTIONS, samples, results, strict=True):
        told = {name: getattr(question, name) for name in TOLD} | {"n_reference": len(then), "n_current": len(now)}
        if result is None:
            told |= {"state": TOO_FEW, "p_corrected": None, **dict.fromkeys(Result._fields)}
        else:
            told |= {"p_corrected": next(corrected), **result._asdict()}
            alarms = told["p_corrected"] < ALPHA and result.effect >= question.effect_matters_from
            told["state"] = DRIFTED if alarms else NOT_SEEN
        tests.append(told)
    states = {test["state"] for test in tests}
    return next(state for state in (DRIFTED, NOT_SEEN, TOO_FEW) if state in states), tests


def changes(reference: Window, current: Window, most: int = 4) -> list[dict[str, Any]]:
    """Return what differs most between two windows, the largest D first: what an alarm is explained by.

    Each is a sentence and, for a small picture, the shares of the messages of both from low values to high.
    """
    columns = {
        "called_spam": (reference.called_spam * 1.0, current.called_spam * 1.0),
        "spam_probability": (reference.spam_probability, current.spam_probability),
    }
    columns |= {name: (reference.features[:, i], current.features[:, i]) for i, name in enumerate(FEATURES)}
    known = {name: tuple(side[~np.isnan(side)] for side in sides) for name, sides in columns.items()}
    found = {
        name: (kolmogorov_smirnov(then, now).effect, then, now)
        for name, (then, now) in known.items()
        if min(len(then), len(now)) and np.ptp(np.concatenate([then, now]))
    }
    told = [
        _change(name, *found[name][1:])
        for name in sorted(found, key=lambda name: -found[name][0])
        if found[name][0] >= 0.08
    ]
    return [one for one in told if one][:most]


def _change(name: str, then: np.ndarray, now: np.ndarray) -> dict[str, Any] | None:
    """Return the change of a feature, None where its middle hardly moved: then there is no short way to say it."""
    if name == "spam_probability":
        before, after = 100 * np.median(then), 100 * np.median(now)
        sentence = f"Probabilities are {'higher' if after > before else 'lower'}: median {before:.0f} → {after:.0f} %"
    elif name == "length":
        before, after = np.median(then), np.median(now)
        sentence = (
            f"Messages are {'longer' if after > before else 'shorter'}: median {before:,.0f} → {after:,.0f} characters"
        )
    elif name == "called_spam" or name in COUNTED:
        then, now = then > 0, now > 0
        before, after = 100 * then.mean(), 100 * now.mean()
        what = "are called {positive}" if name == "called_spam" else f"hold {FEATURES[name]}"
        sentence = f"{'More' if after > before else 'Fewer'} messages {what}: {before:.0f} % → {after:.0f} %"
    else:
        before, after = 100 * then.mean(), 100 * now.mean()
        more = "more" if after > before else "fewer"
        sentence = f"Messages hold {more} {FEATURES[name]}: {before:.1f} % → {after:.1f} % of the characters"
    if abs(after - before) < WORTH_TELLING * max(before, after):
        return None
    edges = np.array([-0.5, 0.5, 1.5])
    if then.dtype != bool:
        low, high = np.percentile(np.concatenate([then, now]), [1, 99])
        edges = np.linspace(low, max(high, low + 1e-9), BINS + 1)
    counted = [np.histogram(np.clip(side, edges[0], edges[-1]), edges)[0] / len(side) for side in (then, now)]
    return {
        "sentence": sentence,
        "bins": [(round(float(a), 4), round(float(b), 4)) for a, b in zip(*counted, strict=True)],
    }


def changed_terms(reference: Window, current: Window) -> list[dict[str, Any]]:
    """Return the terms whose share of messages moved most, strongest first, with places of examples in `current`.

    Ordered by z, the change of the share over its standard error if nothing had changed (whose square is Pearson's
    chi-squared): a rare term has a large error and does not lead. Left out is what comes up by chance when so many
    terms are looked at: at most 5 % of those shown are expected to (Benjamini & Hochberg 1995, JRSS B 57).
    """
    then, now = (
        {place: held for place, held in enumerate(window.terms) if held is not None} for window in (reference, current)
    )
    if min(len(then), len(now)) < _QUESTIONS[0].minimum_n:
        return []
    counts_then, counts_now = (Counter(term for held in side.values() for term in held) for side in (then, now))
    terms = [
        term
        for term in {**counts_then, **counts_now}
        if term not in ENGLISH_STOP_WORDS
        and (term.isalpha() and len(term) >= SHORTEST or term.startswith("["))
        and (counts_then[term] >= RAREST * len(then) or counts_now[term] >= RAREST * len(now))
    ]
    if not terms:
        return []
    held_then, held_now = (np.array([counts[term] for term in terms]) for counts in (counts_then, counts_now))
    pooled = (held_then + held_now) / (len(then) + len(now))
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / len(then) + 1 / len(now)))
    z = (held_now / len(now) - held_then / len(then)) / error
    is_sure = stats.false_discovery_control(2 * stats.norm.sf(abs(z))) < ALPHA
    strongest = [i for i in np.argsort(-abs(z), kind="stable")[:STRONGEST] if is_sure[i]]
    return [
        {
            "term": terms[i],
            "share_then": round(counts_then[terms[i]] / len(then), 4),
            "share_now": round(counts_now[terms[i]] / len(now), 4),
            "z": round(float(z[i]), 2),
            "examples": [place for place, held in now.items() if terms[i] in held][:EXAMPLES],
        }
        for i in strongest
    ]

"""Do two samples come from the same stream? The tests that drift.py asks, and their correction for being several.

Each returns a statistic, p (how often chance alone would give as much where nothing has changed) and an effect: how
large the difference is, whatever the number of messages.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.linear_model import LogisticRegression


class Result(NamedTuple):
    """What came of comparing two samples."""

    statistic: float
    p_value: float
    effect: float


def kolmogorov_smirnov(reference: np.ndarray, current: np.ndarray) -> Result:
    """Return D, the largest distance between the cumulative shares of two samples; shapes (messages,).

    Smirnov 1939; the two-sided p is that of one sample of n1 n2 / (n1 + n2) values (scipy's "asymp", after Hodges 1958,
    Arkiv foer Matematik 3). Where values are tied, as counts and shares are, chance gives a large D even more seldom
    than p says (Noether 1963, Metrika 7): the test is conservative. D is its own effect size.
    """
    found = stats.ks_2samp(reference, current, method="asymp")
    return Result(float(found.statistic), float(found.pvalue), float(found.statistic))


def fisher_exact(reference: np.ndarray, current: np.ndarray) -> Result:
    """Compare how many of two samples are True; shapes (messages,). The statistic is share now - share then.

    Two-sided p by Fisher's exact test (Fisher 1934, Statistical Methods for Research Workers, 5th edition, 21.02),
    which holds for small counts and for large. Effect: h = |2 arcsin sqrt(now) - 2 arcsin sqrt(then)| (Cohen 1988,
    Statistical Power Analysis, 6.2).
    """
    then, now = int(reference.sum()), int(current.sum())
    p_value = stats.fisher_exact([[then, len(reference) - then], [now, len(current) - now]]).pvalue
    share_then, share_now = then / len(reference), now / len(current)
    h = abs(2 * np.arcsin(np.sqrt(share_now)) - 2 * np.arcsin(np.sqrt(share_then)))
    return Result(share_now - share_then, float(p_value), float(h))


def classifier(reference: np.ndarray, current: np.ndarray, seed: int = 0) -> Result:
    """Can a classifier that learns on one half of both samples tell them apart in the other half?

    Classifier two-sample test (Lopez-Paz & Oquab 2017, ICLR); shapes (messages, traits). It adds up small changes of
    many traits. Not its accuracy is judged but its AUC, which does not mind that one sample is larger. The classifier
    is a logistic regression on each trait's rank among those learnt from, and on the rank's square, so that it notices
    "more" as well as "more extreme", and no outlier rules it.
    """
    random = np.random.default_rng(seed)
    learn_then, held_then = np.array_split(reference[random.permutation(len(reference))], 2)
    learn_now, held_now = np.array_split(current[random.permutation(len(current))], 2)
    learn = np.vstack([learn_then, learn_now])
    scale = np.sort(learn, axis=0)
    model = LogisticRegression(class_weight="balanced", solver="liblinear", random_state=0)
    model.fit(_ranks(learn, scale), np.arange(len(learn)) >= len(learn_then))
    then, now = (model.decision_function(_ranks(held, scale)) for held in (held_then, held_now))
    return mann_whitney(then, now)


def mann_whitney(reference: np.ndarray, current: np.ndarray) -> Result:
    """Return the AUC: how often a current value is the greater one of a pair, ties counting half; shapes (messages,).

    One-sided p by the normal approximation with ties and continuity corrected (Mann & Whitney 1947, Annals of
    Mathematical Statistics 18). .5 is guessing, 1 without fault; it is its own effect size.
    """
    if np.ptp(np.concatenate([reference, current])) == 0:  # all alike: nothing to order
        return Result(0.5, 1.0, 0.5)
    found = stats.mannwhitneyu(current, reference, alternative="greater", method="asymptotic")
    auc = float(found.statistic / (len(reference) * len(current)))
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

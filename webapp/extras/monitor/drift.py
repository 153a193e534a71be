"""Has the traffic changed? Five tests of a window of messages against a reference, judged together.

A test alarms where its p, corrected for there being five, is below .05, and the difference is large enough to matter:
with thousands of messages a trifle is significant too. What matters begins where Cohen (1988, Statistical Power
Analysis, 2.2 and 6.2) calls an effect small: means .2 standard deviations apart, or h = .2 between shares. Normal
distributions .2 standard deviations apart have D = 2 Phi(.1) - 1 = .08 and AUC = Phi(.2 / sqrt 2) = .556.

Pure functions; nothing here knows the database.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, TypedDict

import numpy as np
from scipy import stats

from webapp.extras.monitor.two_samples import Result, classifier, fisher_exact, holm, kolmogorov_smirnov
from webapp.model.reference import TRAITS, Reference, fewest_holders, observe
from webapp.model.scoring import SpamModel

ALPHA = 0.05  # how often all tests together may alarm where nothing has changed
DRIFTED, NOT_SEEN, TOO_FEW = "drifted", "no drift seen", "too few messages to say"
STRONGEST = 10  # terms that are shown
UNKNOWN_WORDS = "unknown_term_share"  # a test that needs a model with a vocabulary
EXAMPLES = 2  # messages shown with each


class Window(NamedTuple):
    """Messages that are compared with others."""

    traits: np.ndarray  # shape (messages, TRAITS); NaN where it is not known, because the text was not stored
    called_spam: np.ndarray  # shape (messages,), booleans
    tokens: Sequence[AbstractSet[str] | None] = ()  # of each message, None where it is not known


class DriftTest(TypedDict):
    """One test and what came of it. Its figures are None where there are too few messages."""

    name: str
    explanation: str
    compared: str  # what `then` and `now` are: median or share
    then: float | None
    now: float | None
    statistic_name: str
    statistic: float | None
    p_value: float | None
    p_corrected: float | None
    effect_name: str
    effect: float | None
    effect_matters_from: float
    n_reference: int
    n_current: int
    minimum_n: int  # on each side
    state: str  # one of DRIFTED, NOT_SEEN, TOO_FEW


class Drift(TypedDict):
    """All tests, and all in all."""

    state: str  # DRIFTED where a test says so, TOO_FEW where none can say anything
    tests: list[DriftTest]


class ChangedTerm(TypedDict):
    """A word or placeholder whose share of messages moved."""

    term: str
    share_then: float | None  # None: in too few messages to have been kept
    share_now: float
    z: float  # above 0: more frequent now
    examples: list[int]  # places in the window of messages that hold it


class _Question(NamedTuple):
    """What a test asks, of which columns, and from when on its answer counts."""

    name: str
    explanation: str
    test: Callable[[np.ndarray, np.ndarray], Result]
    columns: Callable[[Window], np.ndarray]  # what the test gets, without unknown values
    minimum_n: int
    statistic_name: str
    effect_name: str
    effect_matters_from: float


# The minima: with 50 messages against 1,000, a D of .24 passes the strictest of Holm's steps (p < .01). With fewer,
# only landslides would be seen. The classifier needs 50 to learn from and 50 to be tested on.
_MINIMUM = 50
_D = "D: how far the shares of messages below a value are apart, where they are furthest apart (0 to 1)"


def _trait(name: str, explanation: str) -> _Question:
    column = TRAITS.index(name)

    def known(window: Window) -> np.ndarray:
        values: np.ndarray = window.traits[~np.isnan(window.traits[:, column]), column]
        return values

    return _Question(name, explanation, kolmogorov_smirnov, known, _MINIMUM, "Kolmogorov-Smirnov D", _D, 0.08)


_QUESTIONS = (
    _trait("spam_probability", "Does the model give other spam probabilities than it did?"),
    _trait("length", "Are the messages longer or shorter than they were?"),
    _trait(UNKNOWN_WORDS, "Are there more or fewer words that the model has never learnt?"),
    _Question(
        "called_spam",
        "Is another share of the messages called spam?",
        fisher_exact,
        lambda window: window.called_spam,
        _MINIMUM,
        "difference of the shares (Fisher's exact test)",
        "Cohen's h: .2 is small, .5 medium, .8 large",
        0.2,
    ),
    _Question(
        "all_traits",
        "Can a second model tell today's messages from earlier ones by their form (length, digits, links, ...)?",
        classifier,
        lambda window: window.traits[~np.isnan(window.traits).any(axis=1)],
        2 * _MINIMUM,
        "AUC of a classifier on messages that it has not seen (Mann-Whitney test)",
        "AUC: .5 is guessing, 1 telling them apart without fault",
        0.556,
    ),
)


def window(model: SpamModel, messages: Sequence[tuple[str | None, float, bool]]) -> Window:
    """Return the window of messages given as (text or None where it was not stored, spam probability, called spam)."""
    traits = np.full((len(messages), len(TRAITS)), np.nan)
    tokens: list[AbstractSet[str] | None] = []
    for row, (text, spam_probability, _) in zip(traits, messages, strict=True):
        if text is None:
            row[TRAITS.index("spam_probability")] = round(spam_probability, 4)
            tokens.append(None)
        else:
            observed = observe(model, text, spam_probability)
            row[:] = observed.traits
            tokens.append(observed.tokens)
    return Window(traits, np.array([called_spam for *_, called_spam in messages], dtype=bool), tokens)


def from_training(reference: Reference | None) -> Window:
    """Return the messages kept at training as a window, an empty one where a version has none."""
    if reference is None:
        return Window(np.empty((0, len(TRAITS))), np.empty(0, dtype=bool))
    messages = reference["messages"]
    columns = [reference["traits"][name] for name in TRAITS]
    called_spam = np.arange(messages) < round(reference["called_spam"] * messages)
    return Window(np.array(columns, dtype=float).T, called_spam)


def drift(reference: Window, current: Window, leave_out: Collection[str] = ()) -> Drift:
    """Return what each test says of the two, and all together. Tests with too few messages are left out of Holm's m.

    `leave_out` names tests that mean nothing here.
    """
    questions = [question for question in _QUESTIONS if question.name not in leave_out]
    samples = [(question.columns(reference), question.columns(current)) for question in questions]
    results = [
        question.test(then, now) if min(len(then), len(now)) >= question.minimum_n else None
        for question, (then, now) in zip(questions, samples, strict=True)
    ]
    corrected = iter(holm([result.p_value for result in results if result]))
    tests = [
        _tell(question, then, now, result, next(corrected) if result else None)
        for question, (then, now), result in zip(questions, samples, results, strict=True)
    ]
    states = {test["state"] for test in tests}
    return Drift(state=next(state for state in (DRIFTED, NOT_SEEN, TOO_FEW) if state in states), tests=tests)


def _tell(
    question: _Question, then: np.ndarray, now: np.ndarray, result: Result | None, p_corrected: float | None
) -> DriftTest:
    state = TOO_FEW
    if result and p_corrected is not None:
        alarms = p_corrected < ALPHA and result.effect >= question.effect_matters_from
        state = DRIFTED if alarms else NOT_SEEN
    compared, middle = ("share", np.mean) if question.test is fisher_exact else ("median", np.median)
    one_column = then.ndim == 1
    return DriftTest(
        name=question.name,
        explanation=question.explanation,
        compared=compared if one_column else "",
        then=round(float(middle(then)), 4) if one_column and len(then) else None,
        now=round(float(middle(now)), 4) if one_column and len(now) else None,
        statistic_name=question.statistic_name,
        statistic=round(result.statistic, 4) if result else None,
        p_value=result.p_value if result else None,
        p_corrected=p_corrected,
        effect_name=question.effect_name,
        effect=round(result.effect, 4) if result else None,
        effect_matters_from=question.effect_matters_from,
        n_reference=len(then),
        n_current=len(now),
        minimum_n=question.minimum_n,
        state=state,
    )


def changed_terms(
    reference_shares: Mapping[str, float], n_reference: int, tokens: Sequence[AbstractSet[str] | None]
) -> list[ChangedTerm]:
    """Return the terms whose share of messages moved most, strongest first.

    `reference_shares` as traits.token_shares gives them, for n_reference messages; `tokens` as in Window. Ordered by z,
    the change of the log-odds over its standard error, each count plus .5 (Gart & Zweifel 1967, Biometrika 54): a rare
    term has a large error and does not lead. Left out is what comes up by chance when so many terms are looked at: z
    must be significant at .05 by Bonferroni's rule. A term that the reference did not keep is taken to have been as
    frequent as such a term can be.
    """
    known = [(place, held) for place, held in enumerate(tokens) if held is not None]
    if min(n_reference, len(known)) < _MINIMUM:
        return []
    counts = Counter(term for _, held in known for term in held)
    not_kept = fewest_holders(n_reference)
    terms = [*reference_shares, *(term for term, count in counts.items() if term not in reference_shares)]
    bound = stats.norm.isf(ALPHA / 2 / max(len(terms), 1))
    changed = []
    for term in terms:
        share_then, share_now = reference_shares.get(term), counts[term] / len(known)
        if share_then is None and share_now <= not_kept / n_reference:
            continue
        held_then = not_kept if share_then is None else share_then * n_reference
        z = _z(held_then, n_reference, counts[term], len(known))
        if abs(z) >= bound:
            changed.append((term, share_then, share_now, z))
    changed.sort(key=lambda found: -abs(found[-1]))
    return [
        ChangedTerm(
            term=term,
            share_then=share_then,
            share_now=round(share_now, 4),
            z=round(z, 2),
            examples=[place for place, held in known if term in held][:EXAMPLES],
        )
        for term, share_then, share_now, z in changed[:STRONGEST]
    ]


def _z(held_then: float, n_then: int, held_now: float, n_now: int) -> float:
    cells = np.array([held_now, n_now - held_now, held_then, n_then - held_then]) + 0.5
    return float(np.log(cells) @ [1, -1, -1, 1] / np.sqrt((1 / cells).sum()))

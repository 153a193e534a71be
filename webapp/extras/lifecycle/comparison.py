"""Two versions on the same labelled messages: is one of them better, and where do they differ?

Both see the same messages, so what counts is where just one of them is right: messages that both get right, or both
wrong, say nothing about which is better, however many there are. Nothing here knows the log.
"""

from collections.abc import Sequence
from typing import NamedTuple

from scipy.stats import binomtest

from webapp.extras.review.accuracy import Share, wilson
from webapp.model.data import Example
from webapp.model.spam_model import SpamModel

SHOWN_MESSAGES = 50
SHOWN_TERMS = 20
SURE = 0.05  # a p-value below it is no chance


class Differing(NamedTuple):
    """A message that just one of the two gets right."""

    text: str
    is_spam: bool
    first_probability: float  # of spam, 0 to 1
    second_probability: float


class ChangedTerm(NamedTuple):
    """What a term adds to the log-odds of spam in an ordinary message, to each of the two (0: not known to it)."""

    term: str
    first: float
    second: float


class Comparison(NamedTuple):
    """What came out."""

    messages: int
    both_right: int
    only_first_right: int
    only_second_right: int
    neither_right: int
    p_value: float  # exact McNemar: how often versions that are equally good differ so much by chance
    first_accuracy: Share
    second_accuracy: Share
    differing: list[Differing]  # up to SHOWN_MESSAGES, the furthest apart first
    terms: list[ChangedTerm]  # up to SHOWN_TERMS, the most changed first; none where a version has no weights

    @property
    def better(self) -> str | None:
        """Return "first" or "second", None where it cannot be told."""
        if self.p_value >= SURE:
            return None
        return "first" if self.only_first_right > self.only_second_right else "second"


def compare(first: SpamModel, second: SpamModel, examples: Sequence[Example]) -> Comparison:
    """Return how two versions do on the same messages, each with its own threshold."""
    counts = {(True, True): 0, (True, False): 0, (False, True): 0, (False, False): 0}
    differing = []
    texts = [example.text for example in examples]
    scored = zip(first.spam_probabilities(texts), second.spam_probabilities(texts), strict=True)
    for example, probabilities in zip(examples, scored, strict=True):
        pairs = zip((first, second), probabilities, strict=True)
        right = tuple((probability >= model.threshold) == example.is_spam for model, probability in pairs)
        counts[right[0], right[1]] += 1
        if right[0] != right[1]:
            differing.append(Differing(example.text, example.is_spam, *probabilities))
    differing.sort(key=lambda one: -abs(one.first_probability - one.second_probability))
    both, only_first, only_second = counts[True, True], counts[True, False], counts[False, True]
    return Comparison(
        messages=len(examples),
        both_right=both,
        only_first_right=only_first,
        only_second_right=only_second,
        neither_right=counts[False, False],
        p_value=mcnemar(only_first, only_second),
        first_accuracy=share(both + only_first, len(examples)),
        second_accuracy=share(both + only_second, len(examples)),
        differing=differing[:SHOWN_MESSAGES],
        terms=changed_terms(first, second),
    )


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test (McNemar 1947, Psychometrika 12, p. 153).

    If both were equally good, each message that just one gets right would be a toss of a fair coin: a binomial test of
    the two counts with p = 1/2. Exact, as the usual chi-squared is only near for 25 of them and more. 1 for none.
    """
    tosses = only_first + only_second
    return float(binomtest(only_first, tosses).pvalue) if tosses else 1.0


def share(part: int, whole: int) -> Share:
    """Return a share with its 95 % interval (Wilson)."""
    interval = wilson(part, whole)
    if interval is None:
        return Share(value=None, low=None, high=None, n=0)
    return Share(value=round(part / whole, 4), low=round(interval.low, 4), high=round(interval.high, 4), n=whole)


def changed_terms(first: SpamModel, second: SpamModel) -> list[ChangedTerm]:
    """Return the terms whose weight changed most, the most changed first."""
    before, after = first.term_weights(), second.term_weights()
    if not (before and after):
        return []
    terms = (ChangedTerm(term, before.get(term, 0.0), after.get(term, 0.0)) for term in {**before, **after})
    changed = [one for one in terms if one.first != one.second]
    return sorted(changed, key=lambda one: (-abs(one.first - one.second), one.term))[:SHOWN_TERMS]

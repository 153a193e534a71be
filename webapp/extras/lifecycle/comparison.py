"""Two versions on the same labelled messages: is one of them better, and where do they differ?

Both see the same messages, so what counts is where just one of them is right: messages that both get right, or both
wrong, say nothing about which is better, however many there are. Nothing here knows the log.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from webapp.model.data import Example
from webapp.model.evaluation import Proportion, proportion
from webapp.model.scoring import SpamModel

TELLING = 20.0  # evidence from which one is called better: of equal versions 1 pair in 20 ever gets there, at most
SHOWN_MESSAGES = 20


class Duel(NamedTuple):
    """On how many messages only the first, and only the second, of two versions was right."""

    only_first: int
    only_second: int

    @property
    def messages(self) -> int:
        """Return on how many just one was right."""
        return sum(self)

    @property
    def evidence(self) -> float:
        """Return how many times as likely these counts are if one version is better than if both are equally good.

        It is the Bayes factor of a uniform share of wins against 1/2, 2^n / ((n + 1) C(n, k)). Between equally good
        versions it is a martingale, so the chance that it ever reaches 20 is at most 1/20, however often one looks
        (Ville 1939; Robbins 1970, Annals of Mathematical Statistics 41, p. 1397). A p-value has to be looked at once.
        """
        n, k = self.messages, self.only_first
        choices = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        return math.exp(min(n * math.log(2) - math.log(n + 1) - choices, 700))

    @property
    def better(self) -> str | None:
        """Return "first" or "second", None where it cannot be told."""
        if self.evidence < TELLING:
            return None
        return "first" if self.only_first > self.only_second else "second"

    def sentence(self, first: str, second: str) -> str:
        """Return what the counts say, in words, with the names of the two."""
        if not self.messages:
            return "There is no message on which just one of the two is right, so nothing tells them apart."
        leader, times = (first, self.only_first) if self.only_first > self.only_second else (second, self.only_second)
        counts = f"here just one of the two is right, that is {leader} {times:,} times of {self.messages:,}."
        if self.better:
            return f"{leader[0].upper()}{leader[1:]} is better: w{counts}"
        return f"W{counts} That may be chance."


class Differing(NamedTuple):
    """A message that just one of the two gets right."""

    text: str
    is_spam: bool
    first_probability: float  # of spam, 0 to 1
    second_probability: float


class Comparison(NamedTuple):
    """How two versions do on the same messages."""

    messages: int
    both_right: int
    neither_right: int
    duel: Duel
    first_accuracy: Proportion
    second_accuracy: Proportion
    differing: list[Differing]  # up to SHOWN_MESSAGES, the furthest apart first


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
    both, duel = counts[True, True], Duel(counts[True, False], counts[False, True])
    return Comparison(
        messages=len(examples),
        both_right=both,
        neither_right=counts[False, False],
        duel=duel,
        first_accuracy=proportion(both + duel.only_first, len(examples)),
        second_accuracy=proportion(both + duel.only_second, len(examples)),
        differing=differing[:SHOWN_MESSAGES],
    )

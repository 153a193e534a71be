"""Two versions on the same labelled messages: is one of them better, and where do they differ?

Both score the same messages, and only those that just one version gets right tell which is better. Messages that a
version has learnt, from files or from reviews, and copies of these are left out: learnt.txt in its folder recognises
them.
"""

import datetime as dt
import math
from collections.abc import Sequence
from itertools import compress
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from scipy.special import betaln

from webapp.errors import BadData, counted
from webapp.extras.review.reviews import reviewed_messages
from webapp.extras.review.samples import reached_members
from webapp.model import artifact
from webapp.model.card import read_card
from webapp.model.data import Example, drop_copies
from webapp.model.evaluation import Proportion, proportion
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
TELLING = 20.0  # evidence from which one is called better: of equal versions 1 pair in 20 ever gets there, at most
SHOWN_MESSAGES = 20
OTHER_QUESTION = "The two have different labels, so they answer different questions: they cannot be compared."


class Duel(NamedTuple):
    """On how many messages only the first, and only the second, of two versions was right."""

    only_first: int
    only_second: int

    @property
    def evidence(self) -> float:
        """Return how many times as likely these counts are if one version is better than if both are equally good.

        It is the Bayes factor of a uniform share of wins against 1/2, 2^n / ((n + 1) C(n, k)), or
        2^n B(k + 1, n - k + 1). Between equally good versions it is a martingale, so the chance that it ever reaches 20
        is at most 1/20, however often one looks (Ville 1939; Robbins 1970, Annals of Mathematical Statistics 41, p.
        1397). A p-value has to be looked at once.
        """
        n, k = sum(self), self.only_first
        return math.exp(min(n * math.log(2) + betaln(k + 1, n - k + 1), 700))

    @property
    def better(self) -> str | None:
        """Return "first" or "second", None where it cannot be told."""
        if self.evidence < TELLING:
            return None
        return "first" if self.only_first > self.only_second else "second"

    def sentence(self, first: str, second: str) -> str:
        """Return what the counts say, in words, with the names of the two."""
        if not sum(self):
            return "There is no message of known label on which just one is right, so nothing tells them apart."
        leader, times = (first, self.only_first) if self.only_first > self.only_second else (second, self.only_second)
        counts = f"here just one of the two is right, that is {leader} {counted(times, 'time')} of {sum(self):,}."
        if self.better:
            return f"{leader[0].upper()}{leader[1:]} is better: w{counts}"
        return f"W{counts} That may be chance."


class Comparison(NamedTuple):
    """How two versions do on the same messages, of which there are `first_accuracy.n`."""

    duel: Duel
    first_accuracy: Proportion
    second_accuracy: Proportion
    # Up to SHOWN_MESSAGES that just one version gets right, with both probabilities, the furthest apart first.
    differing: list[tuple[Example, float, float]]


def compare(first: SpamModel, second: SpamModel, examples: Sequence[Example]) -> Comparison:
    """Return how two versions do on the same messages, each with its own threshold; raises BadData."""
    if first.labels != second.labels:
        raise BadData(OTHER_QUESTION)
    texts, truth = [example.text for example in examples], np.array([example.is_spam for example in examples], bool)
    of_first, of_second = (np.array(model.spam_probabilities(texts)) for model in (first, second))
    first_right, second_right = (of_first >= first.threshold) == truth, (of_second >= second.threshold) == truth
    scored = zip(examples, of_first.tolist(), of_second.tolist(), strict=True)
    differing = list(compress(scored, first_right != second_right))
    differing.sort(key=lambda scored: -abs(scored[1] - scored[2]))
    return Comparison(
        duel=Duel(int((first_right & ~second_right).sum()), int((second_right & ~first_right).sum())),
        first_accuracy=proportion(int(first_right.sum()), len(texts)),
        second_accuracy=proportion(int(second_right.sum()), len(texts)),
        differing=differing[:SHOWN_MESSAGES],
    )


def sampled_examples(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions has learnt, copies dropped.

    Reviews of reported or uncertain messages would be unfair: the version that was served then got many of them wrong.
    """
    learnt = artifact.Learnt(registry.folder, versions)
    in_sample = {row.prediction_id for row in reached_members(engine, *EVER)}
    others = registry.with_other_labels(read_card(registry.folder, versions[0]).labels)
    reviewed = reviewed_messages(engine, others)
    found = [review for review in reviewed if review.prediction_id in in_sample and review.text not in learnt]
    return drop_copies(Example(review.text, review.true_label == "spam", "reviewed") for review in found)

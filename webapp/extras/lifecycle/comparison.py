"""Two versions on the same labelled messages: is one of them better, and where do they differ?

Both see the same messages, so what counts is where just one of them is right: messages that both get right, or both
wrong, say nothing about which is better, however many there are.

Nor do messages that a version has learnt: those of the files on its card (learnt.txt recognises them), the reviews that
it, or one that it descends from, was fitted on (noted in the log), and copies of these.
"""

import datetime as dt
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import BadData, ModelUnusable
from webapp.extras.review.reviews import is_reviewed
from webapp.extras.review.samples import counted_members
from webapp.log.tables import fitted_reviews, predictions, sample_members
from webapp.model import artifact
from webapp.model.card import read_card
from webapp.model.data import Example, copy_keys, drop_copies, fingerprint, read_fingerprints
from webapp.model.evaluation import Proportion, proportion
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))
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
    counts: Counter[tuple[bool, bool]] = Counter()  # by whether the first and the second one is right
    differing = []
    texts = [example.text for example in examples]
    scored = zip(examples, first.spam_probabilities(texts), second.spam_probabilities(texts), strict=True)
    for (text, is_spam, *_), one, other in scored:
        right = ((one >= first.threshold) == is_spam, (other >= second.threshold) == is_spam)
        counts[right] += 1
        if right[0] != right[1]:
            differing.append(Differing(text, is_spam, one, other))
    differing.sort(key=lambda message: -abs(message.first_probability - message.second_probability))
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


class Learnt:
    """The messages that one of some versions has learnt: `text in learnt`, copies of reviews too."""

    def __init__(self, engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]):
        fitted = sa.select(fitted_reviews.c.prediction_id).where(fitted_reviews.c.model_version.in_(versions))
        texts = sa.select(predictions.c.text).where(predictions.c.text.is_not(None), predictions.c.id.in_(fitted))
        with engine.connect() as connection:
            self._keys = {key for text in connection.execute(texts).scalars() for key in copy_keys(text)}
        saved = [version for version in versions if version in registry.versions()]
        self._fingerprints = {
            one for version in saved for one in read_fingerprints(artifact.read_learnt(registry.folder, version))
        }

    def __contains__(self, text: str) -> bool:
        return fingerprint(text) in self._fingerprints or bool(copy_keys(text) & self._keys)


def check_same_question(registry: ModelRegistry, versions: Sequence[str]) -> None:
    """Raise BadData where the versions have other labels: they answer different questions then; or ModelUnusable."""
    if len({read_card(registry.folder, version).labels for version in versions}) > 1:
        raise BadData("The two have different labels, so they answer different questions: they cannot be compared.")


def of_other_questions(engine: sa.Engine, registry: ModelRegistry, labels: Labels) -> set[str]:
    """Return the predictions of versions with other labels: what people said of these is no truth for these labels."""
    others = []
    for version in registry.versions():
        with suppress(ModelUnusable):
            if read_card(registry.folder, version).words != labels:
                others.append(version)
    with engine.connect() as connection:
        query = sa.select(predictions.c.id).where(
            predictions.c.model_version.in_(others), is_reviewed(predictions.c.id)
        )
        return set(connection.execute(query).scalars()) if others else set()


def sampled_examples(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions has learnt, newest first, copies dropped.

    Reviews of reported or uncertain messages would not do: the version that was served then got many of them wrong, so
    it would look worse than it is. Those whose text was not stored cannot be scored again and are left out.
    """
    others = of_other_questions(engine, registry, read_card(registry.folder, versions[0]).words)
    members = counted_members(engine, *EVER)
    truth = {row.prediction_id: row.true_label for row in members if row.prediction_id not in others}
    learnt = Learnt(engine, registry, versions)
    drawn = predictions.c.id.in_(sa.select(sample_members.c.prediction_id)) & predictions.c.text.is_not(None)
    query = sa.select(predictions.c.id, predictions.c.text).where(drawn).order_by(predictions.c.id.desc())
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    found = drop_copies(Example(text, truth[id_] == "spam", "reviewed") for id_, text in rows if id_ in truth)
    return [example for example in found if example.text not in learnt]

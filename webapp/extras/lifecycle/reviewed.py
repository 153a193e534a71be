"""The reviewed messages that say how good a version is: those that it has not learnt.

A version has learnt the messages of the files on its card (learnt.txt recognises them), the reviews that it, or one
that it descends from, was fitted on (noted in the log), and copies of these.
"""

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from webapp.extras.review.samples import counted_members
from webapp.log.tables import fitted_reviews, predictions
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model import artifact
from webapp.model.data import Example, copy_keys, drop_copies, fingerprint, read_fingerprints
from webapp.model.registry import ModelRegistry

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


def sampled_examples(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions has learnt, newest first, copies dropped.

    Reviews of reported or uncertain messages would not do: the version that was served then got many of them wrong, so
    it would look worse than it is. Those whose text was not stored cannot be scored again and are left out.
    """
    truth = {row.prediction_id: row.true_label for row in counted_members(engine, *EVER)}
    ids, learnt = sorted(truth, reverse=True), Learnt(engine, registry, versions)
    texts = texts_of(engine, ids)
    found = (Example(texts[id_], truth[id_] == "spam", "reviewed") for id_ in ids if id_ in texts)
    return [example for example in drop_copies(found) if example.text not in learnt]


class Learnt:
    """The messages that one of some versions has learnt: `text in learnt`, copies of reviews too."""

    def __init__(self, engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]):
        learnt_by = fitted_reviews.c.model_version.in_(versions)
        fitted = sa.select(fitted_reviews.c.prediction_id).where(learnt_by)
        texts = sa.select(predictions.c.text).where(predictions.c.text.is_not(None), predictions.c.id.in_(fitted))
        with engine.connect() as connection:
            self._keys = {key for text in connection.execute(texts).scalars() for key in copy_keys(text)}
        saved = [version for version in versions if version in registry.versions()]
        self._fingerprints = {
            one for version in saved for one in read_fingerprints(artifact.read_learnt(registry.folder, version))
        }

    def __contains__(self, text: str) -> bool:
        return fingerprint(text) in self._fingerprints or bool(copy_keys(text) & self._keys)


def texts_of(engine: sa.Engine, ids: Sequence[str]) -> dict[str, str]:
    """Return the texts of predictions by their ids, where they were stored."""
    shown = sa.select(predictions.c.id, predictions.c.text).where(predictions.c.text.is_not(None))
    found: dict[str, str] = {}
    with engine.connect() as connection:
        for start in range(0, len(ids), KEYS_AT_ONCE):
            asked = shown.where(predictions.c.id.in_(ids[start : start + KEYS_AT_ONCE]))
            found |= {row.id: row.text for row in connection.execute(asked)}
    return found

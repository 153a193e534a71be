"""The reviewed messages that say how good a version is: those that it has not learnt.

A version has learnt the messages of the files on its card (learnt.txt recognises them), the reviews that it, or one
that it descends from, was fitted on (noted in the log), and copies of these.
"""

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from webapp.extras.review.samples import counted_members
from webapp.log.tables import fitted_reviews, predictions, sample_members
from webapp.model import artifact
from webapp.model.data import Example, copy_keys, drop_copies, fingerprint, read_fingerprints
from webapp.model.registry import ModelRegistry

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


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


def sampled_examples(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions has learnt, newest first, copies dropped.

    Reviews of reported or uncertain messages would not do: the version that was served then got many of them wrong, so
    it would look worse than it is. Those whose text was not stored cannot be scored again and are left out.
    """
    truth = {row.prediction_id: row.true_label for row in counted_members(engine, *EVER)}
    learnt = Learnt(engine, registry, versions)
    drawn = predictions.c.id.in_(sa.select(sample_members.c.prediction_id)) & predictions.c.text.is_not(None)
    query = sa.select(predictions.c.id, predictions.c.text).where(drawn).order_by(predictions.c.id.desc())
    with engine.connect() as connection:
        rows = connection.execute(query).all()
    found = drop_copies(Example(text, truth[id_] == "spam", "reviewed") for id_, text in rows if id_ in truth)
    return [example for example in found if example.text not in learnt]

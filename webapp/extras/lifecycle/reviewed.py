"""The reviewed messages that say how good a version is: those that it has not learnt.

A version has learnt the reviews that it, or one that it descends from, was fitted on (noted in the log), the project's
own messages if its card names them, and all copies of these. Of other files of its card no text is at hand.
"""

import datetime as dt
from collections.abc import Sequence
from functools import lru_cache

import sqlalchemy as sa

from webapp.config import PROJECT_SET
from webapp.extras.review.samples import counted_members
from webapp.log.tables import fitted_reviews, predictions
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.card import read_card
from webapp.model.data import Example, copy_keys, drop_copies, read_labelled
from webapp.model.registry import ModelRegistry

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


def sampled_examples(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions has learnt, newest first, copies dropped.

    Reviews of reported or uncertain messages would not do: the version that was served then got many of them wrong, so
    it would look worse than it is. Those whose text was not stored cannot be scored again and are left out.
    """
    truth = {row.prediction_id: row.true_label for row in counted_members(engine, *EVER)}
    ids, learnt = sorted(truth, reverse=True), learnt_keys(engine, registry, versions)
    texts = texts_of(engine, ids)
    found = (Example(texts[id_], truth[id_] == "spam", "reviewed") for id_ in ids if id_ in texts)
    return [example for example in drop_copies(found) if not copy_keys(example.text) & learnt]


def learnt_keys(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> set[str]:
    """Return what copies of messages that one of the versions has learnt have in common with these (copy_keys)."""
    fitted = sa.select(predictions.c.text).where(
        predictions.c.text.is_not(None),
        predictions.c.id.in_(
            sa.select(fitted_reviews.c.prediction_id).where(fitted_reviews.c.model_version.in_(versions))
        ),
    )
    with engine.connect() as connection:
        found = {key for text in connection.execute(fitted).scalars() for key in copy_keys(text)}
    saved = [version for version in versions if version in registry.versions()]
    files = {entry.file for version in saved for entry in read_card(registry.folder, version).data}
    return found | own_keys() if PROJECT_SET.name in files else found


@lru_cache(maxsize=1)
def own_keys() -> frozenset[str]:
    """Return the same of the project's own messages."""
    return frozenset(key for example in read_labelled(PROJECT_SET).examples for key in copy_keys(example.text))


def texts_of(engine: sa.Engine, ids: Sequence[str]) -> dict[str, str]:
    """Return the texts of predictions by their ids, where they were stored."""
    shown = sa.select(predictions.c.id, predictions.c.text).where(predictions.c.text.is_not(None))
    found: dict[str, str] = {}
    with engine.connect() as connection:
        for start in range(0, len(ids), KEYS_AT_ONCE):
            asked = shown.where(predictions.c.id.in_(ids[start : start + KEYS_AT_ONCE]))
            found |= {row.id: row.text for row in connection.execute(asked)}
    return found

"""Labelled messages that two versions can be compared on without any file: what people reviewed.

Both have learnt the project's own messages and the files on their cards, held-out parts included (the last fit takes
everything), so these say nothing about new messages. Reviewed members of random samples do, but for those that one of
the two was fitted on. Reviews of reported or uncertain messages do not: the version that was served then would always
look worse than it is.
"""

import datetime as dt
from collections.abc import Sequence

import sqlalchemy as sa

from webapp.extras.review.samples import counted_members
from webapp.log.tables import fitted_reviews, predictions
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.data import Example

EVER = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 1, 1, tzinfo=dt.UTC))


def reviewed_examples(engine: sa.Engine, versions: Sequence[str]) -> list[Example]:
    """Return the reviewed members of random samples that none of the versions was fitted on, newest first.

    Those whose text was not stored cannot be scored again and are left out. Raises LogUnavailable.
    """
    truth = {row.prediction_id: row.true_label for row in counted_members(engine, *EVER)}
    ids, found = sorted(truth, reverse=True), []
    fitted = sa.select(fitted_reviews.c.prediction_id).where(fitted_reviews.c.model_version.in_(versions))
    shown = sa.select(predictions.c.id, predictions.c.text).where(predictions.c.text.is_not(None))
    with engine.connect() as connection:
        learnt = set(connection.execute(fitted).scalars())
        for start in range(0, len(ids), KEYS_AT_ONCE):
            asked = predictions.c.id.in_(ids[start : start + KEYS_AT_ONCE])
            rows = connection.execute(shown.where(asked).order_by(predictions.c.id.desc()))
            found += [(row.id, row.text) for row in rows if row.id not in learnt]
    return [Example(text, truth[id_] == "spam", "reviewed") for id_, text in found]

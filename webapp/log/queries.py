"""Reads the log."""

import sqlalchemy as sa

from webapp.errors import NotFound
from webapp.log.tables import Row, predictions


def get_prediction(engine: sa.Engine, prediction_id: str) -> Row:
    """Return the stored prediction with this id; raises NotFound."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(predictions).where(predictions.c.id == prediction_id)).mappings().first()
    if row is None:
        raise NotFound(
            "There is no prediction with this id. Ids are given in each answer; old predictions may have been purged."
        )
    return dict(row)

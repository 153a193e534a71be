"""Which record of a file or a stream became which prediction, so that none is logged twice, whatever is repeated.

An origin names a record for good: "stream TOPIC/PARTITION/OFFSET" or "batch RUN/ROW". It is stored in the transaction
that stores the prediction. So whoever does not know how far it came, after a crash say, just does it again.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import sqlalchemy as sa

from webapp.errors import LogUnavailable
from webapp.log.insert import Insert
from webapp.log.tables import PredictionRow, origins, predictions

ASKED_AT_ONCE = 500  # parameters of one statement: databases allow only so many


def find_predictions(engine: sa.Engine, names: Sequence[str]) -> dict[str, PredictionRow]:
    """Return the stored prediction of each origin that has one; raises LogUnavailable."""
    found: dict[str, PredictionRow] = {}
    joined = sa.select(origins.c.origin, predictions).join(predictions, predictions.c.id == origins.c.prediction_id)
    try:
        with engine.connect() as connection:
            for start in range(0, len(names), ASKED_AT_ONCE):
                asked = names[start : start + ASKED_AT_ONCE]
                for row in connection.execute(joined.where(origins.c.origin.in_(asked))).mappings():
                    values = dict(row)
                    found[values.pop("origin")] = cast(PredictionRow, values)
    except sa.exc.SQLAlchemyError as error:
        raise LogUnavailable("The log cannot be read just now. Please try again in a moment.") from error
    return found


def add_predictions(engine: sa.Engine, rows: Mapping[str, PredictionRow]) -> None:
    """Store predictions under their origins in one transaction: all of them or, with LogUnavailable, none.

    It is none, too, if another process has stored one of these origins meanwhile: find_predictions then returns it.
    """
    if not rows:
        return
    into_predictions, into_origins = Insert(predictions, engine.dialect), Insert(origins, engine.dialect)
    values = [into_predictions.values(row) for row in rows.values()]
    names = [into_origins.values({"origin": name, "prediction_id": row["id"]}) for name, row in rows.items()]
    try:
        with engine.begin() as connection:  # the origins' key alone keeps them apart: nobody needs to wait for a turn
            connection.exec_driver_sql(into_origins.sql, names)
            connection.exec_driver_sql(into_predictions.sql, values)
    except sa.exc.SQLAlchemyError as error:
        raise LogUnavailable("The log cannot be written just now. Please try again in a moment.") from error

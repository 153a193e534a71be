"""What is asked for metrics at the moment of asking: the log and the model are as they are, whoever counts."""

import logging
import platform
from collections.abc import Iterator
from importlib.metadata import version

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from webapp.config import VERSION
from webapp.errors import ModelUnusable, NotReady
from webapp.extras.monitor.rollups import count_predictions
from webapp.log.tables import reviews
from webapp.model.registry import ModelRegistry

BUILD = {"version": VERSION, "python": platform.python_version(), "scikit_learn": version("scikit-learn")}

logger = logging.getLogger(__name__)


class State(Collector):
    """The rows of the log, the last review, the served model, the program; what cannot be had is left out."""

    def __init__(self, engine: sa.Engine, registry: ModelRegistry):
        self._engine = engine
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield one metric after the other."""
        yield InfoMetricFamily("hamlet_build", "The running program.", value=BUILD)
        try:
            model = self._registry.current()
            served = {"model_version": model.version, "threshold": str(model.threshold)}
            yield InfoMetricFamily("hamlet_model", "The served model.", value=served)
        except ModelUnusable:
            pass  # the registry has said why
        try:
            yield GaugeMetricFamily("hamlet_log_rows", "Predictions in the log.", value=count_predictions(self._engine))
            with self._engine.connect() as connection:  # a review's id grows with time, and there is an index of it
                last = connection.execute(
                    sa.select(reviews.c.created_at).order_by(reviews.c.id.desc()).limit(1)
                ).scalar()
            if last:
                yield GaugeMetricFamily(
                    "hamlet_last_review_timestamp_seconds", "When somebody last reviewed.", value=last.timestamp()
                )
        except (sa.exc.SQLAlchemyError, NotReady) as error:
            logger.warning("/metrics without figures of the log: %s", error)

"""The shadow test: a version (the challenger) scores every message beside the served one; that is stored, never shown.

Where the two differ, exactly one is right. So a few dozen reviews of those messages tell which is better; a random
sample would need thousands to hold as many of them. How often each version is right overall, `models compare` says.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import counted
from webapp.extras.lifecycle.comparison import Duel
from webapp.extras.review.reviews import truth_of
from webapp.inference import Inference
from webapp.log.database import snapshot
from webapp.log.tables import Row, predictions, reviews
from webapp.model.artifact import Learnt
from webapp.model.data import Example, drop_copies
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel

COUNTED = 100_000  # of the newest predictions; how often they differ is no better known from more
FAIR = ("random", "challenger")  # queues that offer a message for no reason that has to do with who is right

logger = logging.getLogger(__name__)


def challenger(registry: ModelRegistry) -> SpamModel | None:
    """Return the model that is tried, None if there is none or it cannot be loaded: no verdict waits for it."""
    registry.challenger.refresh(wait=False)
    return None if registry.challenger.error else registry.challenger.model


def score(inference: Inference, reported: set[str], texts: Sequence[str], rows: Sequence[Row]) -> None:
    """Add what the challenger says of each text to its row; its time is not in the latency of the served model.

    A challenger that fails stops no verdict. It is logged once: `reported` are the versions that were.
    """
    if (model := challenger(inference.registry)) is None:
        return
    try:
        probabilities = model.spam_probabilities(texts)
    except Exception:  # a model may raise anything, and the verdict does not need it
        if model.version not in reported:
            reported.add(model.version)
            logger.exception("The challenger %s cannot score every message; this is said once.", model.version)
        return
    for row, probability in zip(rows, probabilities, strict=True):
        row["challenger_version"], row["challenger_label"] = model.version, model.label(probability)
        row["challenger_probability"] = probability


class ShadowReport(NamedTuple):
    """What is known of a challenger beside the served version."""

    scored: int  # predictions by both, counted up to COUNTED, the newest
    differing: int  # predictions among these
    duel: Duel  # first the served version, then the challenger, on reviewed messages on which they differ

    @property
    def sentence(self) -> str:
        """Return what it adds up to, in words for a beginner: the same on the page and for the command."""
        messages = f"{'newest ' if self.scored == COUNTED else ''}{counted(self.scored, 'message')}"
        if not self.scored:
            return "The challenger has not scored a message yet."
        winner = self.duel.sentence("the served version", "the challenger")
        return f"The two differ on {self.differing:,} of the {messages}. {winner}"


def shadow_report(engine: sa.Engine, registry: ModelRegistry, version: str, served: str) -> ShadowReport:
    """Return how a version has done so far beside the served one.

    Reviews count that came through the queue of messages on which they differ, or through the random one. People
    report what the served version got wrong, so among reported messages the challenger would always look better.
    Messages that one of the two has learnt do not count; copies count once.
    """
    shown = predictions.c
    differs = sa.case((shown.challenger_label != shown.label, 1), else_=0).label("differs")
    both = (shown.challenger_version == version) & (shown.model_version == served)
    newest = sa.select(differs).where(both).order_by(shown.id.desc()).limit(COUNTED).subquery()
    counts = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(newest.c.differs), 0)).select_from(newest)
    fair = sa.select(reviews.c.prediction_id).where(reviews.c.queue.in_(FAIR))
    columns = (shown.challenger_version, shown.model_version, shown.text, shown.label)
    query = sa.select(*columns, truth_of(shown.id).label("truth"))
    query = query.where(shown.id.in_(fair), shown.challenger_label != shown.label).order_by(shown.id.desc())
    with snapshot(engine) as connection:
        scored, differing = connection.execute(counts).one()
        # The versions are looked at here, as asked for them SQLite would walk over all that the challenger ever scored.
        rows = [row for row in connection.execute(query) if row.truth and row.text and row[:2] == (version, served)]
    learnt = Learnt(registry.folder, (version, served))
    # Here `is_spam` means that the served version is right.
    known = drop_copies(Example(row.text, row.truth == row.label, "") for row in rows)
    served_right = [message.is_spam for message in known if message.text not in learnt]
    return ShadowReport(scored, differing, Duel(sum(served_right), served_right.count(False)))

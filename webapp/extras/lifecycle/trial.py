"""How a version that is tried in the shadow does on live traffic, beside the version that is served.

Only messages on which the two differ tell which is better, and where they differ exactly one is right. So it is enough
to review those: a few dozen, where a random sample would need thousands to hold as many of them. They say who is right
*where they differ*; how often each is right overall, only a random sample says.
"""

import datetime as dt
from typing import NamedTuple

import sqlalchemy as sa

from webapp.extras.lifecycle.comparison import Duel
from webapp.extras.lifecycle.reviewed import Learnt
from webapp.extras.review.reviews import truth_of
from webapp.extras.review.samples import counted_members
from webapp.log.database import snapshot
from webapp.log.ids import moment_of
from webapp.log.tables import predictions, reviews
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.data import Example, drop_copies
from webapp.model.evaluation import Proportion, proportion
from webapp.model.registry import ModelRegistry

COUNTED = 100_000  # of the newest predictions; how often they differ is no better known from more
REVIEWED = 20_000  # of the newest reviews
FAIR = ("random", "challenger")  # queues that offer a message for no reason that has to do with who is right
FEWEST = 20  # reviews; with fewer of them nobody knows how many more it takes
MOST = 1_000  # more reviews than that are worth nobody's time


class ShadowReport(NamedTuple):
    """What is known of a challenger beside the version that was served."""

    version: str
    current: str | None  # the version that it was tried beside last; None: it has not scored a message yet
    scored: int  # predictions by both, counted up to COUNTED, the newest
    differing: int  # of these
    differing_share: Proportion
    duel: Duel  # first the current version, then the challenger, on reviewed messages on which they differ
    sampled: int  # reviewed messages of random samples, on which they differ or not
    current_accuracy: Proportion  # of the sampled ones
    challenger_accuracy: Proportion
    sentence: str


def shadow_report(engine: sa.Engine, registry: ModelRegistry, version: str) -> ShadowReport:
    """Return how a version has done so far beside the one that it was tried beside last; raises LogUnavailable.

    Reviews count that came through the queue of messages on which they differ, or through the random one. Those of
    reported or uncertain messages do not: people report what the served version got wrong, so among these the
    challenger would always look better. Nor do messages that one of the two has learnt; copies count once.
    """
    tried = predictions.c.challenger_version == version
    # Two queries, as SQLite walks over the whole index for a minimum and a maximum in one.
    ends = [sa.select(end(predictions.c.id)).where(tried).scalar_subquery() for end in (sa.func.min, sa.func.max)]
    with snapshot(engine) as connection:
        first, last = connection.execute(sa.select(*ends)).one()
        if first is None:
            return _summed_up(version, None, (0, 0), Duel(0, 0), (0, 0, 0))
        newest = sa.select(predictions.c.model_version).where(predictions.c.id == last)
        current: str = connection.execute(newest).scalar_one()
        both = tried & (predictions.c.model_version == current) & predictions.c.id.between(first, last)
        scored = _scored(connection, both)
        differing = _reviewed_differing(connection, (version, current), first, last)
    learnt = Learnt(engine, registry, (version, current))
    duel = _duel(differing, learnt)
    until = moment_of(last) + dt.timedelta(milliseconds=1)
    counted = counted_members(engine, moment_of(first), until, current)
    truth = {row.prediction_id: row.true_label for row in counted}
    return _summed_up(version, current, scored, duel, _sampled(engine, version, truth, learnt))


def _scored(connection: sa.Connection, both: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Return how many of the newest predictions both have scored, and on how many of these they differ."""
    differs = sa.case((predictions.c.challenger_label != predictions.c.label, 1), else_=0).label("differs")
    newest = sa.select(differs).where(both).order_by(predictions.c.id.desc()).limit(COUNTED).subquery()
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(newest.c.differs), 0)).select_from(newest)
    scored, differing = connection.execute(query).one()
    return scored, differing


def _reviewed_differing(
    connection: sa.Connection, both: tuple[str, str], first: str, last: str
) -> list[tuple[str | None, bool]]:
    """Return the text of each message on which they differ and whose truth is known, and whether the current is right.

    The newest first.
    """
    fair = (
        sa.select(reviews.c.prediction_id)
        .where(reviews.c.prediction_id.between(first, last), reviews.c.queue.in_(FAIR))
        .distinct()
        .order_by(reviews.c.prediction_id.desc())
        .limit(REVIEWED)
    )
    shown = predictions.c
    query = sa.select(
        shown.challenger_version, shown.model_version, shown.text, shown.label, truth_of(shown.id).label("truth")
    ).where(shown.id.in_(fair), shown.challenger_label != shown.label)
    # The versions are looked at here, as asked for them SQLite would walk over all that the challenger ever scored.
    rows = connection.execute(query.order_by(shown.id.desc()))
    return [(row.text, row.truth == row.label) for row in rows if row.truth and row[:2] == both]


def _duel(differing: list[tuple[str | None, bool]], learnt: Learnt) -> Duel:
    """Count who is right, copies once and learnt messages not at all."""
    examples = drop_copies(Example(text, current_right, "") for text, current_right in differing if text is not None)
    right = [example.is_spam for example in examples if example.text not in learnt]
    right += [current_right for text, current_right in differing if text is None]
    return Duel(sum(right), len(right) - sum(right))


def _sampled(engine: sa.Engine, version: str, truth: dict[str, str], learnt: Learnt) -> tuple[int, int, int]:
    """Return how many of the reviewed members of random samples both have scored, and how many each got right."""
    ids, right = list(truth), []
    shown = predictions.c
    with engine.connect() as connection:
        for start in range(0, len(ids), KEYS_AT_ONCE):
            query = sa.select(shown.id, shown.text, shown.label, shown.challenger_version, shown.challenger_label)
            for row in connection.execute(query.where(shown.id.in_(ids[start : start + KEYS_AT_ONCE]))):
                if row.challenger_version == version and not (row.text and row.text in learnt):
                    right.append((row.label == truth[row.id], row.challenger_label == truth[row.id]))
    return len(right), sum(current for current, _ in right), sum(challenger for _, challenger in right)


def _summed_up(
    version: str, current: str | None, scored: tuple[int, int], duel: Duel, sampled: tuple[int, int, int]
) -> ShadowReport:
    return ShadowReport(
        version=version,
        current=current,
        scored=scored[0],
        differing=scored[1],
        differing_share=proportion(scored[1], scored[0]),
        duel=duel,
        sampled=sampled[0],
        current_accuracy=proportion(sampled[1], sampled[0]),
        challenger_accuracy=proportion(sampled[2], sampled[0]),
        sentence=_sentence(scored, duel),
    )


def _sentence(scored: tuple[int, int], duel: Duel) -> str:
    """Return what it adds up to, in words for a beginner: the same on the page and for the command."""
    messages = f"{'newest ' if scored[0] == COUNTED else ''}{scored[0]:,} messages"
    if not scored[0]:
        return "The challenger has not scored a message yet."
    if not scored[1] and not duel.messages:
        return f"The two agree on all of the {messages} so far, so nothing tells them apart."
    words = f"The two differ on {scored[1]:,} of the {messages}."
    if not duel.messages:
        return f"{words} None of these that neither has learnt was reviewed yet."
    words = f"{words} {duel.sentence('the served version', 'the challenger')}"
    if duel.better or duel.messages < FEWEST:
        return words
    needed = reviews_needed(duel)
    if needed is None:
        return f"{words} They are about equally good: take the one that you like for other reasons."
    return f"{words} If it goes on like this, about {needed:,} more such reviews tell which one is better."


def reviews_needed(duel: Duel) -> int | None:
    """Return about how many more reviews tell which is better if each wins as often as so far; None if above MOST."""
    for more in range(1, MOST + 1):
        total = duel.messages + more
        first = round(duel.only_first / duel.messages * total)
        if Duel(first, total - first).better:
            return more
    return None

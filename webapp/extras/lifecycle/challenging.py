"""How a version that is tried in the shadow does on live traffic: is it better, and how many reviews would tell?

Only messages on which the two differ tell which is better, and where they differ, exactly one is right. So it is enough
to review those: a few dozen, where a random sample would need thousands to hold as many of them. They say who is right
*where they differ*; how often each is right overall, only a random sample says.
"""

import datetime as dt
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from scipy.stats import binom

from webapp.extras.lifecycle.comparison import SURE, mcnemar
from webapp.extras.review.reviews import truth_of
from webapp.extras.review.samples import ReviewedPrediction, counted_members
from webapp.log.database import snapshot
from webapp.log.ids import moment_of
from webapp.log.tables import predictions, reviews
from webapp.log.writer import KEYS_AT_ONCE
from webapp.model.evaluation import Proportion, proportion, wilson

COUNTED = 100_000  # of the newest predictions; how often they differ is no better known from more
REVIEWED = 20_000  # of the newest reviews
FAIR = ("random", "challenger")  # queues that offer a message for no reason that has to do with who is right
POWER = 0.8  # how likely the planned number of reviews is to tell, if the two differ as much as it seems
FEW = 20  # reviews; with fewer of them nobody knows yet how much better one is:
TWICE = 2 / 3  # then it is planned as if, where they differ, one were right twice as often as the other
MOST = 10_000  # reviews; whoever needs more has two equally good versions


class Record(NamedTuple):
    """What is known of a challenger beside the version that was served."""

    version: str
    current: str | None  # the version that it was tried beside last; None: it has not scored a message yet
    scored: int  # predictions by both, counted up to COUNTED, the newest
    differing: int  # of these
    differing_share: Proportion
    reviewed: int  # messages on which they differ and whose truth is known: two counts that add up to it
    only_current_right: int
    only_challenger_right: int
    p_value: float  # exact McNemar
    challenger_right_share: Proportion  # of the reviewed ones
    sampled: int  # reviewed messages of random samples, on which they differ or not
    current_accuracy: Proportion  # of the sampled ones
    challenger_accuracy: Proportion
    reviews_needed: int | None  # about so many more to tell, MOST at most; None: it can be told now
    sentence: str


def record(engine: sa.Engine, version: str) -> Record:
    """Return how a version has done so far beside the one that it was tried beside last; raises LogUnavailable.

    Reviews count that came through the queue of messages on which they differ, or through the random one. Those of
    reported or uncertain messages do not: people report what the served version got wrong, so among these the
    challenger would always look better.
    """
    tried = predictions.c.challenger_version == version
    # Two queries, as SQLite walks over the whole index for a minimum and a maximum in one.
    ends = [sa.select(end(predictions.c.id)).where(tried).scalar_subquery() for end in (sa.func.min, sa.func.max)]
    with snapshot(engine) as connection:
        first, last = connection.execute(sa.select(*ends)).one()
        if first is None:
            return _summed_up(version, None, (0, 0), (0, 0), (0, 0, 0))
        newest = sa.select(predictions.c.model_version).where(predictions.c.id == last)
        current: str = connection.execute(newest).scalar_one()
        both = tried & (predictions.c.model_version == current) & predictions.c.id.between(first, last)
        scored = _scored(connection, both)
        right = _who_is_right(connection, (version, current), first, last)
    until = moment_of(last) + dt.timedelta(milliseconds=1)
    sampled = _sampled(engine, version, counted_members(engine, moment_of(first), until, current))
    return _summed_up(version, current, scored, right, sampled)


def _scored(connection: sa.Connection, both: sa.ColumnElement[bool]) -> tuple[int, int]:
    """Return how many of the newest predictions both have scored, and on how many of these they differ."""
    differs = sa.case((predictions.c.challenger_label != predictions.c.label, 1), else_=0).label("differs")
    newest = sa.select(differs).where(both).order_by(predictions.c.id.desc()).limit(COUNTED).subquery()
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(newest.c.differs), 0)).select_from(newest)
    scored, differing = connection.execute(query).one()
    return scored, differing


def _who_is_right(connection: sa.Connection, both: tuple[str, str], first: str, last: str) -> tuple[int, int]:
    """Return how many reviewed messages only the current version, and how many only the challenger, got right."""
    fair = (
        sa.select(reviews.c.prediction_id)
        .where(reviews.c.prediction_id.between(first, last), reviews.c.queue.in_(FAIR))
        .distinct()
        .order_by(reviews.c.prediction_id.desc())
        .limit(REVIEWED)
    )
    shown = predictions.c
    query = sa.select(
        shown.challenger_version, shown.model_version, shown.label, truth_of(shown.id).label("truth")
    ).where(shown.id.in_(fair), shown.challenger_label != shown.label)
    # The versions are looked at here, as asked for them SQLite would walk over all that the challenger ever scored.
    known = [row.truth == row.label for row in connection.execute(query) if row.truth and row[:2] == both]
    return sum(known), len(known) - sum(known)


def _sampled(engine: sa.Engine, version: str, counted: list[ReviewedPrediction]) -> tuple[int, int, int]:
    """Return how many of the reviewed members of random samples both have scored, and how many each got right."""
    said: dict[str, str] = {}
    with engine.connect() as connection:
        for start in range(0, len(counted), KEYS_AT_ONCE):
            ids = [row.prediction_id for row in counted[start : start + KEYS_AT_ONCE]]
            query = sa.select(predictions.c.id, predictions.c.challenger_version, predictions.c.challenger_label)
            for row in connection.execute(query.where(predictions.c.id.in_(ids))):
                if row.challenger_version == version:
                    said[row.id] = row.challenger_label
    both = [row for row in counted if row.prediction_id in said]
    current_right = sum(row.label == row.true_label for row in both)
    challenger_right = sum(said[row.prediction_id] == row.true_label for row in both)
    return len(both), current_right, challenger_right


def _summed_up(
    version: str, current: str | None, scored: tuple[int, int], right: tuple[int, int], sampled: tuple[int, int, int]
) -> Record:
    p_value = mcnemar(*right)
    needed = None if p_value < SURE else reviews_needed(*right)
    return Record(
        version=version,
        current=current,
        scored=scored[0],
        differing=scored[1],
        differing_share=proportion(scored[1], scored[0]),
        reviewed=sum(right),
        only_current_right=right[0],
        only_challenger_right=right[1],
        p_value=p_value,
        challenger_right_share=proportion(right[1], sum(right)),
        sampled=sampled[0],
        current_accuracy=proportion(sampled[1], sampled[0]),
        challenger_accuracy=proportion(sampled[2], sampled[0]),
        reviews_needed=needed,
        sentence=_sentence(scored, right, needed),
    )


def _sentence(scored: tuple[int, int], right: tuple[int, int], needed: int | None) -> str:
    """Return what it adds up to, in words for a beginner."""
    reviewed = sum(right)
    messages = f"{'newest ' if scored[0] == COUNTED else ''}{scored[0]:,} messages"
    if not scored[0]:
        return "The challenger has not scored a message yet."
    if not scored[1] and not reviewed:
        return f"The two agree on all of the {messages} so far, so there is nothing to tell them apart by."
    differ = f"The two differ on {scored[1]:,} of the {messages}."
    if needed is None:
        better, times = ("challenger", right[1]) if right[1] > right[0] else ("served version", right[0])
        return f"{differ} The {better} is better: where they differ, it was right {times:,} times of {reviewed:,}."
    more = f"more than {MOST:,}" if needed == MOST else f"about {needed:,}"
    if not reviewed:
        return f"{differ} None of these has been reviewed yet: it needs {more} reviews to tell which one is better."
    so_far = f"Of {reviewed:,} that were reviewed, the challenger was right on {right[1]:,}"
    return f"{differ} {so_far}. That may be chance: it needs {more} more reviews to tell which one is better."


def reviews_needed(only_current: int, only_challenger: int) -> int:
    """Return about how many more reviews of messages on which they differ will tell which is better; MOST at most.

    It is the smallest number of them with which the exact McNemar test finds p < .05 in 80 % of all cases, if from now
    on the challenger is right as often as it seems. By itself that is the power of a binomial test of p = 1/2 (Connor
    1987, Biometrics 43, p. 207, has the formula that comes near it; this adds up the exact probabilities). As after
    three reviews, all for one side, nobody knows that all will be, it is planned with the middle of today's Wilson
    interval, and with fewer than FEW reviews with TWICE.
    """
    reviewed = only_current + only_challenger
    interval = wilson(only_challenger, reviewed)
    planned = TWICE if interval is None or reviewed < FEW else (interval.low + interval.high) / 2
    needed = discordant_needed(planned)
    return MOST if needed == MOST else max(needed - reviewed, 1)


def discordant_needed(right: float) -> int:
    """Return how many messages on which they differ tell with 80 % power, if one of them is right on a share of them.

    MOST at most. The power goes up in steps, and a little down between them: this is where it first reaches POWER.
    """
    n = np.arange(1, MOST + 1)
    few = binom.ppf(SURE / 2, n, 0.5)  # right so often or less often: p is below SURE, or at this one number just above
    few = np.where(2 * binom.cdf(few, n, 0.5) < SURE, few, few - 1)
    power = binom.cdf(few, n, right) + binom.sf(n - few - 1, n, right)
    enough = np.flatnonzero(power >= POWER)
    return int(n[enough[0]]) if enough.size else MOST

"""Random samples of the log, fixed once drawn: what the accuracy figure comes from.

A sample's members are in random order and are reviewed in that order, so that whoever stops half-way has reviewed a
random sample too, only a smaller one.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.review.fitted import is_fitted
from webapp.extras.review.reviews import is_disputed, is_reviewed, truth_of
from webapp.extras.review.sampling import fair_sample
from webapp.log.database import write_transaction
from webapp.log.ids import first_id, moment_of, new_id
from webapp.log.tables import predictions, reviews, sample_members, samples

OTHERS = 10_000  # reviewed predictions beside the samples; a biased figure is no better for more
LARGEST = 10_000  # members; that many reviews give the accuracy to within one point, whatever it is


class Sample(NamedTuple):
    """A row of the table samples: the predictions of since <= time < until were drawn from."""

    id: str
    created_at: dt.datetime
    seed: int
    since: dt.datetime
    until: dt.datetime


class Progress(NamedTuple):
    """How far the review of a sample is; `unsure` and `disagreements` are reviewed, but have no truth."""

    reviewed: int
    unsure: int
    disagreements: int
    total: int


class ReviewedPrediction(NamedTuple):
    """A prediction whose truth is known, and was not learnt; `sample_id` if it counts for accuracy, else `queue`."""

    prediction_id: str
    created_at: dt.datetime
    label: str
    spam_probability: float
    model_version: str
    true_label: str
    sample_id: str | None
    queue: str | None


def draw(engine: sa.Engine, since: dt.datetime, until: dt.datetime, size: int, seed: int) -> str:
    """Draw up to `size` of the predictions of since <= time < until, and return the sample's id.

    Each day (UTC) gives its share of the sample in proportion to its traffic, so that no day is left out by chance. The
    same seed and range give the same members of the same rows. Raises InvalidInput (an empty range), LogUnavailable.
    """
    if not 1 <= size <= LARGEST:
        raise InvalidInput(f"A sample has from 1 to {LARGEST:,} messages.")
    with engine.connect() as connection:
        oldest: str | None = connection.execute(sa.select(sa.func.min(predictions.c.id))).scalar()
    begin = max(since, moment_of(oldest)) if oldest else until  # a range of ten years may begin before the log
    days = [(start, end, _count(engine, start, end)) for start, end in _days(begin, until)]
    if not sum(count for _, _, count in days):
        raise InvalidInput(f"There are no predictions from {since:%d %B %Y %H:%M} to {until:%d %B %Y %H:%M} UTC.")
    parts = shares(size, [count for _, _, count in days])
    members = [
        id_
        for (start, end, _), part in zip(days, parts, strict=True)
        if part
        for id_ in fair_sample(engine, start, end, part, str(seed))
    ]
    members.sort(key=lambda id_: hashlib.sha256(f"order:{seed}:{id_}".encode()).digest())
    sample = Sample(new_id(), dt.datetime.now(dt.UTC), seed, since, until)
    with write_transaction(engine) as connection:
        connection.execute(sa.insert(samples), sample._asdict())
        connection.execute(
            sa.insert(sample_members),
            [{"sample_id": sample.id, "position": at, "prediction_id": id_} for at, id_ in enumerate(members)],
        )
    return sample.id


def _days(since: dt.datetime, until: dt.datetime) -> Iterator[tuple[dt.datetime, dt.datetime]]:
    start = since.astimezone(dt.UTC)
    while start < until:
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0) + dt.timedelta(days=1)
        yield start, min(midnight, until)
        start = midnight


def shares(size: int, counts: list[int]) -> list[int]:
    """Share out `size` in proportion to `counts`, in whole numbers, by the method of largest remainders.

    Each part is rounded down, and what is left goes to the parts that lost most by it (Hare and Niemeyer). No part is
    larger than its count; where `size` is more than there is, each part is its count.
    """
    total = sum(counts)
    size = min(size, total)
    parts = [size * count // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda at: -(size * counts[at] % total))
    for at in by_remainder[: size - sum(parts)]:
        parts[at] += 1
    return parts


def _count(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> int:
    """Return how many predictions there are of since <= time < until."""
    with engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count(predictions.c.id)).where(_between(since, until))).scalar_one()


def _between(since: dt.datetime, until: dt.datetime) -> sa.ColumnElement[bool]:
    return (predictions.c.id >= first_id(since)) & (predictions.c.id < first_id(until))


def all_samples(engine: sa.Engine) -> list[Sample]:
    """Return the samples, newest first."""
    with engine.connect() as connection:
        return [Sample(*row) for row in connection.execute(sa.select(samples).order_by(samples.c.id.desc()))]


def progress(engine: sa.Engine, sample_id: str) -> Progress:
    """Return how far the review of a sample is."""
    member = sample_members.c.prediction_id
    states = (
        sa.select(
            is_reviewed(member).label("reviewed"),
            truth_of(member).is_not(None).label("known"),
            is_disputed(member).label("disputed"),
        )
        .where(sample_members.c.sample_id == sample_id)
        .subquery()
    )
    with engine.connect() as connection:
        rows = connection.execute(sa.select(states)).all()
    reviewed = [row for row in rows if row.reviewed]
    disputed = sum(row.disputed for row in reviewed)
    known = sum(row.known for row in reviewed)
    return Progress(len(reviewed), len(reviewed) - known - disputed, disputed, len(rows))


def counted_members(
    engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None
) -> list[ReviewedPrediction]:
    """Return the sample members of a range that the accuracy figure may be computed from.

    Of each sample those count that were reached in its order: from the first up to the furthest one reviewed through
    the queue "random", unless a message before it was skipped. So neither a member that somebody came across in
    another queue, nor leaving out the difficult ones, can bias the figure. A member of two samples counts once.
    """
    member = sample_members.c.prediction_id
    in_order = sa.exists().where(reviews.c.prediction_id == member, reviews.c.queue == "random")
    query = (
        sa.select(
            *_shown(member),
            sample_members.c.sample_id,
            is_reviewed(member).label("reviewed"),
            in_order.label("in_order"),
        )
        .join(samples, samples.c.id == sample_members.c.sample_id)
        .join(predictions, predictions.c.id == member)
        .where(samples.c.since < until, samples.c.until > since)
        .order_by(sample_members.c.sample_id.desc(), sample_members.c.position)
    )
    found: dict[str, ReviewedPrediction] = {}
    with engine.connect() as connection:
        for _, members in groupby(connection.execute(query), key=lambda row: row.sample_id):
            reached = list(takewhile(lambda row: row.reviewed, members))
            while reached and not reached[-1].in_order:
                reached.pop()
            for row in reached:
                if since <= row.created_at < until and row.true_label and model_version in (None, row.model_version):
                    found.setdefault(row.id, ReviewedPrediction(*row[:6], sample_id=row.sample_id, queue=None))
    return list(found.values())


def other_reviews(
    engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None
) -> list[ReviewedPrediction]:
    """Return the newest other predictions of a range whose truth is known, with the queue of their newest review.

    They were looked at for a reason, such as being uncertain or reported, so a figure over them is biased. Only the
    newest OTHERS reviewed predictions are considered.
    """
    counted = {row.prediction_id for row in counted_members(engine, since, until, model_version)}
    of_this = (reviews.c.prediction_id == predictions.c.id, reviews.c.true_label != "unsure", reviews.c.overruled == 0)
    queue = sa.select(reviews.c.queue).where(*of_this).order_by(reviews.c.id.desc()).limit(1).scalar_subquery()
    reviewed = (
        sa.select(reviews.c.prediction_id)
        .where(reviews.c.prediction_id >= first_id(since), reviews.c.prediction_id < first_id(until))
        .distinct()
        .order_by(reviews.c.prediction_id.desc())
        .limit(OTHERS)
    )
    query = sa.select(*_shown(predictions.c.id), queue.label("queue")).where(predictions.c.id.in_(reviewed))
    if model_version:
        query = query.where(predictions.c.model_version == model_version)
    with engine.connect() as connection:
        return [
            ReviewedPrediction(*row[:6], sample_id=None, queue=row.queue)
            for row in connection.execute(query)
            if row.true_label and row.id not in counted
        ]


def _shown(prediction_id: sa.ColumnElement[str]) -> list[sa.ColumnElement[Any]]:
    shown = predictions.c
    # What a version was fitted on has no truth here: it says nothing about that version.
    truth = sa.case((~is_fitted(prediction_id, shown.model_version), truth_of(prediction_id))).label("true_label")
    return [shown.id, shown.created_at, shown.label, shown.spam_probability, shown.model_version, truth]

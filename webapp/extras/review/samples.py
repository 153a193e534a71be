"""Random samples of the log, fixed once drawn: what the accuracy figure comes from.

A sample's members are in random order and are reviewed in that order, so that whoever stops half-way has reviewed a
random sample too, only a smaller one. Samples may overlap: see `reached_members`.
"""

import datetime as dt
import hashlib
from collections.abc import Iterator
from itertools import groupby, takewhile
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.review.accuracy import ReviewedPrediction
from webapp.extras.review.fitted import is_fitted
from webapp.extras.review.reviews import newest_verdict
from webapp.extras.review.sampling import fair_sample
from webapp.log.database import write_transaction
from webapp.log.ids import first_id, moment_of, new_id
from webapp.log.tables import predictions, reviews, sample_members, samples

OTHERS = 10_000  # reviewed predictions beside the samples; a biased figure is no better for more
LARGEST = 10_000  # members; that many reviews give the accuracy to within one point, whatever it is


class Sample(NamedTuple):
    """A row of the table samples: drawn from the predictions of since <= time < until."""

    id: str
    created_at: dt.datetime
    seed: int
    since: dt.datetime
    until: dt.datetime
    rate: float  # the share of these predictions that was drawn


class Progress(NamedTuple):
    """How far the review of a sample is; `unsure` ones are reviewed, but have no truth."""

    reviewed: int
    unsure: int
    total: int


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
        days = list(_days(begin, until))
        counts = [
            connection.execute(sa.select(sa.func.count(predictions.c.id)).where(_between(start, end))).scalar_one()
            for start, end in days
        ]
    if not sum(counts):
        raise InvalidInput(f"There are no predictions from {since:%d %B %Y %H:%M} to {until:%d %B %Y %H:%M} UTC.")
    members = [
        id_
        for (start, end), part in zip(days, allocate(size, counts), strict=True)
        if part
        for id_ in fair_sample(engine, start, end, part, str(seed))
    ]
    members.sort(key=lambda id_: hashlib.sha256(f"order:{seed}:{id_}".encode()).digest())
    sample = Sample(new_id(), dt.datetime.now(dt.UTC), seed, since, until, len(members) / sum(counts))
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


def allocate(size: int, counts: list[int]) -> list[int]:
    """Divide `size` in proportion to `counts`, in whole numbers, by the method of largest remainders.

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


def _between(since: dt.datetime, until: dt.datetime) -> sa.ColumnElement[bool]:
    return (predictions.c.id >= first_id(since)) & (predictions.c.id < first_id(until))


def newest_sample(engine: sa.Engine) -> Sample | None:
    """Return the sample that was drawn last: the one that is being reviewed."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(samples).order_by(samples.c.id.desc()).limit(1)).first()
    return Sample(*row) if row else None


def progress(engine: sa.Engine, sample_id: str) -> Progress:
    """Return how far the review of a sample is."""
    verdict = newest_verdict(sample_members.c.prediction_id)
    with engine.connect() as connection:
        verdicts = connection.execute(sa.select(verdict).where(sample_members.c.sample_id == sample_id)).scalars().all()
    return Progress(sum(one is not None for one in verdicts), verdicts.count("unsure"), len(verdicts))


def counted_members(
    engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None
) -> list[ReviewedPrediction]:
    """Return those of `reached_members` whose truth is known."""
    reached = reached_members(engine, since, until, model_version)
    return [one for one in reached if one.true_label != "unsure"]


def reached_members(
    engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None
) -> list[ReviewedPrediction]:
    """Return the members of random samples in a range that the accuracy figure may be computed from, each one once.

    Of each sample those count that were reached in its order: from the first up to the furthest one reviewed through
    the queue "random", unless a message before it was skipped. So neither a member that somebody came across in
    another queue, nor leaving out the difficult ones, can bias the figure. Those that a reviewer was unsure of are
    among them. What a version was fitted on is not.

    A member stands for 1 / p messages, where p is the probability that any of the samples reached it: 1 minus the
    product of 1 - rate over the samples of its time (Horvitz & Thompson 1952, JASA 47). The rate of a sample is that
    of all its members that were reached, whatever range is asked for and whichever of them count.
    """
    member, shown = sample_members.c.prediction_id, predictions.c
    query = (
        sa.select(
            shown.id,
            shown.created_at,
            shown.label,
            shown.spam_probability,
            shown.model_version,
            newest_verdict(member).label("true_label"),
            sample_members.c.sample_id,
            sa.exists().where(reviews.c.prediction_id == member, reviews.c.queue == "random").label("in_order"),
            is_fitted(member, shown.model_version).label("is_fitted"),
        )
        .join(sample_members, member == shown.id)
        .join(samples, samples.c.id == sample_members.c.sample_id)
        .where(samples.c.since < until, samples.c.until > since)
        .order_by(sample_members.c.sample_id.desc(), sample_members.c.position)
    )
    found: dict[str, sa.Row[Any]] = {}
    rates: list[tuple[str, str, float]] = []
    with engine.connect() as connection:
        by_id = {row.id: Sample(*row) for row in connection.execute(sa.select(samples))}
        for sample_id, rows in groupby(connection.execute(query), key=lambda row: row.sample_id):
            members = list(rows)
            reached = list(takewhile(lambda row: row.true_label, members))
            while reached and not reached[-1].in_order:
                reached.pop()
            sample = by_id[sample_id]
            rates.append((first_id(sample.since), first_id(sample.until), sample.rate * len(reached) / len(members)))
            found |= {row.id: row for row in reached}
    return [
        ReviewedPrediction(
            row.id,
            row.created_at,
            row.label,
            row.spam_probability,
            row.model_version,
            row.true_label,
            weight=1 / _chance(row.id, rates),
        )
        for row in found.values()
        if since <= row.created_at < until and not row.is_fitted and model_version in (None, row.model_version)
    ]


def _chance(prediction_id: str, rates: list[tuple[str, str, float]]) -> float:
    """Return the probability that a prediction was reached by any of the samples (first id, end id, rate)."""
    missed = 1.0
    for first, end, rate in rates:
        if first <= prediction_id < end:
            missed *= 1 - rate
    return 1 - missed


def other_reviews(
    engine: sa.Engine, since: dt.datetime, until: dt.datetime, model_version: str | None = None
) -> dict[str, list[bool]]:
    """Return, by the queue of the newest review, whether the verdict on each of the newest other predictions was right.

    They were looked at for a reason, such as being uncertain or reported, so a figure over them is biased. Only the
    newest OTHERS reviewed predictions of the range are considered.
    """
    counted = {row.prediction_id for row in reached_members(engine, since, until, model_version)}
    shown = predictions.c
    newest = sa.select(sa.func.max(reviews.c.id)).where(
        reviews.c.prediction_id >= first_id(since), reviews.c.prediction_id < first_id(until)
    )
    newest = newest.group_by(reviews.c.prediction_id).order_by(reviews.c.prediction_id.desc()).limit(OTHERS)
    query = (
        sa.select(shown.id, shown.label, reviews.c.true_label, reviews.c.queue)
        .join(reviews, reviews.c.prediction_id == shown.id)
        .where(reviews.c.id.in_(newest), reviews.c.true_label != "unsure", ~is_fitted(shown.id, shown.model_version))
    )
    if model_version:
        query = query.where(shown.model_version == model_version)
    found: dict[str, list[bool]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query.order_by(reviews.c.queue)):
            if row.id not in counted:
                found.setdefault(row.queue, []).append(row.label == row.true_label)
    return found

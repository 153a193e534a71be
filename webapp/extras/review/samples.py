"""Random samples of the log, fixed once drawn: what the accuracy figure comes from.

A sample's members are reviewed in random order, so half of a sample is a random sample too. Samples may overlap: see
`reached_members`.
"""

import datetime as dt
import hashlib
import math
from collections.abc import Sequence
from itertools import groupby, takewhile
from typing import Any

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.review.accuracy import ReviewedPrediction
from webapp.extras.review.reviews import newest_verdict
from webapp.log.database import write_transaction
from webapp.log.tables import first_id, new_id, predictions, reviews, sample_members, samples

MANY = 100_000  # rows in a range from which on only a part of it is read
LARGEST = 10_000  # members; that many reviews give the accuracy to within one point, whatever it is

_member = sample_members.c.prediction_id
MEMBERS = (
    sa.select(
        predictions.c.id,
        predictions.c.created_at,
        predictions.c.label,
        predictions.c.spam_probability,
        predictions.c.model_version,
        newest_verdict(_member).label("true_label"),
        sample_members.c.sample_id,
        sa.exists().where(reviews.c.prediction_id == _member, reviews.c.queue == "random").label("in_order"),
        samples.c.since,
        samples.c.until,
        samples.c.rate,
    )
    .join(sample_members, _member == predictions.c.id)
    .join(samples, samples.c.id == sample_members.c.sample_id)
    .order_by(sample_members.c.sample_id.desc(), sample_members.c.position)
)


def draw(engine: sa.Engine, since: dt.datetime, until: dt.datetime, size: int, seed: int) -> str:
    """Draw up to `size` predictions of since <= time < until, and return the sample's id; raises InvalidInput."""
    if not 1 <= size <= LARGEST:
        raise InvalidInput(f"A sample has from 1 to {LARGEST:,} messages.")
    members = fair_sample(engine, since, until, size, str(seed))
    if not members:
        raise InvalidInput(f"There are no predictions from {since:%d %B %Y %H:%M} to {until:%d %B %Y %H:%M} UTC.")
    rate = min(len(members) / count_between(engine, since, until), 1.0)
    sample = {"id": new_id(), "created_at": dt.datetime.now(dt.UTC), "seed": seed, "since": since, "until": until}
    with write_transaction(engine) as connection:
        connection.execute(sa.insert(samples), sample | {"rate": rate})
        connection.execute(
            sa.insert(sample_members),
            [{"sample_id": sample["id"], "position": at, "prediction_id": id_} for at, id_ in enumerate(members)],
        )
    return str(sample["id"])


def fair_sample(
    engine: sa.Engine,
    since: dt.datetime,
    until: dt.datetime,
    size: int,
    seed: str = "",
    model_version: str | None = None,
) -> list[str]:
    """Return up to `size` prediction ids from since <= time < until, each row (of that version) as likely as any other.

    The order is random too. The same seed gives the same sample of the same rows. The last digits of an id are random,
    so the ids that end in 0 are a fair sixteenth of a range, those that end in a0 a fair 256th: of a large range only
    so many are read, by an index of those that end in 0. The seed chooses the other digits, as samples of the same few
    rows would have more members in common than their rates say.
    """
    ids = sa.select(predictions.c.id).where(*_between(since, until))
    if model_version:
        ids = ids.where(predictions.c.model_version == model_version)
    with engine.connect() as connection:

        def more_than(number: int, query: sa.Select[tuple[str]]) -> bool:
            return connection.execute(query.offset(number).limit(1)).first() is not None

        if more_than(max(MANY, 64 * size), ids):
            part = ids = ids.where(sa.text("substr(id, 36) = '0'"))  # as the index has it
            for place, digit in zip((35, 34, 33), hashlib.sha256(seed.encode()).hexdigest(), strict=False):
                part = part.where(sa.func.substr(predictions.c.id, place, 1) == digit)
                if not more_than(4 * size, part):
                    break
                ids = part
        found = connection.execute(ids).scalars().all()
    return sorted(found, key=lambda id_: hashlib.sha256(f"{seed}:{id_}".encode()).digest())[:size]


def count_between(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> int:
    """Return how many predictions of since <= time < until the log holds."""
    with engine.connect() as connection:
        counted = sa.select(sa.func.count(predictions.c.id)).where(*_between(since, until))
        return int(connection.execute(counted).scalar_one())


def _between(since: dt.datetime, until: dt.datetime) -> tuple[sa.ColumnElement[bool], sa.ColumnElement[bool]]:
    return predictions.c.id >= first_id(since), predictions.c.id < first_id(until)


def open_sample(engine: sa.Engine) -> tuple[sa.Row[Any], int, int] | None:
    """Return the sample that was drawn last, how many of its members count already, and how many it has.

    None where there is none, or all of its messages were purged.
    """
    newest = sa.select(sa.func.max(samples.c.id)).scalar_subquery()
    with engine.connect() as connection:
        members = connection.execute(MEMBERS.where(samples.c.id == newest)).all()
    return (members[0], len(_reached(members)), len(members)) if members else None


def reached_members(engine: sa.Engine, since: dt.datetime, until: dt.datetime) -> list[ReviewedPrediction]:
    """Return the members of random samples in a range that the accuracy figure may be computed from, each member once.

    A member stands for 1 / p messages, where p is the probability that any of the samples reached it: 1 minus the
    product of 1 - rate over the samples of its time (Horvitz & Thompson 1952, JASA 47). The rate of a sample is that
    of all its members that were reached, whatever range is asked for and whichever of them count.
    """
    found: dict[str, sa.Row[Any]] = {}
    rates: list[tuple[str, str, float]] = []  # first id, end id and rate of each sample
    with engine.connect() as connection:
        rows = connection.execute(MEMBERS.where(samples.c.since < until, samples.c.until > since))
        for _, of_sample in groupby(rows, key=lambda row: row.sample_id):
            members = list(of_sample)
            sample, reached = members[0], _reached(members)
            rates.append((first_id(sample.since), first_id(sample.until), sample.rate * len(reached) / len(members)))
            found |= {row.id: row for row in reached}

    def weight(prediction_id: str) -> float:
        return 1 / (1 - math.prod(1 - rate for first, end, rate in rates if first <= prediction_id < end))

    return [
        ReviewedPrediction._make((*row[:6], weight(row.id)))
        for row in found.values()
        if since <= row.created_at < until
    ]


def _reached(members: Sequence[sa.Row[Any]]) -> list[sa.Row[Any]]:
    """Return the members of a sample that were reached in its order: from the first up to the furthest that count.

    The furthest is the last one reviewed through the queue "random" with no unreviewed member before it. So neither a
    review through another queue nor skipping difficult messages can bias the figure. Once all members are reviewed, all
    count, however their labels came: by an import, say. Members with the verdict "unsure" are included.
    """
    reached = list(takewhile(lambda row: row.true_label, members))
    while reached and len(reached) < len(members) and not reached[-1].in_order:
        reached.pop()
    return reached

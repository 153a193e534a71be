"""Does the interval of accuracy hold the truth, through the real log, samples and reviews?

    python benchmarks/coverage.py [REPETITIONS]

Each repetition draws samples from a log of a week with known truth, reviews them and asks for the accuracy of the
week, as the page does. The model is right more often on some days than on others, so that wrong weights show.
Also: how often is a model that is as good as at training called worse? docs/monitoring.md has the results.
"""

import datetime as dt
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import sqlalchemy as sa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.extras.monitor.report import is_worse  # noqa: E402
from webapp.extras.review.accuracy import accuracy  # noqa: E402
from webapp.extras.review.samples import draw, reached_members  # noqa: E402
from webapp.log.database import open_database  # noqa: E402
from webapp.log.tables import create_tables, first_id, new_id, predictions, reviews, sample_members, samples  # noqa: E402  # noqa: E402

MONDAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HELD_OUT, MODELS = 3436, 2000  # messages at training; models that are tried
EVEN, GOOD_THEN_BAD = [143] * 7, [0.99] * 5 + [0.75] * 2
BAD_THEN_GOOD = [0.75] * 5 + [0.99] * 2
UNEVEN, FALLING = [128, 383, 255, 638, 64, 1021, 511], [0.99, 0.98, 0.97, 0.95, 0.9, 0.85, 0.8]
SCENES = [  # name, messages a day, share right a day, samples as (first day, end day, size, part of it reviewed)
    ("one sample of 200 of 1,001", EVEN, GOOD_THEN_BAD, [(0, 7, 200, 1)]),
    ("half of a sample of 400 reviewed", EVEN, GOOD_THEN_BAD, [(0, 7, 400, 0.5)]),
    ("7 days 400, then the last 2 days 200", EVEN, GOOD_THEN_BAD, [(0, 7, 400, 1), (5, 7, 200, 1)]),
    ("the last 2 days 200, then 7 days 400", EVEN, GOOD_THEN_BAD, [(5, 7, 200, 1), (0, 7, 400, 1)]),
    ("7 days 500, then all of the last 2 days", EVEN, GOOD_THEN_BAD, [(0, 7, 500, 1), (5, 7, 286, 1)]),
    ("the same, better on the last 2 days", EVEN, BAD_THEN_GOOD, [(0, 7, 500, 1), (5, 7, 286, 1)]),
    ("uneven days: 7 days 200, then 2 days 200", UNEVEN, FALLING, [(0, 7, 200, 1), (5, 7, 200, 1)]),
    ("uneven days: half of 400, then half of 200", UNEVEN, FALLING, [(0, 7, 400, 0.5), (5, 7, 200, 0.5)]),
    ("the same week twice, 200 each", UNEVEN, FALLING, [(0, 7, 200, 1), (0, 7, 200, 1)]),
    ("the last 2 days alone, all reviewed", EVEN, [0.9] * 7, [(5, 7, 286, 1)]),
    ("300 messages, 200 reviewed", [43] * 7, GOOD_THEN_BAD, [(0, 7, 200, 1)]),
    ("300 messages, all reviewed", [43] * 7, GOOD_THEN_BAD, [(0, 7, 301, 1)]),
]


def main(repetitions: int) -> None:
    """Print the tables."""
    print(f"{repetitions} repetitions")
    print("| samples | truth | bias, points | interval holds the truth | its width, points |\n|-|-|-|-|-|")
    for name, counts, shares, drawn in SCENES:
        with week(counts, shares) as (engine, truth):
            value = float(np.mean(list(truth.values())))
            found = [repeat(engine, truth, drawn, seed) for seed in range(repetitions)]
        bias = 100 * (np.mean([one["value"] for one in found]) - value)
        holds = np.mean([one["low"] - 1e-4 <= value <= one["high"] + 1e-4 for one in found])
        width = 100 * np.mean([one["high"] - one["low"] for one in found])
        print(f"| {name} | {value:.3f} | {bias:+.2f} | {holds:.1%} | {width:.1f} |", flush=True)
    print(f"\n| reviews | right at training | called worse, {MODELS:,} models that are as good |\n|-|-|-|")
    random = np.random.default_rng(0)
    for n in (10, 30, 50, 100, 200, 500):
        for right in (0.98, 0.9):
            now, then = random.binomial(n, right, MODELS), random.binomial(HELD_OUT, right, MODELS)
            worse = np.mean([is_worse(a, n, b, HELD_OUT) for a, b in zip(now.tolist(), then.tolist(), strict=True)])
            print(f"| {n} | {right} | {worse:.1%} |", flush=True)


@contextmanager
def week(counts: list[int], shares: list[float]) -> Iterator[tuple[sa.Engine, dict[str, bool]]]:
    """Yield a log with so many messages a day, and of each whether the model is right on it."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(None, Path(folder))
        create_tables(engine)
        rows, truth = [], {}
        for day, (count, share) in enumerate(zip(counts, shares, strict=True)):
            for number in range(count):
                at = MONDAY + day * DAY + DAY * number / count
                row = {"id": first_id(at)[:14] + new_id()[14:], "created_at": at, "source": "api", "label": "ham"}
                rows.append(row | {"spam_probability": 0.1, "threshold": 0.4, "model_version": "v", "latency_ms": 1.0})
                truth[row["id"]] = number < round(share * count)
        with engine.begin() as connection:
            connection.execute(sa.insert(predictions), rows)
        yield engine, truth
        engine.dispose()


def repeat(engine: sa.Engine, truth: dict[str, bool], drawn: list[tuple[int, int, int, float]], seed: int):
    """Draw and review the samples anew and return the accuracy of the week."""
    with engine.begin() as connection:
        for table in (reviews, sample_members, samples):
            connection.execute(sa.delete(table))
    for number, (first, end, size, part) in enumerate(drawn):
        sample = draw(engine, MONDAY + first * DAY, MONDAY + end * DAY, size, 1000 * seed + number)
        query = sa.select(sample_members.c.prediction_id).where(sample_members.c.sample_id == sample)
        with engine.begin() as connection:
            members = connection.execute(query.order_by(sample_members.c.position)).scalars().all()
            rows = [
                {"id": new_id(), "created_at": MONDAY, "prediction_id": id_, "reviewer": "web:1", "queue": "random"}
                | {"true_label": "ham" if truth[id_] else "spam"}
                for id_ in members[: round(part * len(members))]
            ]
            connection.execute(sa.insert(reviews), rows)
    return accuracy(reached_members(engine, MONDAY, MONDAY + 7 * DAY), len(truth))["accuracy"].model_dump()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)

"""A simulated month: the traffic drifts, people review 20 messages a day, and the model is retrained every week.

    python benchmarks/month.py

Takes the project's own set, without its test part. The start is a model fitted on 400 of the messages in the old
style. Traffic is the rest of them, then ever more modern ones; no message comes twice, or as a copy. Each day 20
messages, drawn at random, are reviewed in a real log, and after each week the version is corrected (`retrain`), or
fitted anew (`train --with-reviews`, with the file of the start). Every message is judged before anything is fitted on
it. Writes results.json and docs/lifecycle.svg; docs/lifecycle.md has the words. A few minutes.
"""

import csv
import datetime as dt
import random
import sys
import tempfile
from pathlib import Path

import numpy as np
import sqlalchemy as sa
from jinja2 import Environment, FileSystemLoader

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from results import save  # noqa: E402

from webapp.config import PROJECT_SET  # noqa: E402
from webapp.errors import BadData  # noqa: E402
from webapp.extras.lifecycle.retraining import gather, retrain, reviews_to_learn  # noqa: E402
from webapp.extras.monitor.charts import chart  # noqa: E402
from webapp.extras.review.reviews import give_review  # noqa: E402
from webapp.inference import Inference  # noqa: E402
from webapp.log.database import open_database  # noqa: E402
from webapp.log.tables import create_tables, predictions  # noqa: E402
from webapp.log.writer import LogWriter  # noqa: E402
from webapp.model import artifact, training  # noqa: E402
from webapp.model.data import Example, drop_copies, read_labelled  # noqa: E402
from webapp.model.labels import SPAM_OR_HAM  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

DAYS, A_DAY, REVIEWED = 28, 50, 20
MODERN = (0.0, 0.3, 0.6, 0.9)  # share of the modern messages, week by week
START = 400  # messages
SEEDS = 6
WAYS = {"without": "without the loop", "correction": "corrected", "anew": "fitted anew"}


def main() -> None:
    """Simulate, save and draw."""
    right = {way: np.zeros((SEEDS, DAYS)) for way in WAYS}
    refused = dict.fromkeys(WAYS, 0)
    for seed in range(SEEDS):
        for way in WAYS:
            with tempfile.TemporaryDirectory() as folder:
                right[way][seed], times = month(Path(folder), seed, way)
            refused[way] += times
            print(seed, way, right[way][seed].reshape(4, -1).mean(axis=1).round(3), f"refused {times}", flush=True)
    # Days of a seed are alike, so the doubt is that over seeds: twice the standard error of their mean.
    weeks = {
        way: [
            {"accuracy": round(part.mean(), 4), "half_width": round(2 * part.std(ddof=1) / SEEDS**0.5, 4)}
            for part in share.reshape(SEEDS, 4, -1).mean(axis=2).T
        ]
        for way, share in right.items()
    }
    days = [{"label": f"day {day + 1}"} | {way: right[way][:, day].mean() for way in WAYS} for day in range(DAYS)]
    save(month={"seeds": SEEDS, "a_day": A_DAY, "reviewed_a_day": REVIEWED, "weeks": weeks, "refused": refused})
    (ROOT / "docs" / "lifecycle.svg").write_text(draw(days))


def month(folder: Path, seed: int, way: str) -> tuple[np.ndarray, int]:
    """Return the share of right verdicts of each day, shape (DAYS,), and how often a new version was refused."""
    start, days = traffic(seed)
    data = folder / "data"
    data.mkdir()
    with (data / "start.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("label", "text"), *(("spam" if one.is_spam else "ham", one.text) for one in start)]
        )
    registry = ModelRegistry(folder / "saved_models")
    first = training.train([read_labelled(data / "start.csv")])
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    registry.use(artifact.save(registry.folder, first.pipeline, first.card, "joblib", now, first.learnt))
    engine = open_database(None, folder)
    create_tables(engine)
    inference = Inference(registry, LogWriter(engine))
    shares, refused = [], 0
    for day, messages in enumerate(days, start=1):
        rows = inference.score([one.text for one in messages], "api", registry.current())
        shares.append(
            np.mean([(row["label"] == "spam") == one.is_spam for row, one in zip(rows, messages, strict=True)])
        )
        if way == "without":
            continue
        inference.log.add(predictions, rows[:REVIEWED])  # the order is random
        for row, one in zip(rows[:REVIEWED], messages, strict=False):
            give_review(engine, row["id"], "web:simulated", "spam" if one.is_spam else "ham", "random")
        if day % 7 == 0 and day < DAYS:
            try:
                registry.use(new_version(engine, registry, data / "start.csv", way))
            except BadData as error:
                print(error)
                refused += 1
    engine.dispose()
    return np.array(shares), refused


def new_version(engine: sa.Engine, registry: ModelRegistry, start: Path, way: str) -> str:
    """Make a version of what was reviewed so far, as `retrain` or as `train --with-reviews` does; return its name."""
    for one in gather(engine, registry, registry.current_version()).unconfirmed:  # looked at once more
        give_review(engine, one.prediction_id, "web:simulated", one.true_label, "confirm")
        give_review(engine, one.prediction_id, "web:again", one.true_label, "confirm")
    if way == "correction":
        return retrain(engine, registry)[0]
    reviews = reviews_to_learn(engine, registry, SPAM_OR_HAM)
    fitted = training.train([reviews, read_labelled(start)], weights={reviews.name: training.REVIEW_WEIGHT})
    now = dt.datetime.now(dt.UTC)
    return artifact.save(registry.folder, fitted.pipeline, fitted.card, "joblib", now, fitted.learnt)


def traffic(seed: int) -> tuple[list[Example], list[list[Example]]]:
    """Return the messages that the start is fitted on, and those of each day, in random order."""
    examples = [example for example in drop_copies(read_labelled(PROJECT_SET).examples) if example.part == "train"]
    random.Random(seed).shuffle(examples)
    old, modern = (iter([one for one in examples if one.source == source]) for source in ("old_style", "messages"))
    start = [next(old) for _ in range(START)]
    days = []
    for day in range(DAYS):
        many = round(A_DAY * MODERN[day // 7])
        messages = [next(modern) for _ in range(many)] + [next(old) for _ in range(A_DAY - many)]
        random.Random(f"{seed} {day}").shuffle(messages)
        days.append(messages)
    return start, days


def draw(days: list[dict[str, object]]) -> str:
    """Return the figure as the pages draw it, with the colours that it has there."""
    colours = {"without": "muted", "correction": "warn", "anew": "accent"}
    laid = chart(
        "Share of messages judged rightly",
        days,
        help="",
        lines=[(way, name, colours[way]) for way, name in WAYS.items()],
        unit="%",
        lowest=0.5,
        highest=1,
    )
    pages = Environment(loader=FileSystemLoader(ROOT / "templates"))
    pages.filters["word"] = str  # spam and ham, as everywhere in this project
    figure = str(pages.get_template("charts.html").module.draw(laid))
    svg = figure[figure.index("<svg") : figure.index("</svg>")]
    style = """<style>
text { font: 12px system-ui, sans-serif; fill: #57606a }
.grid { stroke: #d0d7de } .hit { fill: transparent } .stroke { fill: none; stroke-width: 2 }
.stroke.accent { stroke: #2f6fdf } .fill.accent { fill: #2f6fdf }
.stroke.warn { stroke: #b35900 } .fill.warn { fill: #b35900 }
.stroke.muted { stroke: #57606a; stroke-dasharray: 4 3 } .fill.muted { fill: #57606a }
@media (prefers-color-scheme: dark) {
text { fill: #9da7b1 } .grid { stroke: #3d444d }
.stroke.accent { stroke: #6ea8fe } .fill.accent { fill: #6ea8fe }
.stroke.warn { stroke: #f0a050 } .fill.warn { fill: #f0a050 }
.stroke.muted { stroke: #9da7b1 } .fill.muted { fill: #9da7b1 } }
.stroke.dots { stroke-width: 5; stroke-linecap: round; stroke-dasharray: none }
</style>"""
    lines = [line.strip() for line in svg.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1).splitlines()]
    return "\n".join([lines[0], style, *(line for line in lines[1:] if line), "</svg>"]) + "\n"


if __name__ == "__main__":
    main()

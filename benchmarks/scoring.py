"""How much faster is the sum of terms than Pipeline.predict_proba, and does its time grow with the length alone?

    make bench

First both score the same messages in turn, in one process; printed is the median over the rounds, and the ratio
round by round, because the machine's speed may drift. Then texts made to keep the regular expressions busy are scored
at 1,000 and at 10,000 characters: a ratio near 10 is linear.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.model.registry import ModelRegistry  # noqa: E402
from webapp.model.spam_model import SpamModel  # noqa: E402

ROUNDS = 15
MESSAGES = 300


NASTY = [
    "a-",
    "1,",
    "1 ",
    "a.",
    "a@",
    "(",
    "£",
    "£1 ",
    "x.y",
    "http:// ",
    "www.",
    "1.1:",
    "a'",
    "a b ",
    "0\n",
    "/a1",
    "word ",
]


def main() -> None:
    """Print the two tables."""
    model = ModelRegistry(ROOT / "saved_models").current()
    compare(model)
    grow(model)


def compare(model: SpamModel) -> None:
    """Print both times for one message and their ratio."""
    with open(ROOT / "webapp" / "model" / "messages.csv", newline="", encoding="utf-8") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    texts = texts[:: max(1, len(texts) // MESSAGES)][:MESSAGES]
    for text in texts:
        expected = model.pipeline.predict_proba([text])[0, 1]
        assert abs(model.score(text).spam_probability - expected) < 1e-9

    ours, theirs = [], []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for text in texts:
            model.score(text)
        ours.append((time.perf_counter() - started) / len(texts))
        started = time.perf_counter()
        for text in texts:
            model.pipeline.predict_proba([text])
        theirs.append((time.perf_counter() - started) / len(texts))
    ratios = [slow / fast for slow, fast in zip(theirs, ours, strict=True)]
    print(f"model {model.version}, {len(texts)} messages of webapp/model/messages.csv, {ROUNDS} rounds, medians")
    print(f"SpamModel.score          {statistics.median(ours) * 1e6:7.0f} us a message, with explanation")
    print(f"Pipeline.predict_proba   {statistics.median(theirs) * 1e6:7.0f} us a message")
    print(f"ratio                    {statistics.median(ratios):7.1f}   ({min(ratios):.1f} to {max(ratios):.1f})")


def grow(model: SpamModel) -> None:
    """Print how the time grows when the text becomes ten times as long."""

    def seconds(text: str) -> float:
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            model.score(text)
            times.append(time.perf_counter() - started)
        return statistics.median(times)

    print("\ntext repeated      1,000 characters   10,000 characters   ratio")
    for piece in NASTY:
        short, long = seconds(piece * (1_000 // len(piece))), seconds(piece * (10_000 // len(piece)))
        print(f"{piece!r:16} {short * 1e3:12.2f} ms {long * 1e3:16.2f} ms {long / short:10.1f}")


if __name__ == "__main__":
    main()

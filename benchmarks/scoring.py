"""How much faster is the sum of terms than Pipeline.predict_proba, for one message at a time?

    make bench

Both score the same messages in turn, in one process; printed is the median over the rounds, and the ratio round by
round, because the machine's speed may drift.
"""

import csv
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.model.registry import ModelRegistry  # noqa: E402

ROUNDS = 15
MESSAGES = 300


def main() -> None:
    """Print both times and their ratio."""
    model = ModelRegistry(ROOT / "saved_models").current()
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


if __name__ == "__main__":
    main()

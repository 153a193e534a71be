"""How much faster is the sum of terms than Pipeline.predict_proba, and does its time grow with the length alone?

    python benchmarks/scoring.py        (part of `make bench`)

First both score the same messages in turn, in one process; printed is the median over the rounds, and the ratio
round by round, because the machine's speed may drift. Then an ordinary text, and texts made to keep the regular
expressions busy, are scored at 10 to 10,000 characters: ten times the length must take about ten times the time.
"""

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.servers import messages  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402
from webapp.model.scoring import SpamModel  # noqa: E402

ROUNDS = 15
LENGTHS = (10, 100, 1_000, 10_000)
ORDINARY = "Are we still on for lunch tomorrow? I could be there by one, call me. "
NASTY = "a- 1, 1_ a. a@ ( £ £1_ x.y http://_ www. 1.1: a' a_b_ 0\n /a1 word_"


def main() -> None:
    """Print the two tables."""
    model = ModelRegistry(ROOT / "saved_models").current()
    results.save(scoring=compare(model))
    grow(model)


def compare(model: SpamModel) -> dict[str, float]:
    """Print and return both times for one message and their ratio."""
    texts = messages()
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
    score_us, predict_proba_us, ratio = (
        round(statistics.median(values) * scale, 2) for values, scale in ((ours, 1e6), (theirs, 1e6), (ratios, 1))
    )
    print(f"\nmodel {model.version}, {len(texts)} messages of webapp/model/messages.csv, {ROUNDS} rounds, medians")
    print(f"HamletModel.score        {score_us:7.0f} us a message, with explanation")
    print(f"Pipeline.predict_proba   {predict_proba_us:7.0f} us a message")
    print(f"ratio                    {ratio:7.1f}   ({min(ratios):.1f} to {max(ratios):.1f})")
    return {"score_us": score_us, "predict_proba_us": predict_proba_us, "score_ratio": ratio}


def grow(model: SpamModel) -> None:
    """Print the microseconds for texts of different lengths, and the ratio of the last two."""

    def microseconds(text: str) -> float:
        times = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            model.score(text)
            times.append((time.perf_counter() - started) * 1e6)
        return statistics.median(times)

    print("\nus for a text of" + "".join(f"{length:10,}" for length in LENGTHS) + " characters    last / last but one")
    for piece in [ORDINARY, *(piece.replace("_", " ") for piece in NASTY.split(" "))]:
        times = [microseconds((piece * (length // len(piece) + 1))[:length]) for length in LENGTHS]
        shown = repr(piece if len(piece) < 10 else "an ordinary one")
        print(f"{shown:16}" + "".join(f"{time:10.0f}" for time in times) + f"{times[-1] / times[-2]:26.1f}")


if __name__ == "__main__":
    main()

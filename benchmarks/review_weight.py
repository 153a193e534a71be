"""How much a review is to count when a model is corrected: the table of docs/lifecycle.md.

    python benchmarks/review_weight.py FOLDER      with the public training files of docs/model.md; 10 minutes

Half of the kinds of modern messages are taken out of the project's training part, and a fifth of the files.
A model is fitted on the rest. Then n of what was taken out, half of it messages of those kinds, half SMS, are the
reviews, and the others show what they changed. No message of a test part is read. Twice, with other kinds.
"""

import csv
import hashlib
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from sklearn.pipeline import Pipeline

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.config import PROJECT_SET  # noqa: E402
from webapp.extras.lifecycle.retraining import fine_tune  # noqa: E402
from webapp.model import training  # noqa: E402
from webapp.model.data import Example, drop_copies, read_labelled  # noqa: E402
from webapp.model.scoring import make_model  # noqa: E402

SMS = ("uci_sms", "mendeley_sms", "india_sms")
WEIGHTS = {"old_style": 0.1}  # as the shipped model's
THRESHOLD = 0.7
CORRECTIONS = {
    "reviews alone": {"own": False},
    "own set by what the model said (chosen)": {},
    "each counts 1": {"weight": 1},
    "each counts 10": {"weight": 10},
    "prior precision .05": {"prior_precision": 0.05},
    "prior precision 1": {"prior_precision": 1},
    "prior precision 5": {"prior_precision": 5},
}
Parts = dict[str, list[Example]]


def main() -> None:
    """Print the change of accuracy in percentage points, a line for each way."""
    files = [
        e for name in (*SMS, "youtube", "spamassassin") for e in _examples(Path(sys.argv[1]) / f"{name}_train.csv.gz")
    ]
    print(f"{'':58}{'new kinds':>12}{'SMS':>12}{'known kinds':>12}")
    compare(
        "correction",
        files,
        {(name, 560): _correction(**how) for name, how in CORRECTIONS.items()}
        | {(name, n): _correction(**CORRECTIONS[name]) for n in (200, 50) for name in list(CORRECTIONS)[:2]},
    )


def compare(title: str, files: Sequence[Example], ways: dict[tuple[str, int], Callable[..., Pipeline]]) -> None:
    """Try each way on two divisions of the messages and print what it changed."""
    changes: dict[tuple[str, int], list[list[float]]] = {way: [] for way in ways}
    for seed in (1, 2):
        parts = divide(files, seed)
        first = training.fit(parts["fitted"], WEIGHTS)
        before = [_accuracy(first, parts[name]) for name in ("new", "sms", "known")]
        for (name, n), fit in ways.items():
            reviews = [
                e._replace(source="reviews") for e in parts["new reviews"][: n // 2] + parts["sms reviews"][: n // 2]
            ]
            now = fit(first, parts, reviews)
            changes[name, n].append(
                [_accuracy(now, parts[p]) - b for p, b in zip(("new", "sms", "known"), before, strict=True)]
            )
    for (name, n), change in changes.items():
        print(
            f"{title + ', ' + name:48}{n:>4} rev." + "".join(f"{100 * c:>+12.1f}" for c in np.mean(change, axis=0)),
            flush=True,
        )
        print(f"{'':20}each division: " + str((100 * np.array(change)).round(1).tolist()))


def divide(files: Sequence[Example], seed: int) -> Parts:
    """Return what is fitted, what is reviewed, and what is judged; no message is in two of them."""
    with PROJECT_SET.open() as rows:
        kinds = {row["text"].strip(): row["kind"] for row in csv.DictReader(rows)}
    own = [example for example in _examples(PROJECT_SET) if example.part == "train"]
    is_modern = {e: e.source == "messages" for e in own}
    new = [e for e in own if is_modern[e] and _tenth(kinds[e.text], seed) < 5]
    known = [e for e in own if not (is_modern[e] and _tenth(kinds[e.text], seed) < 5)]
    judged = [e for e in known if is_modern[e] and _tenth(e.text, seed) >= 8]
    sms = [e for e in files if e.source in SMS and _tenth(e.text, seed) >= 8]
    for part in (new, sms):
        random.Random(seed).shuffle(part)
    held = set(judged)
    kept = [e for e in known if e not in held]
    return {
        "own": kept,
        "fitted": drop_copies([*kept, *(e for e in files if _tenth(e.text, seed) < 8)]),
        "new reviews": new[:300],
        "sms reviews": sms[:300],
        "new": new[300:],
        "sms": sms[300:],
        "known": judged,
    }


def _correction(weight: float = 3, own: bool = True, prior_precision: float = 0.2):
    def fit(first: Pipeline, parts: Parts, reviews: list[Example]) -> Pipeline:
        anchors = {example.text: WEIGHTS.get(example.source, 1) for example in parts["own"]} if own else {}
        return fine_tune(make_model(first, "first", THRESHOLD), reviews, anchors, weight, prior_precision)

    return fit


def _examples(path: Path) -> list[Example]:
    return read_labelled(path).examples


def _tenth(key: str, seed: int) -> int:
    return int(hashlib.sha256(f"{seed}:{key}".encode()).hexdigest(), 16) % 10


def _accuracy(pipeline: Pipeline, examples: Sequence[Example]) -> float:
    probability = pipeline.predict_proba([e.text for e in examples])[:, list(pipeline.classes_).index("spam")]
    return float(((probability >= THRESHOLD) == np.array([e.is_spam for e in examples])).mean())


if __name__ == "__main__":
    main()

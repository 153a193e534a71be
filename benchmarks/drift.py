"""How often do the drift tests alarm: where nothing has changed, and where something has?

    python benchmarks/drift.py DATA        DATA: the folder that `make model` is given

Fits the model on the training parts, as `make model` does, and looks at held-out messages only. In each repetition a
window is drawn from them, then a reference of up to 1,000 from what is left: no message is ever in both. Takes about
ten minutes; docs/monitoring.md has the results.
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.extras.monitor.drift import DRIFTED, Window, drift  # noqa: E402
from webapp.extras.review.accuracy import wilson  # noqa: E402
from webapp.model import training  # noqa: E402
from webapp.model.data import Example, drop_copies, read_labelled, split  # noqa: E402
from webapp.model.reference import observe  # noqa: E402
from webapp.model.scoring import SpamModel, make_model  # noqa: E402

SMS = ("uci_sms", "mendeley_sms", "india_sms")
SETS = (*SMS, "youtube", "spamassassin")
WEIGHTS, THRESHOLD = {"old_style": 0.1}, 0.4  # as in the Makefile
REPETITIONS = 500
REFERENCE = 1000
NAMES = ("spam_probability", "length", "unknown_term_share", "called_spam", "all_traits")

random = np.random.default_rng(0)


def main(data: Path) -> None:
    """Print the table."""
    files = [data / f"{name}_{part}.csv.gz" for name in SETS for part in ("train", "public")]
    files.append(ROOT / "webapp" / "model" / "messages.csv")
    kept = drop_copies([example for file in files for example in read_labelled(file).examples])
    learnt, held_out = split(kept)
    unseen = {
        name: drop_copies([*kept, *read_labelled(data / f"{name}_public.csv.gz").examples])[len(kept) :]
        for name in ("smishtank", "enron")
    }
    model = make_model(training.fit(learnt, WEIGHTS), "measured", THRESHOLD)

    # Every message is a row, and a pool is an array of row numbers.
    messages = [*held_out, *unseen["smishtank"], *unseen["enron"]]
    traits = measure(model, messages)
    held, smishtank, enron = np.split(
        np.arange(len(messages)), [len(held_out), len(held_out) + len(unseen["smishtank"])]
    )
    source = np.array([example.source for example in held_out])
    sms, youtube, mail = (np.flatnonzero(np.isin(source, names)) for names in (SMS, ["youtube"], ["spamassassin"]))

    one, other = np.array_split(random.permutation(held), 2)
    served = make_model(training.fit([*learnt, *(held_out[i] for i in one)], WEIGHTS), "served", THRESHOLD)
    as_served = np.arange(len(traits), len(traits) + len(other))
    traits = np.vstack([traits, measure(served, [held_out[i] for i in other])])

    print(f"{len(held):,} held-out messages, {len(sms):,} of them SMS; {REPETITIONS} windows a line\n")
    print("| reference | window | n | alarms | 95 % interval |", " | ".join(NAMES), "|")
    print("|---|---|---|---|---|" + "---|" * len(NAMES))
    for n in (200, 50, 100, 1000):
        row(traits, "all held-out", held, "the same", (held, n))
    row(traits, "SMS", sms, "the same", (sms, 200))
    row(traits, "one half of all held-out", one, "the other half", (other, 200))
    row(traits, "the same half", one, "the other half, by a model that has learnt the first", (as_served, 200))
    for name, reference in (("all held-out", held), ("SMS", sms)):
        row(traits, name, reference, "YouTube comments", (youtube, 200))
        row(traits, name, reference, "SpamAssassin mail", (mail, 200))
        row(traits, name, reference, "Enron mail", (enron, 200))
    row(traits, "all held-out", held, "SMS, 30 % of SmishTank", (sms, 140), (smishtank, 60))
    row(traits, "SMS", sms, "SMS, 30 % of SmishTank", (sms, 140), (smishtank, 60))
    row(traits, "SMS", sms, "SMS, 20 % of SmishTank", (sms, 160), (smishtank, 40))
    row(traits, "SMS", sms, "SMS, 10 % of SmishTank", (sms, 180), (smishtank, 20))


def measure(model: SpamModel, examples: list[Example]) -> np.ndarray:
    """Return the traits of messages, shape (messages, TRAITS)."""
    return np.array([observe(model, example.text).traits for example in examples])


def row(traits: np.ndarray, name: str, reference: np.ndarray, window_name: str, *parts: tuple[np.ndarray, int]) -> None:
    """Print how many windows alarm; each is drawn from pools of messages, so many from each."""
    alarms = []
    for _ in range(REPETITIONS):
        chosen = np.concatenate([random.choice(pool, n, replace=False) for pool, n in parts])
        rest = random.permutation(np.setdiff1d(reference, chosen))[:REFERENCE]
        tests = drift(window(traits[rest]), window(traits[chosen]))["tests"]
        alarms.append([test["state"] == DRIFTED for test in tests])
    by_test = np.mean(alarms, axis=0)
    share = np.any(alarms, axis=1)
    low, high = wilson(share.sum(), len(share))
    cells = [name, window_name, f"{sum(n for _, n in parts)}", f"{share.mean():.1%}", f"{low:.1%} to {high:.1%}"]
    print("|", " | ".join([*cells, *(f"{part:.1%}" for part in by_test)]), "|", flush=True)


def window(traits: np.ndarray) -> Window:
    """Return rows as a window, called spam as the threshold says."""
    return Window(traits, traits[:, 0] >= THRESHOLD)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""How often does the drift test alarm: where nothing has changed, and where something has?

    python benchmarks/drift.py DATA [WINDOWS]      DATA: the folder that `make model` is given

Fits the model on the training parts, as `make model` does, and looks at held-out messages only. In each repetition a
window is drawn from them, then a reference of up to 1,000 from what is left: no message is ever in both. With 100
windows a line, some ten minutes; docs/monitoring.md has the results.
"""

import datetime as dt
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.extras.monitor import drift as monitor  # noqa: E402
from webapp.log.tables import first_id  # noqa: E402
from webapp.model import training  # noqa: E402
from webapp.model.data import Example, drop_copies, read_labelled, split  # noqa: E402
from webapp.model.evaluation import wilson  # noqa: E402
from webapp.model.scoring import SpamModel  # noqa: E402

SMS = ("uci_sms", "mendeley_sms", "india_sms")
SETS = (*SMS, "youtube", "spamassassin")
WEIGHTS, THRESHOLD = {"old_style": 0.1}, 0.7  # as in the Makefile
REFERENCE = 1000
MONDAY = dt.datetime(2026, 3, 2, tzinfo=dt.UTC)
random = np.random.default_rng(0)


class Messages:
    """Held-out messages, of which windows are made; a pool is an array of their numbers."""

    def __init__(self, model: SpamModel, examples: list[Example], windows: int):
        self.texts = [example.text for example in examples]
        self.probability = model.spam_probabilities(self.texts)
        self.source = np.array([example.source for example in examples])
        self.windows = windows

    def pool(self, *sources: str) -> np.ndarray:
        return np.flatnonzero(np.isin(self.source, sources))

    def window(self, places: np.ndarray, at_once: int, personal: bool) -> np.ndarray:
        """Return the features of messages, copies dropped as on the page; a personal one has a name and a link."""
        texts = [f"Hi {name()}, {self.texts[at]} www.{name()}.top" if personal else self.texts[at] for at in places]
        found = [monitor.extract(text) for text in texts]
        kept = monitor.drop_copies([one.terms or {text} for one, text in zip(found, texts, strict=True)], at_once)
        said = [(self.probability[at], self.probability[at] >= THRESHOLD) for at in places]
        return np.array([(*said[at], *found[at].values) for at in kept], dtype=float)

    def line(self, what: str, n: int, make, personal: bool = False) -> None:
        """Print how many windows alarm; `make` returns (reference, window)."""
        count = 0
        for _ in range(self.windows):
            sides = make()
            at_once = min(map(len, sides))
            count += (
                monitor.drift(*(self.window(side, at_once, personal) for side in sides))["state"] == monitor.DRIFTED
            )
        low, high = wilson(count, self.windows)
        print(f"| {what} | {n} | {count / self.windows:.0%} ({100 * low:.0f}-{100 * high:.0f}) |", flush=True)


def name() -> str:
    """Return six letters."""
    return "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 6))


def main(data: Path, windows: int) -> None:
    """Print the tables."""
    files = [data / f"{name}_{part}.csv.gz" for name in SETS for part in ("train", "public")]
    files.append(ROOT / "webapp" / "model" / "messages.csv")
    kept = drop_copies([example for file in files for example in read_labelled(file).examples])
    learnt, held_out = split(kept)
    smishtank = drop_copies([*kept, *read_labelled(data / "smishtank_public.csv.gz").examples])[len(kept) :]
    model = SpamModel(training.fit(learnt, WEIGHTS), "measured", THRESHOLD)
    messages = Messages(model, [*held_out, *smishtank], windows)
    everything, sms, services = np.arange(len(held_out)), messages.pool(*SMS), messages.pool("messages")

    print(f"{windows} windows a line\n| window | messages | alarms |\n|-|-|-|")
    for what, pool in (("SMS", sms), ("all held-out", everything)):
        for n in (50, 100, 200, 500):
            messages.line(f"unchanged: {what}", n, lambda n=n, pool=pool: mix(pool, (pool, n)))
    for what, other, part in (
        ("YouTube comments", messages.pool("youtube"), 0.2),
        ("YouTube comments", messages.pool("youtube"), 0.3),
        ("mail", messages.pool("spamassassin"), 0.1),
        ("SmishTank phishing", messages.pool("smishtank"), 0.2),
        ("SmishTank phishing", messages.pool("smishtank"), 0.1),
    ):
        for n in (100, 200, 500):
            new = round(part * n)
            messages.line(
                f"SMS, {part:.0%} {what}", n, lambda n=n, new=new, other=other: mix(sms, (sms, n - new), (other, new))
            )
    for share, size, personal in ((0.1, 20, False), (0.3, 20, False), (0.5, 5, False), (0.1, 20, True)):
        for n in (100, 200, 500):
            messages.line(
                f"unchanged, {share:.0%} in bursts of {size}" + personal * ", each with another name and link",
                n,
                lambda n=n, share=share, size=size: bursts(everything, n, share, size),
                personal,
            )
    for n in (100, 200, 500):
        messages.line("unchanged: SMS, half are copies of 20 of services", n, lambda n=n: templates(sms, services, n))
    week = Week(messages.pool("messages", "india_sms"), messages.pool("uci_sms"))
    for what, hours in (
        ("a whole day", range(72, 96)),
        ("8 to 16 h of a day", range(80, 88)),
        ("a weekend", range(120, 168)),
        ("Friday noon to Sunday noon", range(108, 156)),
    ):
        for is_like, words in ((False, "all hours"), (True, "like hours")):
            messages.line(
                f"unchanged: {what} against the week, {words}",
                200,
                lambda hours=hours, is_like=is_like: week.draw(hours, 200, is_like),
            )


def mix(reference: np.ndarray, *parts: tuple[np.ndarray, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference and a window of so many messages of each pool."""
    chosen = np.concatenate([random.choice(pool, n, replace=False) for pool, n in parts])
    return random.permutation(np.setdiff1d(reference, chosen))[:REFERENCE], chosen


def bursts(pool: np.ndarray, n: int, share: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample of a long stream, and a window of n of it, where a share comes in bursts of copies of one."""

    def stream(length: int) -> np.ndarray:
        of_bursts = share / size / (share / size + 1 - share)
        heads = random.choice(pool, 2 * length)
        return np.repeat(heads, np.where(random.random(len(heads)) < of_bursts, size, 1))[:length]

    sample = np.sort(random.choice(10 * REFERENCE, REFERENCE, replace=False))
    return stream(10 * REFERENCE)[sample], stream(n)


def templates(pool: np.ndarray, services: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a reference and a window of n, of both of which half are copies of 20 messages that always come."""
    known = random.choice(services, 20)
    reference, current = (
        np.where(random.random(size) < 0.5, random.choice(known, size), random.choice(pool, size))
        for size in (REFERENCE, n)
    )
    return reference, current


class Week:
    """A week of services by day (70 %; 30 % at night, 30 % on weekends) and of people otherwise."""

    def __init__(self, services: np.ndarray, people: np.ndarray):
        self.services, self.people = services, people

    def draw(self, hours: range, n: int, is_like: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return a reference of a whole week, of like hours alone if so, and a window of n of other messages."""
        halves = [np.array_split(random.permutation(pool), 2) for pool in (self.services, self.people)]
        reference, current = random.integers(0, 168, 2 * REFERENCE), random.choice(hours, n)
        if is_like:
            ids = [f"{self._id(hour)}{at}" for at, hour in enumerate(reference)]
            places = {id_: at for at, id_ in enumerate(ids)}
            reference = reference[
                [places[id_] for id_ in monitor.like_hours(ids, [self._id(hour) for hour in current])]
            ]
        reference = reference[: REFERENCE // 2]  # more would hold the few messages of services again and again
        return self._fill(reference, halves[0][0], halves[1][0]), self._fill(current, halves[0][1], halves[1][1])

    def _id(self, hour: int) -> str:
        return first_id(MONDAY + dt.timedelta(hours=int(hour)))

    def _fill(self, hours: np.ndarray, services: np.ndarray, people: np.ndarray) -> np.ndarray:
        by_day = (hours < 120) & (hours % 24 >= 8) & (hours % 24 < 20)
        is_service = random.random(len(hours)) < np.where(by_day, 0.7, 0.3)
        shuffled = [np.resize(random.permutation(pool), len(hours)) for pool in (services, people)]
        return np.where(is_service, *shuffled)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)

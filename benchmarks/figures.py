"""What one Hamlet takes and gives beside its rate: start-up, memory, batches, several workers on one log.

python benchmarks/figures.py        (part of `make bench`)
"""

import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.servers import HAMLET_SERVER, Server, load, messages, running  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

ROUNDS = 5
BATCH = 1000
LOAD_S = 5


def main() -> None:
    """Measure, print, and save."""
    texts = messages()
    measured = measure(texts, writers_s=60)
    show(measured)
    results.save(figures=measured, growth=grow(texts))


def hamlet(workers: int) -> Server:
    """Return Hamlet with so many worker processes."""
    return replace(HAMLET_SERVER, environment=HAMLET_SERVER.environment | {"HAMLET_WORKERS": str(workers)})


def measure(texts: list[str], writers_s: int) -> dict[str, float]:
    """Return the medians of ROUNDS interleaved rounds, and the longest request while four workers write to one log."""
    model = ModelRegistry(ROOT / "saved_models").current()
    batch = (texts * (BATCH // len(texts) + 1))[:BATCH]
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        with running(hamlet(workers=1), pinned=False) as (one, _):
            one_process = load(one, LOAD_S, texts, pinned=False)

            def ask_batch(one=one) -> object:
                return one.ask("/api/v1/predict/batch", {"texts": batch})

            ask_batch()
            batch_ms = milliseconds(ask_batch)
        with running(hamlet(workers=2), pinned=False) as (one, start_s):
            two_processes = load(one, LOAD_S, texts, pinned=False)
            memory_mib = one.memory_mib()
        vectorised_ms = milliseconds(lambda: model.pipeline.predict_proba(batch))
        rounds.append(
            {
                "start_s": start_s,
                "memory_mib": memory_mib,
                "batch_ms": batch_ms,
                "batch_ratio": vectorised_ms / batch_ms,
                "two_processes_rate": two_processes["rate"] / one_process["rate"],
                "two_processes_p99": two_processes["p99_ms"] / one_process["p99_ms"],
            }
        )
    medians = {name: round(statistics.median(one[name] for one in rounds), 3) for name in rounds[0]}
    with running(hamlet(workers=4), pinned=False) as (one, _):
        four = load(one, writers_s, texts, pinned=False)  # it ends the program if a request fails
        missing = four["answers"] - one.rows()
    size = sum(file.stat().st_size for file in (ROOT / "saved_models" / model.version).iterdir())
    return medians | {
        "model_mib": round(size / 2**20, 2),
        "writers_s": writers_s,
        "writers_longest_ms": four["longest_ms"],
        "writers_missing_rows": max(missing, 0),
    }


def grow(texts: list[str]) -> list[dict[str, float]]:
    """Print and return how rate and latency change with the number of connections, and of worker processes."""
    lines = []
    print("\nworkers  connections  requests/s  p50 ms  p99 ms   (unpinned, medians of 3)")
    for workers, connections in ((1, 1), (1, 8), (1, 32), (1, 128), (1, 512), (2, 32), (2, 512), (4, 32)):
        rounds = []
        for _ in range(3):
            with running(hamlet(workers), pinned=False) as (one, _):
                rounds.append(load(one, LOAD_S, texts, pinned=False, connections=connections))
        medians = {name: statistics.median(one[name] for one in rounds) for name in ("rate", "p50_ms", "p99_ms")}
        lines.append({"workers": workers, "connections": connections, **medians})
        print("{workers:7}  {connections:11}  {rate:10.0f}  {p50_ms:6.1f}  {p99_ms:6.0f}".format(**lines[-1]))
    return lines


def milliseconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def show(figures: dict[str, float]) -> None:
    """Print them in words."""
    print(f"""
start to first answer, 2 workers            {figures["start_s"]:8.2f} s
memory of master and 2 workers (PSS)        {figures["memory_mib"]:8.0f} MiB
the saved model                             {figures["model_mib"]:8.2f} MiB
a request of {BATCH} messages, logged          {figures["batch_ms"]:8.0f} ms
  messages a second                         {BATCH / figures["batch_ms"] * 1000:8.0f}
  the vectorised Pipeline, which logs none  {figures["batch_ratio"]:8.2f} times as long
2 processes / 1 process, unpinned           {figures["two_processes_rate"]:8.2f} times the rate
                                            {figures["two_processes_p99"]:8.2f} times the p99
4 processes on one log, {figures["writers_s"]:3.0f} s: longest {figures["writers_longest_ms"]:9.0f} ms
  answers that are not in the log           {figures["writers_missing_rows"]:8.0f}""")


if __name__ == "__main__":
    main()

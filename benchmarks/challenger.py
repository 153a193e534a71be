"""What does a challenger cost? The time of a request with one, beside that without.

    python benchmarks/challenger.py --rounds 9 --seconds 6

One worker on one core, wrk on the other, 32 connections; the two take turns, each time with a fresh log. At full load
on one core the time that a request takes is 1 over the rate.
"""

import argparse
import dataclasses
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.servers import HAMLET_SERVER, load, messages, running  # noqa: E402
from benchmarks.versions import copy_models, make_version  # noqa: E402

GOAL = 1.25  # times as long


def main() -> None:
    """Measure in turns, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=6)
    arguments = parser.parse_args()
    texts, ratios, rates = messages(), [], []
    with tempfile.TemporaryDirectory() as name:
        models, _ = copy_models(Path(name))
        challenger = make_version(models, 0.5)
        environment = HAMLET_SERVER.environment | {"HAMLET_MODELS_FOLDER": str(models)}
        server = dataclasses.replace(HAMLET_SERVER, environment=environment)
        for number in range(arguments.rounds):
            rate = {}
            for tried in (False, True) if number % 2 else (True, False):
                if tried:
                    (models / "challenger").write_text(challenger)
                else:
                    (models / "challenger").unlink(missing_ok=True)
                with running(server) as (one, _):
                    rate[tried] = load(one, arguments.seconds, texts)["rate"]
            rates.append((rate[False], rate[True]))
            ratios.append(rate[False] / rate[True])
            print(f"requests/s without {rate[False]:.0f}, with {rate[True]:.0f}: {ratios[-1]:.2f} times as long")
    middle = statistics.median(ratios)
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}, {arguments.rounds} rounds"
    print(f"\nA request with a challenger takes {middle:.2f} times as long ({spread}); goal: at most {GOAL}.")
    figures = {
        "time_ratio": round(middle, 3),
        "time_ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "rounds": arguments.rounds,
        "rate_without": round(statistics.median(without for without, _ in rates), 1),
        "rate_with": round(statistics.median(with_one for _, with_one in rates), 1),
    }
    results.save(challenger=figures)


if __name__ == "__main__":
    main()

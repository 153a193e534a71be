"""Is a file that was killed again and again the same as one that was not?

    python benchmarks/batch_kill.py [KILLS]        20 take about five minutes

Runs flask batch --resume on a file, kills it with SIGKILL at random moments, lets it end, and compares the output with
that of a run in one go: without the log byte for byte, with the log all but the ids, which must be those in the log.
"""

import csv
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.batch import RUN, write_messages  # noqa: E402

ROWS_FOR_EACH_KILL = 20_000  # so many are done between two kills, start included


def main(kills: int) -> None:
    """Print what was found; exit with 1 if anything differs."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_messages(folder / "in.csv", kills * ROWS_FOR_EACH_KILL)
        start(folder, "whole.csv", "--no-log").wait()
        for log in ("--no-log", ""):
            target, killed, places = folder / f"killed{log}.csv", 0, []
            while not target.exists():
                process = start(folder, target.name, "--resume", *filter(None, [log]))
                if killed < kills:
                    wait_for_change(folder / f"{target.name}.partial.json", process)
                    time.sleep(chance.uniform(0, 2.5))
                    process.kill()
                    killed += process.wait() != 0
                    partial = folder / f"{target.name}.partial"
                    places.append(partial.stat().st_size if partial.exists() else 0)
                process.wait()
            print(f"{log or 'with log'}: killed {killed} times, when the output had {places} bytes")
            same = target.read_bytes() == (folder / "whole.csv").read_bytes()
            if not log:
                ours, whole = rows(target), rows(folder / "whole.csv")
                ids = [row.pop("prediction_id") for row in ours]
                same = ours == [{k: v for k, v in row.items() if k != "prediction_id"} for row in whole]
                with sqlite3.connect(folder / "log.db") as log_database:
                    logged = [id_ for (id_,) in log_database.execute("SELECT id FROM predictions ORDER BY id")]
                    same &= sorted(ids) == logged  # of two workers the second one may be the first to log its chunk
            print("the same" if same else "NOT THE SAME")
            if not same:
                sys.exit(1)


def start(folder: Path, target: str, *options: str) -> subprocess.Popen[bytes]:
    """Start the command."""
    settings = {"HAMLET_INSTANCE_FOLDER": str(folder), "HAMLET_ADMIN_PASSWORD": "benchmark only"}
    words = [str(folder / "in.csv"), str(folder / target), *options]
    return subprocess.Popen(
        [sys.executable, "-c", RUN, *words], cwd=ROOT, env=os.environ | settings, stderr=subprocess.DEVNULL
    )


def wait_for_change(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until the command has begun to work: it writes this file first."""

    def changed() -> int:
        try:
            return path.stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    before = changed()
    while changed() == before and process.poll() is None:
        time.sleep(0.01)


def rows(path: Path) -> list[dict[str, str]]:
    """Return a CSV file's rows."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)

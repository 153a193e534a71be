"""How fast does flask batch score a file, on one core and on two, and how much memory does it take?

    python benchmarks/batch.py [ROWS]        1,000,000 rows take about ten minutes

Makes a file of different messages and runs the real command on it, pinned to one core and then to two, with the log and
without. Beside it, on the same core, Pipeline.predict_proba scores the same messages in chunks of the same size: only
that, without reading, logging or writing. Times count from the first chunk done to the last, so that neither side's
start is in them. Memory is that of all processes together at their greatest: PSS counts what they share once, RSS as
often as they are.
"""

import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from webapp.batch.rows import CHUNK_ROWS  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

ROUNDS = 3
MEMORY_EVERY_S = 0.2
RUN = "import sys; from wsgi import app; sys.exit(app.cli(['batch', *sys.argv[1:]]))"


def main(rows: int) -> None:
    """Print and save the figures."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.csv"
        texts = write_messages(source, rows)
        theirs = predict_proba_rate(texts[: 20 * CHUNK_ROWS])
        measured: dict[str, object] = {"rows": rows, "mib": round(source.stat().st_size / 2**20, 1)}
        measured["predict_proba_rows_per_s"] = round(theirs)
        print(f"{rows:,} rows, {measured['mib']} MiB\n{'Pipeline.predict_proba, one core':40} {theirs:8,.0f} rows/s")
        for count in (1, 2):
            for logs in (True, False):
                rate, pss, rss = run(source, count, logs)
                name = f"{count}_core{'' if logs else '_no_log'}"
                measured[name] = {"rows_per_s": round(rate), "pss_mib": round(pss), "rss_mib": round(rss)}
                measured[name]["ratio"] = round(rate / theirs, 2)  # type: ignore[index]
                shown = f"flask batch, {count} core(s){'' if logs else ', --no-log'}"
                print(f"{shown:40} {rate:8,.0f} rows/s   x {rate / theirs:.2f}   PSS {pss:.0f} MiB, RSS {rss:.0f} MiB")
    results.save(batch=measured)


def write_messages(path: Path, rows: int) -> list[str]:
    """Write a file of different messages, the project's own with a number, and return the first of them."""
    with open(ROOT / "webapp" / "model" / "messages.csv", newline="", encoding="utf-8") as file:
        own = sorted({row["text"] for row in csv.DictReader(file)})
    first = []
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "text"])
        for number in range(rows):
            text = f"{own[number * 7919 % len(own)]} {number}"
            writer.writerow([number, text])
            if number < 20 * CHUNK_ROWS:
                first.append(text)
    return first


def predict_proba_rate(texts: list[str]) -> float:
    """Return the rows a second of the Pipeline alone, the median of ROUNDS, on core 0."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    pipeline = ModelRegistry(ROOT / "saved_models").current().pipeline
    rates = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for start in range(0, len(texts), CHUNK_ROWS):
            pipeline.predict_proba(texts[start : start + CHUNK_ROWS])
        rates.append(len(texts) / (time.perf_counter() - started))
    os.sched_setaffinity(0, allowed)
    return statistics.median(rates)


def run(source: Path, count: int, logs: bool) -> tuple[float, float, float]:
    """Return (rows a second, greatest PSS, greatest RSS in MiB) of the command on so many cores."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"HAMLET_INSTANCE_FOLDER": folder, "HAMLET_ADMIN_PASSWORD": "benchmark only"}
        words = [str(source), f"{folder}/out.csv", *([] if logs else ["--no-log"])]
        process = subprocess.Popen(
            ["taskset", "-c", f"0-{count - 1}", sys.executable, "-c", RUN, *words],
            cwd=ROOT,
            env=os.environ | settings,
            stderr=subprocess.PIPE,
            text=True,
        )
        pss = rss = 0.0
        while process.poll() is None:
            now = memory_mib(process.pid)
            pss, rss = max(pss, now[0]), max(rss, now[1])
            time.sleep(MEMORY_EVERY_S)
        said = process.communicate()[1]
        if process.returncode:
            sys.exit(said)
        return float(said.rsplit(" rows/s", 1)[0].rsplit(" ", 1)[1].replace(",", "")), pss, rss


def memory_mib(pid: int) -> tuple[float, float]:
    """Return PSS and RSS of a process and its children, MiB."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    pss = rss = 0
    for one in [str(pid), *children]:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        pss += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        rss += sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return pss / 1024, rss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000)

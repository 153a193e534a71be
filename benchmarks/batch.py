"""How fast does flask batch score a file, on one core and on two, and how much memory does it take?

    python benchmarks/batch.py [ROWS]        1,000,000 rows take about ten minutes

Makes a file of different messages and runs the real command on it, pinned to one core and then to two, with the log and
without. Beside it, on core 0, Pipeline.predict_proba scores the same messages in chunks of the same size: only that,
without reading, logging or writing, and anew before each run, as the machine's speed may drift. Rates leave the
command's start out; the CPU time is that of the whole command. Memory is that of all its processes together at their
greatest: PSS counts what they share once, RSS as often as they are.
"""

import csv
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from webapp.extras.batch.run import CHUNK_ROWS  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

ROUNDS = 3
MEMORY_EVERY_S = 0.2
RUN = "import sys; from wsgi import app; sys.exit(app.cli(['batch', *sys.argv[1:]]))"


def main(rows: int) -> None:
    """Print and save the figures."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "in.csv"
        texts = write_messages(source, rows)
        size = round(source.stat().st_size / 2**20, 1)
        print(f"{rows:,} rows, {size} MiB")
        measured: dict[str, object] = {"rows": rows, "mib": size}
        for count in (1, 2):
            for logs in (True, False):
                theirs = predict_proba(texts)
                ours = run(source, rows, count, logs)
                ours["ratio"] = round(ours["rows_per_s"] / theirs["rows_per_s"], 2)
                ours["cpu_ratio"] = round(theirs["cpu_us_per_row"] / ours["cpu_us_per_row"], 2)
                measured[f"{count}_core{'' if logs else '_no_log'}"] = ours | {"predict_proba": theirs}
                print(f"Pipeline.predict_proba: {theirs}\nflask batch, {count} core(s), log {logs}: {ours}", flush=True)
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


def predict_proba(texts: list[str]) -> dict[str, float]:
    """Return the rate of the Pipeline alone, the median of ROUNDS, on core 0."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {0})
    pipeline = ModelRegistry(ROOT / "saved_models").current().pipeline
    times, cpu_times = [], []
    for _ in range(ROUNDS):
        started, cpu_started = time.perf_counter(), time.process_time()
        for start in range(0, len(texts), CHUNK_ROWS):
            pipeline.predict_proba(texts[start : start + CHUNK_ROWS])
        times.append(time.perf_counter() - started)
        cpu_times.append(time.process_time() - cpu_started)
    os.sched_setaffinity(0, allowed)
    return {
        "rows_per_s": round(len(texts) / statistics.median(times)),
        "cpu_us_per_row": round(statistics.median(cpu_times) / len(texts) * 1e6),
    }


def run(source: Path, rows: int, count: int, logs: bool) -> dict[str, float]:
    """Return what the command takes on so many cores; memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"HAMLET_INSTANCE_FOLDER": folder, "HAMLET_ADMIN_PASSWORD": "benchmark only"}
        words = [str(source), f"{folder}/out.csv", *([] if logs else ["--no-log"])]
        cpu_before = cpu_of_children()
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
        return {
            "rows_per_s": int(said.rsplit(" rows/s", 1)[0].rsplit(" ", 1)[1].replace(",", "")),
            "cpu_us_per_row": round((cpu_of_children() - cpu_before) / rows * 1e6),
            "pss_mib": round(pss),
            "rss_mib": round(rss),
        }


def cpu_of_children() -> float:
    """Return the CPU seconds of all child processes that have ended, and of their own children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def memory_mib(pid: int) -> tuple[float, float]:
    """Return PSS and RSS of a process and its children, MiB."""
    pss = rss = 0
    try:
        pids = [pid, *Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        pids = []
    for one in pids:
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue  # it has just ended
        pss += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        rss += sum(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
    return pss / 1024, rss / 1024


if __name__ == "__main__":
    main(int(sys.argv[1].replace(",", "")) if len(sys.argv) > 1 else 1_000_000)

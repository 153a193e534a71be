"""Is Hamlet still fast when its log holds millions of predictions?

    python benchmarks/big_log.py --rows 5000000

Fills a log of 1,000 rows and a large one in temporary folders (about 1 GB for each million rows). First the real server
answers requests on the one and the other in turn. Then each page is timed, while predictions keep coming in.
"""

import argparse
import contextlib
import csv
import datetime as dt
import http.cookiejar
import json
import random
import re
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.figures import hamlet  # noqa: E402
from benchmarks.servers import load, messages, running  # noqa: E402
from webapp.app import create_app  # noqa: E402
from webapp.extras.monitor.rollups import refresh_rollups  # noqa: E402
from webapp.extras.review.samples import draw  # noqa: E402
from webapp.inference import explain  # noqa: E402
from webapp.log.tables import first_id  # noqa: E402

PASSWORD = "benchmark only"
DAYS = 60
PAGES = [
    "/monitor?range=24h",
    "/monitor?range=7d",
    "/monitor?range=30d",
    "/monitor?range=all",
    "/review?queue=random",
    "/review?queue=uncertain",
    "/review?queue=reported",
    "/review?queue=all",
    "/review?queue=all&text=nosuchword",
    "/review?queue=all&label=spam&before=MIDDLE",
]


def fill(instance: Path, rows: int) -> None:
    """Put `rows` predictions of the project's messages, spread over DAYS days up to now, into a log."""
    app = create_app(instance)
    app.extensions["admin_password"].set(PASSWORD)
    model = app.extensions["inference"].registry.current()
    messages = []
    with open(ROOT / "webapp" / "model" / "messages.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            score = model.score(row["text"])
            explanation = json.dumps(explain(score), ensure_ascii=False)
            messages.append((row["text"], model.label(score.spam_probability), score.spam_probability, explanation))
    now, chance = dt.datetime.now(dt.UTC), random.Random(0)

    def predictions():
        for i in range(rows):
            at = now - dt.timedelta(days=DAYS) * (1 - i / rows)
            id_ = f"{first_id(at)[:24]}{chance.getrandbits(48):012x}"
            text, label, spam_probability, explanation = chance.choice(messages)
            latency_ms = round(chance.lognormvariate(-1.5, 0.7), 3)
            report = "wrong" if chance.random() < 0.0005 else None
            door = chance.choice(["form", "api", "api"])
            common = (text, None, label, spam_probability, model.threshold, model.version, explanation)
            yield (id_, at.strftime("%Y-%m-%d %H:%M:%S.%f"), door, *common, latency_ms, None, report, None, None, None)

    with contextlib.closing(sqlite3.connect(instance / "log.db")) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(f"INSERT INTO predictions VALUES ({', '.join('?' * 16)})", predictions())
        connection.commit()
    engine = app.extensions["engine"]
    started = time.perf_counter()
    refresh_rollups(engine)
    print(f"{rows:,} rows; summing them up for the first time took {time.perf_counter() - started:.1f} s")
    draw(engine, now - dt.timedelta(days=7), now, 200, seed=1)
    engine.dispose()


def sign_in(url: str) -> urllib.request.OpenerDirector:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    page = opener.open(f"{url}/login").read().decode()
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token
    opener.open(f"{url}/login", urllib.parse.urlencode({"password": PASSWORD, "csrf_token": token[1]}).encode())
    return opener


def write_meanwhile(url: str, stop: threading.Event, counted: list[int]) -> None:
    body = json.dumps({"text": "are we still on for lunch tomorrow?"}).encode()
    while not stop.is_set():
        request = urllib.request.Request(f"{url}/api/v1/predict", body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request).read()
        counted[0] += 1
        time.sleep(0.01)


def page_times(instance: Path, rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each page."""
    middle = first_id(dt.datetime.now(dt.UTC) - dt.timedelta(days=DAYS / 2))
    with running(hamlet(workers=2), pinned=False, folder=instance) as (one, _):
        opener, stop, written = sign_in(one.url), threading.Event(), [0]
        writer = threading.Thread(target=write_meanwhile, args=(one.url, stop, written))
        writer.start()
        times: dict[str, list[float]] = {page: [] for page in PAGES}
        for _ in range(rounds):
            for page in PAGES:
                started = time.perf_counter()
                with opener.open(one.url + page.replace("MIDDLE", middle)) as answer:
                    answer.read()
                    assert "/login" not in answer.url
                times[page].append(1000 * (time.perf_counter() - started))
        stop.set()
        writer.join()
    print(f"{written[0]:,} predictions were written meanwhile")
    return {page: statistics.median(taken) for page, taken in times.items()}


def compare_rates(small: Path, big: Path, rounds: int) -> None:
    """Print how many requests a second Hamlet answers on the big log, as a share of those on the small one."""
    texts, shares = messages(), []
    for _ in range(rounds):
        rates = []
        for instance in (small, big):
            with running(hamlet(workers=1), folder=instance) as (one, _):
                load(one, 2, texts)
                rates.append(load(one, 6, texts)["rate"])
        shares.append(rates[1] / rates[0])
    print(f"requests a second on the large log / on the small one: {statistics.median(shares):.2f}", end="")
    print(f" ({min(shares):.2f} to {max(shares):.2f}, {rounds} rounds)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as small_folder, tempfile.TemporaryDirectory() as big_folder:
        small, big = Path(small_folder), Path(big_folder)
        fill(small, 1_000)
        fill(big, arguments.rows)
        compare_rates(small, big, arguments.rounds)
        times = [page_times(instance, arguments.rounds) for instance in (small, big)]
    print(f"\n{'median ms':44} {'1,000 rows':>12} {arguments.rows:>12,} rows")
    for page in PAGES:
        print(f"{page:44} {times[0][page]:12.0f} {times[1][page]:12.0f}")


if __name__ == "__main__":
    main()

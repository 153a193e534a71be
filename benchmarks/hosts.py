"""How many predictions a second do two hosts store in one PostgreSQL, beside one host, and beside SQLite?

    python benchmarks/hosts.py --rounds 5 --seconds 6

Starts Debian's PostgreSQL (as it comes: each commit reaches the disk) on a free port, and each "host" as a gunicorn of
its own with its own folder. wrk loads them all at once; all share this machine's cores, so this shows what the log
costs and that none is lost, not what more machines would bring. Each answered prediction must be in the log once.
"""

import argparse
import contextlib
import dataclasses
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import sqlalchemy as sa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import results  # noqa: E402
from benchmarks.servers import HAMLET_SERVER, Server, load, messages, running  # noqa: E402

SETUPS = {"SQLite, one host": ("sqlite", 1), "PostgreSQL, one host": ("pg", 1), "PostgreSQL, two hosts": ("pg", 2)}


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """Start a server with Debian's defaults; yield its URL without the database's name."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parts[4]))
    if not programs:
        sys.exit("This needs PostgreSQL: sudo apt install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="hamlet-benchmark-"))
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []  # it refuses to be root
    if as_user:
        shutil.chown(folder, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(program: str, *words: str) -> None:
        command = [*as_user, str(programs[-1] / program), "--pgdata", str(folder / "data"), *words]
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL)

    try:
        run("initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=hamlet")
        options = f"-p {port} -h 127.0.0.1 -k ''"
        run("pg_ctl", "start", "--wait", "--log", str(folder / "output"), "--options", options)
        try:
            yield f"postgresql://hamlet@127.0.0.1:{port}"
        finally:
            run("pg_ctl", "stop", "--wait", "--mode", "fast")
    finally:
        shutil.rmtree(folder)


def measure(database_url: str | None, hosts: int, seconds: int, texts: list[str]) -> dict[str, Any]:
    """Return rate, answers and rows of one round; exits if an answer is not in the log."""
    settings = {"HAMLET_WORKERS": "2", "HAMLET_SECRET_KEY": "benchmark" * 4, "HAMLET_ADMIN_PASSWORD": "benchmark only"}
    if database_url:
        settings["HAMLET_DATABASE_URL"] = database_url
    server: Server = dataclasses.replace(HAMLET_SERVER, environment=HAMLET_SERVER.environment | settings)
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(running(server, pinned=False))[0] for _ in range(hosts)]
        before = rows(database_url or f"sqlite:///{started[0].folder / 'log.db'}")
        with ThreadPoolExecutor(hosts) as pool:
            loaded = list(pool.map(lambda one: load(one, seconds, texts, pinned=False), started))
        after = rows(database_url or f"sqlite:///{started[0].folder / 'log.db'}")
    answers = sum(one["answers"] for one in loaded)
    stored = after - before
    # What wrk had asked for when its time was up is stored too, though nobody waited for the answer.
    if not answers <= stored <= answers + hosts * 2 * 64:
        sys.exit(f"{answers} answers, but {stored} rows in the log")
    return {
        "rate": round(sum(one["rate"] for one in loaded), 1),
        "p50_ms": statistics.mean(one["p50_ms"] for one in loaded),
        "p99_ms": max(one["p99_ms"] for one in loaded),
        "answers": answers,
        "rows": stored,
    }


def rows(url: str) -> int:
    """Return how many predictions the log holds; each has an id of its own, as that is the table's key."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        count: int = connection.execute(sa.text("SELECT count(DISTINCT id) FROM predictions")).scalar_one()
    engine.dispose()
    return count


def main() -> None:
    """Measure in turns, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    arguments = parser.parse_args()
    texts = messages()
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in SETUPS}
    with postgresql() as url:
        for number in range(arguments.rounds):
            for name, (kind, hosts) in SETUPS.items():
                database = None
                if kind == "pg":
                    database = f"{url}/round_{number}_{hosts}"
                    admin = sa.create_engine(f"{url}/postgres", isolation_level="AUTOCOMMIT")
                    with admin.connect() as connection:
                        connection.execute(sa.text(f"CREATE DATABASE {database.rpartition('/')[2]}"))
                    admin.dispose()
                measured[name].append(measure(database, hosts, arguments.seconds, texts))
    table = [
        {"name": name, **{key: round(statistics.median(one[key] for one in some), 1) for key in some[0]}}
        for name, some in measured.items()
    ]
    print("| log | predictions/s | p50 ms | p99 ms | answers | rows in the log |\n|---|---|---|---|---|---|")
    for one in table:
        print(
            f"| {one['name']} | {one['rate']:.0f} | {one['p50_ms']:.1f} | {one['p99_ms']:.0f} "
            f"| {one['answers']:,.0f} | {one['rows']:,.0f} |"
        )
    results.save(hosts={"rounds": arguments.rounds, "seconds": arguments.seconds, "setups": table})


if __name__ == "__main__":
    main()

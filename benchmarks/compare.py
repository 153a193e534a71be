"""How many predictions a second, beside other ways to serve the same model?

    make bench          all servers, at least 5 rounds; a quarter of an hour
    make bench-quick    an empty and a bare Flask route, Hamlet, and FastAPI twice; three minutes

In each round every server is started anew with an empty log, warmed up, and loaded by wrk: the server on one core,
wrk on the other, 32 connections, 20,000 different messages. Ratios are taken round by round, as the machine's speed
drifts, and their median is printed. The processor time of an answer depends less on what else runs than the rate does.
Before it is timed, each server must give the model's own probabilities; after it, its log must hold a row for every
answer. The results go to benchmarks/results.json and, drawn, to docs/speed.svg.
"""

import argparse
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import chart, results  # noqa: E402
from benchmarks.servers import ALL, HAMLET_SERVER, QUICK, Server, load, messages, running  # noqa: E402
from webapp.model.registry import ModelRegistry  # noqa: E402

Rounds = dict[str, list[dict[str, Any]]]  # key of a server -> its figures in each round


def main() -> None:
    """Measure, print, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="only the first five; saves nothing")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="of load, for each server and round")
    arguments = parser.parse_args()
    servers = QUICK if arguments.quick else ALL
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    seconds = arguments.seconds or (5 if arguments.quick else 6)

    texts = messages()
    for server in servers:
        check(server, texts)
    measured: Rounds = {server.key: [] for server in servers}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for server in servers:
            measured[server.key].append(measure(server, texts, seconds))
    table = summarise(servers, measured)
    print(f"\nOne process, 32 connections, {rounds} rounds of {seconds} s, medians:\n\n{as_markdown(table)}")
    if not arguments.quick:
        results.save(rounds=rounds, seconds=seconds, servers=table)
        (ROOT / "docs" / "speed.svg").write_text(chart.bars(table))


def check(server: Server, texts: list[str]) -> None:
    """Exit unless a server gives the model's own probabilities."""
    if server.spam_probability is None:
        return
    model = ModelRegistry(ROOT / "saved_models").current()
    with running(server) as (one, _):
        worst = max(abs((one.predict(text) or 0.0) - model.score(text).spam_probability) for text in texts[:500])
    if worst > 1e-9:
        sys.exit(f"{server.name} gives other probabilities: they differ by up to {worst}")
    print(f"{server.name}: the same probabilities", file=sys.stderr)


def measure(server: Server, texts: list[str], seconds: int) -> dict[str, Any]:
    """Return the figures of one round; exits if an answer is not in the log."""
    with running(server) as (one, start_s):
        before = one.cpu_s()
        result = load(one, seconds, texts)
        cpu_us = (one.cpu_s() - before) * 1e6 / result["answers"]
        if server.logs and one.rows() < result["answers"]:
            sys.exit(f"{server.name}: {result['answers']} answers, but only {one.rows()} rows in the log")
    return result | {"start_s": round(start_s, 2), "cpu_us": round(cpu_us)}


def summarise(servers: list[Server], measured: Rounds) -> list[dict[str, Any]]:
    """Return the medians of each server, and of Hamlet's rate divided by its rate."""
    ours = [one["rate"] for one in measured[HAMLET_SERVER.key]]
    table = []
    for server in servers:
        rounds = measured[server.key]
        ratios = [mine / one["rate"] for mine, one in zip(ours, rounds, strict=True)]
        medians = {
            name: statistics.median(one[name] for one in rounds)
            for name in ("rate", "cpu_us", "p50_ms", "p99_ms", "start_s")
        }
        table.append(
            {
                "key": server.key,
                "name": server.name,
                **medians,
                "hamlet_ratio": round(statistics.median(ratios), 2),
                "hamlet_ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
            }
        )
    return table


def as_markdown(table: list[dict[str, Any]]) -> str:
    """Return the table as it stands in docs/performance.md."""
    lines = [
        "| server | Hamlet / server | range | requests/s | CPU µs | p50 ms | p99 ms | start s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in table:
        low, high = one["hamlet_ratio_range"]
        lines.append(
            f"| {one['name']} | {one['hamlet_ratio']:.2f} | {low:.2f} to {high:.2f} | {one['rate']:.0f} "
            f"| {one['cpu_us']:.0f} | {one['p50_ms']:.1f} | {one['p99_ms']:.0f} | {one['start_s']:.1f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

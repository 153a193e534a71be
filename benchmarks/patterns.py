"""Does any regular expression of Hamlet take more than its share of time on a text made to keep it busy?

    python benchmarks/patterns.py

Finds every pattern of webapp/ (all that modules hold compiled, and those written where they are used), and gives each
one texts made of pieces of what it looks for, and of what just fails to be it, at 10,000 to 80,000 characters. Printed
is the slowest text of each pattern, in microseconds, the best of five, and the ratio of each time to the one before:
twice the length must take about twice the time. The last line is the whole of reading a message.
"""

import ast
import importlib
import itertools
import re
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from webapp.model.tokenizer import tokenize  # noqa: E402

LENGTHS = (10_000, 20_000, 40_000, 80_000)
ROUNDS = 5
# What begins, goes on with and ends words, links, addresses, numbers, spaced letters, paths and signs.
PIECES = ["a", "A", "1", " ", "\t", "\n", ".", "-", "_", "/", "@", ",", ":", "(", "'", "!", "£", "½", "\u200b", "é"]
PIECES += ["ab", "a1", "1a", "a.", "a-", "a ", "1.", "1,", "1 ", "a@", "@a", "a_", "1_", "/a", "/a1", "//", "http://"]
PIECES += ["www.", "www.a", "hxxp", "a.com", "rs ", "£1", "1p", "+1("]
PIECES += ["spam", "Ham", "d1", "bbbb/", "/bbbb", "aA", "(1"]
WRITTEN_IN_PLACE = {f"re.{name}" for name in ("sub", "split", "findall", "finditer", "search", "match", "fullmatch")}
ENDS = ["", "_", "\x00", "é", "!", "1", "a"]


def patterns():
    """Return where each pattern is, and the pattern."""
    found = {}
    for path in sorted((ROOT / "webapp").rglob("*.py")):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if path.name == "__main__.py":
            continue
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                found[value.pattern, value.flags] = (f"{path.stem}.{name}", value)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITTEN_IN_PLACE:
                pattern = re.compile(ast.literal_eval(node.args[0]))
                found.setdefault(
                    (pattern.pattern, pattern.flags), (f"{path.stem}:{node.lineno}:{node.col_offset}", pattern)
                )
    return found.values()


def texts(length):
    """Yield (what it is made of, a text of a length), for each piece, each pair of pieces' ends, and each end."""
    for piece, end in itertools.product(PIECES, ENDS):
        yield (piece, end), (piece * (length // len(piece) + 1))[: length - len(end)] + end
    for first, second in itertools.permutations(PIECES[:20], 2):
        yield (first, second), first * (length // 2) + second * (length // 2)
        yield (f"{first}{second}", ""), (first + second) * (length // 2)


def seconds(work, text):
    started = time.perf_counter()
    work(text)
    return time.perf_counter() - started


def everywhere(pattern):
    def work(text):
        text = text.encode() if isinstance(pattern.pattern, bytes) else text
        return all(True for _ in pattern.finditer(text)), pattern.match(text), pattern.fullmatch(text)

    return work


def main():
    """Print a line for each pattern."""
    print(f"{'':34}{'slowest on':22}" + "".join(f"{length:>9,}" for length in LENGTHS) + "   each / the one before")
    works = [(name, everywhere(pattern)) for name, pattern in patterns()]
    for name, work in [*works, ("tokenizer.tokenize", tokenize)]:
        made_of = max((seconds(work, text), what) for what, text in texts(LENGTHS[0]))[1]
        times = [
            min(seconds(work, text) for _ in range(ROUNDS))
            for text in (dict(texts(length))[made_of] for length in LENGTHS)
        ]
        ratios = "  ".join(f"{b / a:.1f}" for a, b in itertools.pairwise(times))
        print(f"{name:34}{made_of!s:22}" + "".join(f"{1e6 * t:9,.0f}" for t in times) + f"   {ratios}", flush=True)


if __name__ == "__main__":
    main()

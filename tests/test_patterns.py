"""No text keeps a regular expression busy for ever.

That the time grows in proportion to the text, twice for twice the length, is measured by benchmarks/patterns.py. Here
shorter ones get far more time than they need: only a pattern that can be read in very many ways could use it up.
"""

import re
import subprocess
import sys

from webapp.config import ROOT

sys.path.insert(0, str(ROOT))
from benchmarks.patterns import patterns

LENGTH = 5_000
PLENTY_S = 60  # of a processor, for what takes ten


def test_the_list_of_patterns_is_whole():
    source = "".join(path.read_text() for path in (ROOT / "webapp").rglob("*.py"))
    used = r"\bre\.(?:compile|sub|split|findall|finditer|search|match|fullmatch)\("
    written = re.findall(rf"""{used}\s*([rbf]*['"](?:"")?[^"]{{,20}})""", source)
    assert len(set(written)) == len(list(patterns()))


def test_texts_made_to_keep_a_pattern_busy_do_not():
    code = (
        f"import resource; resource.setrlimit(resource.RLIMIT_CPU, ({PLENTY_S}, {PLENTY_S}))\n"
        "from benchmarks.patterns import *\n"
        "works = [everywhere(pattern) for _, pattern in patterns()] + [tokenize]\n"
        f"for _, text in list(texts({LENGTH}))[::4]:\n"
        "    for work in works: work(text)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

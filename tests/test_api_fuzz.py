"""Schemathesis reads the OpenAPI document and tries to prove it wrong, with all its checks and all its phases.

HAMLET_FUZZ_CASES says how many requests it makes up (`make fuzz`: 20,000); it prints how many there were.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from webapp.config import ROOT

CASES = int(os.environ.get("HAMLET_FUZZ_CASES", "0"))
EXAMPLES = 250 if CASES else 10  # for each operation and phase


def run(server, key, *options):
    """Return how many cases there were; fail with what schemathesis found."""
    command = [
        Path(sys.executable).with_name("st"),
        *("--config-file", ROOT / "tests" / "fuzz" / "schemathesis.toml"),
        *("run", f"{server.url}/api/openapi.json"),
        *("--checks", "all", "--max-examples", str(EXAMPLES), "--header", f"Authorization: Bearer {key}"),
        # How fast it makes up cases is the machine's affair.
        *("--no-color", "--continue-on-failure", "--suppress-health-check", "too_slow", *options),
    ]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=server.instance_folder)
    assert found.returncode == 0, found.stdout
    assert "Selected: 9/9" in found.stdout
    assert "Tested: 9" in found.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in found.stdout, found.stdout
    return int(re.search(r"([\d,]+) generated", found.stdout)[1].replace(",", ""))


def test_the_api_does_what_its_document_says(shared_server, make_app):
    app = make_app(shared_server.instance_folder)
    key = app.test_cli_runner().invoke(args=["api-key", "create", "fuzz"]).output.split()[0]
    cases = 0
    while cases < max(CASES, 1):
        # The same cases in every ordinary run: whatever is new is found by `make fuzz`.
        how = ("--generation-database", "none") if CASES else ("--generation-deterministic",)
        cases += run(shared_server, key, *how)
    print(f"{cases:,} cases")
    assert cases >= max(CASES, 300)
    assert len(shared_server.stored()) > cases / 20  # not all of them were refused
    assert "Traceback" not in shared_server.output()

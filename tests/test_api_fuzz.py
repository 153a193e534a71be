"""Schemathesis reads the OpenAPI document and tries to prove it wrong, with all its checks and all its phases.

HAMLET_FUZZ_CASES says how many requests it makes up (`make fuzz`: 20,000); it prints how many there were.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

from conftest import Server

from webapp.app import create_app
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
        *("--no-color", "--continue-on-failure", *options),
    ]
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=server.instance_folder)
    assert found.returncode == 0, found.stdout
    assert "Selected: 9/9" in found.stdout
    assert "Tested: 9" in found.stdout
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in found.stdout, found.stdout
    return int(re.search(r"([\d,]+) generated", found.stdout)[1].replace(",", ""))


def test_the_api_does_what_its_document_says(tmp_path):
    app = create_app(tmp_path / "instance")
    key = app.test_cli_runner().invoke(args=["api-key", "create", "fuzz"]).output.split()[0]
    app.extensions["engine"].dispose()
    server = Server(tmp_path / "instance").start()
    try:
        cases = 0
        while cases < max(CASES, 1):
            # The same cases in every ordinary run: whatever is new is found by `make fuzz`.
            how = ("--generation-database", "none") if CASES else ("--generation-deterministic",)
            cases += run(server, key, *how)
        print(f"{cases:,} cases")
        assert cases >= max(CASES, 300)
        assert len(server.stored()) > cases / 20  # not all of them were refused
        assert "Traceback" not in server.output()
    finally:
        server.stop()

"""Ask the public database of vulnerabilities about all of requirements-dev.lock, which holds requirements.lock too.

Exit with 1 and name what was found. Where the database cannot be reached, say so in one line and exit with 0: no build
may fail because somebody else's server is away.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements-dev.lock"
AT_MOST_S = 120
COMMAND = ["-m", "pip_audit", "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
AWAY = ("ConnectionError", "connect", "timed out", "Timeout", "Failed to resolve", "HTTPError", "service")


def main() -> int:
    """Run pip-audit; return the exit code."""
    try:
        done = subprocess.run(
            [sys.executable, *COMMAND, "-r", str(LOCK)], capture_output=True, text=True, timeout=AT_MOST_S
        )
    except subprocess.TimeoutExpired:
        return skip(f"no answer within {AT_MOST_S} seconds")
    return judge(done.returncode, done.stdout, done.stderr)


def judge(code: int, output: str, errors: str) -> int:
    """Say what pip-audit found; return the exit code."""
    last = errors.strip().splitlines()[-1:] or [""]
    try:
        packages = json.loads(output)["dependencies"]
    except ValueError:
        if any(word in errors for word in AWAY):
            return skip(last[0][:200])
        print(f"audit: pip-audit failed with {code}: {errors}")
        return 1
    known = [package for package in packages if "vulns" in package]
    if not known:
        return skip("it knows none of the packages")  # a mirror without such data, say
    found = [(package, one) for package in known for one in package["vulns"]]
    for package, one in found:
        mended = ", ".join(one["fix_versions"]) or "no version yet"
        print(f"audit: {package['name']} {package['version']} has {one['id']}, mended in {mended}")
    if len(known) < len(packages):
        print(f"audit: not known there: {', '.join(p['name'] for p in packages if 'vulns' not in p)}")
    print(f"audit: {len(known)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


def skip(why: str) -> int:
    """Say in one line that nothing could be asked."""
    print(f"audit: skipped, the database of vulnerabilities cannot be reached ({why})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

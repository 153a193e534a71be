"""What is installed is what was looked at: exact versions, with hashes, each for a reason, none with a known hole."""

import importlib
import json
import re

import pytest

from webapp.config import ROOT

FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))
LOCKS = {name.replace(".txt", ".lock"): [name] for name in FILES} | {"requirements-dev.lock": FILES}
PIN = re.compile(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?==([0-9][^ ;\\]*)(?: ?; ?(.+))?")


def plain(name):
    """Return a package's name as all tools know it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(text):
    """Return {name: (version, on which systems)}."""
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith(("#", "-r ", "    --hash")):
            pin = PIN.fullmatch(line.removesuffix("\\").strip())
            assert pin, f"{line!r} is no exact version"
            found[plain(pin[1])] = pin[2], (pin[3] or "").replace('"', "'")
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_file_holds_exactly_the_versions_of_the_requirements(lock):
    locked = pins((ROOT / lock).read_text())
    for name in LOCKS[lock]:
        for package, (version, where) in pins((ROOT / name).read_text()).items():
            found = locked.get(package)
            assert found in ((version, where), (version, "")), f"{package} in {lock} is not as in {name}: run make lock"
    text = (ROOT / lock).read_text()
    packages = re.split(r"\n(?=[a-z0-9])", text.partition("\n#    make lock\n")[2])
    assert len(packages) == len(locked)
    for package in packages:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}\b", package), package
    assert not re.search(r"https?:|file:|index-url|find-links| @ |^-|/", text, re.MULTILINE)  # from the usual index


def test_tests_run_on_what_is_served():
    tested = pins((ROOT / "requirements-dev.lock").read_text())
    for lock in LOCKS:
        for name, (version, _) in pins((ROOT / lock).read_text()).items():
            assert (name, tested.get(name, ("",))[0]) == (name, version)


def test_the_makefile_and_the_documentation_install_with_hashes():
    makefile = (ROOT / "Makefile").read_text()
    assert "--require-hashes -r $<" in re.search(r"^INSTALL = .*$", makefile, re.MULTILINE)[0]
    for target in ("$(BIN)/.installed: requirements.lock", "$(BIN)/.installed-dev: requirements-dev.lock"):
        assert "@$(INSTALL)" in makefile.partition(f"\n{target}")[2].partition("\n\n")[0]
    for document in ("docs/deploy.md", "Dockerfile"):
        assert re.search(r"--require-hashes -r\s+(/opt/hamlet/)?requirements.lock", (ROOT / document).read_text())


def test_every_dependency_has_a_reason():
    reasons = {plain(word) for word in re.findall(r"[A-Za-z0-9_.-]+", (ROOT / "docs" / "dependencies.md").read_text())}
    reasons |= {word.rstrip("-") for word in reasons}
    assert not {package for name in FILES for package in pins((ROOT / name).read_text())} - reasons


CLEAN = {"name": "flask", "version": "3.1.3", "vulns": []}
BROKEN = CLEAN | {"vulns": [{"id": "PYSEC-2099-1", "fix_versions": ["2.0"], "aliases": []}]}
UNKNOWN = {"name": "jinja2", "skip_reason": "Dependency not found on PyPI and could not be audited"}


def test_an_audit_fails_on_a_known_hole_and_never_because_nobody_answers(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / ".ci")
    judge = importlib.import_module("audit").judge
    for exit_code, answer, code, words in (
        (0, [CLEAN], 0, "1 packages, 0 known vulnerabilities"),
        (1, [CLEAN, BROKEN], 1, "flask 3.1.3 has PYSEC-2099-1, mended in 2.0"),
        (0, [CLEAN, UNKNOWN], 0, "not known there: jinja2"),
        (0, [UNKNOWN], 0, "skipped"),
        (1, "requests.exceptions.ConnectionError: Failed to resolve", 0, "skipped"),
        (1, "ERROR: requirements-dev.lock: parse error", 1, "pip-audit failed"),
    ):
        said = ("", answer) if isinstance(answer, str) else (json.dumps({"dependencies": answer}), "")
        assert (judge(exit_code, *said), words in capsys.readouterr().out) == (code, True)

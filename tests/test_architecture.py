"""Who may import whom: docs/architecture.md says it, this test enforces it."""

import ast
import re

import pytest

from webapp.config import ROOT

DOORS = {"web", "api", "cli"}
ALLOWED = {
    "errors": set(),
    "config": set(),
    "model": {"errors", "config"},
    "log": {"errors", "config"},
    "monitoring": {"errors", "config", "model", "log"},
    "lifecycle": {"errors", "config", "model", "log", "monitoring"},
    "access": {"errors", "config", "log"},
    "inference": {"errors", "config", "model", "log", "monitoring"},
    "batch": {"errors", "config", "model", "log", "inference"},
    "jobs": {"errors", "config", "log"},
    "http": {"errors", "config", "inference"},
    "web": {"errors", "config", "model", "log", "inference", "monitoring", "access", "batch", "jobs", "lifecycle"},
    "api": {"errors", "config", "model", "log", "inference", "monitoring", "access"},
    "cli": {
        *("errors", "config", "model", "log", "inference", "monitoring", "access"),
        *("batch", "jobs", "stream", "lifecycle"),
    },
    "stream": {"errors", "config", "model", "log", "monitoring", "inference"},
    "app": {"errors", "config", "model", "log", "inference", "monitoring", "access", "http", *DOORS},
    "__init__": set(),
    "__main__": {"config"},
}
FILES = sorted((ROOT / "webapp").rglob("*.py"))


def room(path):
    """Return the part of webapp/ that a file belongs to."""
    return path.relative_to(ROOT / "webapp").parts[0].removesuffix(".py")


def imports(path):
    """Yield each imported module's full name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards_only(path):
    used = {name.split(".")[1] for name in imports(path) if name.startswith("webapp.")}
    assert used & ALLOWED.keys() - {room(path)} <= ALLOWED[room(path)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_model_and_log_know_nothing_of_flask(path):
    if room(path) in ("model", "log", "monitoring", "inference", "batch", "jobs", "errors", "config"):
        assert not [name for name in imports(path) if re.match(r"flask|werkzeug", name)]


def test_files_are_small():
    assert {
        path.name: len(path.read_text().splitlines()) for path in FILES if len(path.read_text().splitlines()) > 350
    } == {}


def test_the_document_shows_the_tree_and_the_table_as_they_are():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for path in FILES:
        if path.name != "__init__.py":
            assert path.name in text, f"docs/architecture.md does not name {path.relative_to(ROOT)}"
    for name, allowed in ALLOWED.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \|$", text, re.MULTILINE)
        assert row, f"docs/architecture.md has no row for {name}"
        assert set(re.findall(r"`(\w+)`", row[1])) == allowed

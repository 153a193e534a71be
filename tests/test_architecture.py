"""Who may import whom: the rule is said here, once; docs/architecture.md shows it."""

import ast
import json
import re
import subprocess
import sys
from graphlib import TopologicalSorter

from webapp.config import ROOT

# From the ground up: each part of the core imports only those of rows above it. The extras stand on all of the core.
CORE = (
    ("errors", "config", "waiting"),
    ("model", "log", "instance", "worker"),
    ("inference",),
    ("http", "web", "api", "cli"),
)
EXTRAS = {  # and which other extras each may import
    "access": set(),
    "review": {"access"},
    "monitor": {"access", "review"},
    "prometheus": {"monitor"},
    "batch": {"access"},
    "lifecycle": {"access", "batch", "monitor", "review"},
    "stream": set(),
    "tools": {"monitor"},
}
STARTS = ("app", "__main__")  # they put the rest together, and nothing imports them
WITHOUT_FLASK = {name for names in CORE[:3] for name in names}
INTERFACE = re.compile(r"__init__|keys|(\w+_)?(routes|api|commands)")  # the modules of an extra that may know Flask


def faults(root):
    """Return what is wrong with the imports of webapp/ below root, a line each."""
    found = []
    for path in sorted((root / "webapp").rglob("*.py")):
        parts = path.relative_to(root / "webapp").with_suffix("").parts
        for name in imports(path):
            top, *rest = name.split(".")
            if top == "webapp" and rest and not may_import(parts, rest):
                found.append(f"{'/'.join(parts)} imports {name}")
            if top == "flask" and not may_know_flask(parts):
                found.append(f"{'/'.join(parts)} imports {name}")
    return found


def imports(path):
    """Yield the full name of each module, or of what is taken from it, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(parts, imported):
    """Return whether a module, ("log", "writer") say, may import another, ["errors"] say."""
    if parts[0] in STARTS:
        return imported[0] != "extras"
    if imported[0] == parts[0] != "extras":
        return True
    if parts[0] == "extras":
        if imported[0] != "extras":
            return imported[0] not in STARTS
        return len(parts) == 1 or imported[1] == parts[1] or imported[1] in EXTRAS[parts[1]]
    row = next((number for number, names in enumerate(CORE) if parts[0] in names), 0)
    return any(imported[0] in names for names in CORE[:row])


def may_know_flask(parts):
    if parts[0] == "extras":
        return bool(INTERFACE.fullmatch(parts[-1]))
    return parts[0] not in WITHOUT_FLASK


def table():
    """Return the rule as docs/architecture.md shows it."""
    lines = ["| part | may import |", "|---|---|"]
    for number, names in enumerate(CORE):
        below = [f"`{name}`" for row in CORE[:number] for name in row]
        lines += [f"| {', '.join(f'`{name}`' for name in names)} | {' '.join(below) or 'nothing of ours'} |"]
    for name, others in EXTRAS.items():
        allowed = " ".join(f"`extras/{other}`" for other in sorted(others))
        lines.append(f"| `extras/{name}` | the core{' ' + allowed if allowed else ''} |")
    return "\n".join(lines)


def test_imports_follow_the_rule():
    assert faults(ROOT) == []


def test_no_modules_import_each_other_in_a_circle():
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "webapp").rglob("*.py")}
    graph = {
        module: {part for name in imports(path) for part in (name, name.rpartition(".")[0])} & paths.keys()
        for module, path in paths.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names them


def test_the_rule_can_be_broken(tmp_path):
    for file, line in (
        ("log/writer.py", "from webapp.inference import Inference"),
        ("log/writer.py", "import flask"),
        ("web/check.py", "from webapp.extras.review import samples"),
        ("app.py", "from webapp.extras import access"),
        ("extras/monitor/drift.py", "def lazily():\n    from flask import g"),
        ("extras/review/samples.py", "from webapp.extras.lifecycle import switching"),
    ):
        path = tmp_path / "webapp" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line)
        assert len(faults(tmp_path)) == 1, line
        path.unlink()


def test_the_document_shows_the_rule_and_each_package():
    text = (ROOT / "docs" / "architecture.md").read_text()
    assert table() in text
    for path in (ROOT / "webapp").rglob("*.py"):
        parts = path.relative_to(ROOT / "webapp").parts
        shown = parts[1] if parts[0] == "extras" and len(parts) > 2 else path.name
        assert shown in text or shown == "__init__.py", f"docs/architecture.md does not name {'/'.join(parts)}"


def test_files_are_small():
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "webapp").rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length > 350} == {}


CORE_ONLY = """
import json, pathlib, sys
from webapp.app import create_app
app = create_app(pathlib.Path(sys.argv[1]), extras=(), WTF_CSRF_ENABLED=False)
client, run = app.test_client(), app.test_cli_runner().invoke
answer = client.post("/", data={"text": "Win a prize now, call 09061701461"})
found = {
    "form": client.get("/").status_code,
    "answer": client.get(answer.location).status_code,
    "no address": client.get("/review").status_code,
    "api": client.post("/api/v1/predict", json={"text": "see you at lunch"}).json["label"],
    "document": sorted(client.get("/api/openapi.json").json["paths"]),
    "docs": client.get("/api/docs").status_code,
    "readyz": client.get("/readyz").status_code,
    "predict": run(args=["predict", "Win a prize now, call 09061701461"]).output.split()[0],
    "commands": sorted(app.cli.commands),
    "models list": run(args=["models", "list"]).exit_code,
    "log": run(args=["log", "export"]).output.count("\\n"),
    "purged": run(args=["log", "purge", "--older-than", "0d"]).output,
    "extras": [name for name in sys.modules if name.startswith("webapp.extras")],
}
app.extensions["engine"].dispose()
print(json.dumps(found))
"""


def test_the_core_works_without_any_extra(tmp_path):
    program = [sys.executable, "-c", CORE_ONLY, str(tmp_path / "instance")]
    found = json.loads(subprocess.check_output(program, cwd=ROOT, text=True))
    api = ["/api/v1/predict", "/api/v1/predict/batch", "/api/v1/predictions/{prediction_id}"]
    assert found == {
        **{"form": 200, "answer": 200, "no address": 404, "docs": 200, "readyz": 200, "api": "ham", "predict": "spam"},
        "document": [*api, "/healthz", "/readyz"],
        "commands": ["evaluate", "log", "models", "openapi", "predict", "train"],
        **{"models list": 0, "log": 4, "purged": "3 predictions deleted.\n", "extras": []},
    }

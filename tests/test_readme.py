"""What the README and the documents show works as written, and is true of the code."""

import json
import re
import subprocess

import click
import pytest
from conftest import need
from transcripts import blocks

from webapp import config
from webapp.config import ROOT
from webapp.model.card import read_card

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FROM_FLASK = {"run", "shell", "routes", "openapi"}


def rows(section):
    """Return the cells of each row of the table in a section of the reference."""
    table = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", REFERENCE, re.DOTALL | re.MULTILINE)[1]
    return [
        [cell.strip() for cell in line.strip("|").split(" |")] for line in re.findall(r"^\| `.*", table, re.MULTILINE)
    ]


def test_the_first_curl_line_works_and_answers_as_shown(shared_server):
    need("curl", "on Debian, apt-get install curl")
    command = blocks(ROOT / "README.md", "sh")[0].replace("http://127.0.0.1:8000", shared_server.url)
    answer = json.loads(subprocess.check_output(command, shell=True, text=True, stderr=subprocess.DEVNULL))
    shown = json.loads(blocks(ROOT / "README.md", "json")[0])
    assert (list(answer), answer["label"]) == (list(shown), shown["label"])


def test_the_training_example_works(flask, models, labelled):
    block = next(block for block in blocks(ROOT / "README.md", "sh") if "my-messages.csv" in block)
    lines = block.replace("my-messages.csv", str(labelled)).splitlines()
    output = ""
    for line in lines:
        version = re.search(r"\d{8}-\d{6}-\w{7}", output)
        words = line.replace("VERSION", version[0] if version else "").split()[1:]
        result = flask(*words)
        assert result.exit_code == 0, result.output
        output = result.output


def test_the_monitoring_lines_work(shared_server, make_app):
    run = make_app(shared_server.instance_folder).test_cli_runner().invoke
    need("curl", "on Debian, apt-get install curl")
    block = next(block for block in blocks(ROOT / "README.md", "sh") if "api-key create" in block)
    key = "KEY"
    for line in block.splitlines():
        if line.startswith("curl"):
            command = line.replace("http://127.0.0.1:8000", shared_server.url).replace("KEY", key)
            answer = subprocess.check_output(command, shell=True, text=True, stderr=subprocess.DEVNULL)
            assert '"verdict"' in answer or "hamlet_log_rows" in answer
        else:
            result = run(args=line.partition("#")[0].split()[1:])
            assert result.exit_code == 0, result.output
            key = result.output.split()[0]


def test_the_figures_of_the_model_are_those_of_its_card():
    folder = ROOT / "saved_models"
    metrics = read_card(folder, (folder / "current").read_text().strip()).metrics
    unseen = metrics["kinds left out"]
    low, high = (f"{100 * bound:.1f}" for bound in (unseen.accuracy.low, unseen.accuracy.high))
    text = " ".join(README.split())
    assert f"right on {percent(unseen.accuracy)} of {unseen.messages:,} messages of kinds that it had not seen" in text
    assert f"interval {low} to {high}" in text
    assert f"caught {percent(unseen.recall)} of the spam" in text
    assert f"blocked {percent(unseen.false_positive_rate)} of the ham" in text
    assert f"it is right on {percent(metrics['held_out'].accuracy)}" in text


def percent(proportion):
    return f"{100 * proportion.value:.0f} %"


def test_the_size_is_true():
    shown = re.search(r"about ([\d,]+) lines of Python, the core in it about ([\d,]+)", README)
    sizes = {path: path.read_text().count("\n") for path in (ROOT / "webapp").rglob("*.py")}
    core = sum(size for path, size in sizes.items() if "extras" not in path.parts)
    for words, lines in zip(shown.groups(), (sum(sizes.values()), core), strict=True):
        assert int(words.replace(",", "")) == pytest.approx(lines, rel=0.05), lines


def leaves(command, name=""):
    """Yield (name, command) of all commands, `models use` say, but for those that come with Flask."""
    for word in command.commands:
        sub, path = command.commands[word], f"{name} {word}".strip()
        if isinstance(sub, click.Group):
            yield from leaves(sub, path)
        elif path not in FROM_FLASK:
            yield path, sub


def test_the_commands_and_their_options_are_in_the_reference(app):
    described = {}
    for command, _, options in rows("Commands"):
        name = re.match(r"`([a-z -]+?)(?: [A-Z[].*)?`", command)[1]
        described[name] = set(re.findall(r"--[a-z-]+", options))
    commands = dict(leaves(app.cli))
    assert described.keys() == commands.keys()
    for name, command in commands.items():
        options = [set(option.opts) for option in command.params if isinstance(option, click.Option)]
        missing = [spellings for spellings in options if not spellings & described[name]]
        assert (name, missing) == (name, [])
        assert (name, described[name] - set().union(*options)) == (name, set())


def test_the_settings_and_their_defaults_are_in_the_reference():
    described = {cells[0].strip("`"): cells[1] for cells in rows("Settings")}
    assert described.keys() == {name if name in config.WITHOUT_PREFIX else f"HAMLET_{name}" for name in config.SETTINGS}
    for name, setting in config.SETTINGS.items():
        if name != "WORKERS" and setting.default not in (None, ""):
            shown = described[name if name in config.WITHOUT_PREFIX else f"HAMLET_{name}"]
            assert f"`{str(setting.default).lower()}`" in shown, name


def anchors(text):
    """Return the anchors that the usual hosting makes of the headings of a document."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere_and_to_every_document_from_the_readme():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)(\S+?)\)", document.read_text()):
            name, _, anchor = target.partition("#")
            path = document.parent / name if name else document
            assert path.exists(), (document, target)
            assert not anchor or anchor in anchors(path.read_text()), (document, target)
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        document = waiting.pop()
        if document not in reached:
            reached.add(document)
            targets = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", document.read_text())
            waiting += [(document.parent / target).resolve() for target in targets]
    assert reached >= set(DOCUMENTS) - {ROOT / "CHANGELOG.md"}


def words(document):
    """Return how many words of sentences a document has: without code, tables and addresses."""
    text = re.sub(r"^```.*?^```|^\|.*?$|^    .*?$", "", document.read_text(), flags=re.DOTALL | re.MULTILINE)
    return len(re.sub(r"\]\(\S+\)", "]", text).split())


def test_the_documents_can_be_read_in_an_hour():
    """At 200 words a minute, beside the chapters to learn from, which take their time."""
    assert README.count("\n") <= 200
    assert sum(words(path) for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]) <= 12_000


def test_every_promise_names_tests_that_there_are():
    promises = ROOT / "docs" / "promises.md"
    named = re.findall(r"\]\((\S+?\.py)\)`::(\w+)`", promises.read_text())
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (promises.parent / file).read_text()

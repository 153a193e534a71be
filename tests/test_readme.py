"""What the README shows works as written."""

import json
import re
import subprocess

import pytest
from conftest import need

from webapp import config
from webapp.config import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_first_curl_line_works_and_answers_as_shown(server):
    need("curl", "on Debian, apt-get install curl")
    command = blocks("sh")[0].replace("http://127.0.0.1:8000", server.url)
    answer = json.loads(subprocess.check_output(command, shell=True, text=True, stderr=subprocess.DEVNULL))
    shown = json.loads(blocks("json")[0])
    assert list(answer) == list(shown)
    assert answer["label"] == shown["label"]


def test_every_command_in_the_table_exists(flask):
    commands = [
        part
        for cell in re.findall(r"^\| (`.*?`) \| ", README, re.MULTILINE)
        for part in re.findall(r"`([a-z-]+(?: [a-z]+\b)?)", cell)
    ]
    for command in commands:
        assert flask(*command.split(), "--help").exit_code == 0, command


def test_every_command_is_in_the_readme(app):
    for name in app.cli.commands.keys() - {"openapi"}:  # that one comes with flask-openapi3
        assert f"`{name}" in README, name


def test_the_training_example_works(flask, models, labelled):
    block = next(block for block in blocks("sh") if "my-messages.csv" in block)
    lines = block.replace("my-messages.csv", str(labelled)).splitlines()
    output = ""
    for line in lines:
        version = re.search(r"\d{8}-\d{6}-\w{7}", output)
        words = line.replace("VERSION", version[0] if version else "").split()[1:]
        result = flask(*words)
        assert result.exit_code == 0, result.output
        output = result.output


def test_the_monitoring_lines_work(flask, server):
    need("curl", "on Debian, apt-get install curl")
    block = next(block for block in blocks("sh") if "api-key create" in block)
    key = "KEY"
    for line in block.splitlines():
        if line.startswith("curl"):
            command = line.replace("http://127.0.0.1:8000", server.url).replace("KEY", key)
            answer = subprocess.check_output(command, shell=True, text=True, stderr=subprocess.DEVNULL)
            assert '"verdict"' in answer or "hamlet_log_rows" in answer
        else:  # the server and the commands share their instance folder
            result = flask(*line.partition("#")[0].split()[1:])
            assert result.exit_code == 0, result.output
            key = result.output.split()[0]


def test_every_setting_is_in_the_readme_and_nothing_else():
    named = set(re.findall(r"`HAMLET_([A-Z_]+)`", README.split("## Settings")[1]))
    assert named == config.SETTINGS.keys() - {"HOST", "PORT"}


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name
)
def test_links_between_documents_lead_somewhere(document):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_every_promise_names_tests_that_there_are():
    promises = ROOT / "docs" / "promises.md"
    named = re.findall(r"\]\((\S+?\.py)\)`::(\w+)`", promises.read_text())
    assert len(named) > 15
    for file, test in named:
        assert f"def {test}(" in (promises.parent / file).read_text()

"""The chapters in docs/learn work as written: what they tell to type is run, and prints what they show."""

import csv
import re
import shutil
import sqlite3
import sys
import urllib.parse
import urllib.request

import pytest
from conftest import FORM, PASSWORD, Browser, hidden
from transcripts import Terminal, blocks, matches, steps

from webapp.config import ROOT

LEARN = ROOT / "docs" / "learn"
CHAPTERS = sorted(LEARN.glob("[1-6]_*.md"))


class Reader:
    """Reads a chapter and does what it tells, in a terminal and in a browser."""

    def __init__(self, terminal):
        self.terminal = terminal
        self._browser = None

    def read(self, chapter):
        """Type what a chapter tells to type, and compare."""
        for kind, words, expected in steps(chapter):
            if kind == "do":
                self._do(words)
            else:
                printed = self.terminal.run(words)
                assert matches(expected, printed), f"{chapter.name}: $ {words}\n{printed}\n--- shown is\n{expected}"

    def _do(self, words):
        self._browser = self._browser or Browser(f"http://127.0.0.1:{self.terminal.port}", PASSWORD)
        if size := re.fullmatch(r"draw a sample of (\d+) and label it", words):
            self._browser.send("/review/sample", "/review", size=size[1], days=1)
            self._label("random")
        elif queue := re.fullmatch(r"label the queue (\w+)", words):
            self._label(queue[1])
        else:
            raise AssertionError(words)

    def _label(self, queue):
        """Say of each message in a queue what it is."""
        with (ROOT / "webapp/extras/tools/demo_messages.csv").open(encoding="utf-8") as file:
            truth = {row["text"]: row["label"] for row in csv.DictReader(file)}
        log = sqlite3.connect(self.terminal.folder / "instance" / "log.db")
        _, shown = self._browser.ask(f"/review?queue={queue}")
        while 'name="prediction_id"' in shown:
            form = {name: hidden(shown, name) for name in ("prediction_id", "csrf_token")} | {"queue": queue}
            (text,) = log.execute("SELECT text FROM predictions WHERE id = ?", [form["prediction_id"]]).fetchone()
            form["true_label"] = truth[text]
            _, shown = self._browser.ask("/review", urllib.parse.urlencode(form).encode(), FORM)
        log.close()


@pytest.fixture
def folder(tmp_path):
    """A folder with a clone of this project in it, all installed."""
    clone = tmp_path / "hamlet"
    for name in ("webapp", "templates", "static", "saved_models", "docs"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, clone)
    (clone / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def open_terminal():
    """Open a terminal, whose server is stopped afterwards."""
    opened = []

    def open_one(*where, **environment):
        opened.append(Terminal(*where, **environment))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.stop()


def test_from_a_notebook_to_a_log(folder, open_terminal):
    """Chapters 1 to 3, one after the other, in a new folder beside the clone; then the five errors."""
    # Nothing is installed: what the chapters ask for is there already, and nothing else can be had.
    reader = Reader(open_terminal(folder, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1"))
    for chapter in (*CHAPTERS[:3], LEARN / "five_errors.md"):
        reader.read(chapter)


def test_once_around_with_hamlet(folder, open_terminal):
    """Chapters 4 to 6, one after the other, in the clone."""
    reader = Reader(open_terminal(folder / "hamlet", "8000", HAMLET_ADMIN_PASSWORD=PASSWORD))
    for chapter in CHAPTERS[3:]:
        reader.read(chapter)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_programs_are_shown_as_they_are_and_three_exercises_have_answers(chapter):
    programs = [path.read_text() for path in (LEARN / chapter.stem[0]).glob("*.py")]
    for block in blocks(chapter, "python"):
        assert any(block.strip() in program for program in programs), block
    text = chapter.read_text()
    assert 100 <= text.count("\n") <= 150
    exercises, answers = text.split("## Exercises")[1].split("## Answers")
    for part in (exercises, answers):
        assert re.findall(r"^\d\. ", part, re.MULTILINE) == ["1. ", "2. ", "3. "]

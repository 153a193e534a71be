"""The chapters in docs/learn work as written: what they tell to type is run, and prints what they show."""

import re
import shutil
import sys

import pytest
from conftest import PASSWORD
from transcripts import Terminal, blocks, commands, matches

from webapp.config import ROOT

LEARN = ROOT / "docs" / "learn"
CHAPTERS = sorted(LEARN.glob("[1-6]_*.md"))


def read_on(terminal, chapter):
    """Type what a chapter tells to type, and compare."""
    for command, expected in commands(chapter):
        printed = terminal.run(command)
        assert matches(expected, printed), f"$ {command}\n{printed}\n--- but the chapter shows\n{expected}"


@pytest.fixture(scope="module")
def terminal(tmp_path_factory):
    """A terminal beside a clone, where chapters 1 to 3 begin, one after the other."""
    folder = tmp_path_factory.mktemp("learn")
    (folder / "hamlet").symlink_to(ROOT)
    # Nothing is installed: what the chapter asks for is there already, and nothing else can be had.
    terminal = Terminal(folder, PIP_NO_INDEX="1", PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONDONTWRITEBYTECODE="1")
    yield terminal
    terminal.stop()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A terminal in a clone of this project, where chapters 4 to 6 go on, one after the other."""
    folder = tmp_path_factory.mktemp("clone") / "hamlet"
    folder.mkdir()
    for name in ("webapp", "templates", "static", "saved_models", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("wsgi.py", "gunicorn.conf.py"):
        shutil.copy(ROOT / name, folder)
    (folder / ".venv").symlink_to(sys.prefix)
    terminal = Terminal(folder, "8000", HAMLET_ADMIN_PASSWORD=PASSWORD)
    yield terminal
    terminal.stop()


@pytest.mark.parametrize("chapter", [*CHAPTERS[:3], LEARN / "five_errors.md"], ids=lambda path: path.stem)
def test_chapter(terminal, chapter):
    read_on(terminal, chapter)


@pytest.mark.parametrize("chapter", CHAPTERS[3:], ids=lambda path: path.stem)
def test_chapter_with_hamlet(clone, chapter):
    read_on(clone, chapter)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_shows_the_programs_as_they_are(chapter):
    programs = [path.read_text() for path in (LEARN / chapter.stem[0]).glob("*.py")]
    for block in blocks(chapter, "python"):
        assert any(block.strip() in program for program in programs), block


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_has_three_exercises_with_answers(chapter):
    text = chapter.read_text()
    assert 100 <= text.count("\n") <= 150
    exercises, answers = text.split("## Exercises")[1].split("## Answers")
    for part in (exercises, answers):
        assert re.findall(r"^\d\. ", part, re.MULTILINE) == ["1. ", "2. ", "3. "]

"""What all commands have in common, and that those which are shown can be pasted."""

import re
import shlex
import subprocess
import sys

import click
from click.testing import CliRunner

from webapp.cli.command import FriendlyCommand
from webapp.config import ROOT

INTERRUPTED = "import webapp.app\ndef create_app(): raise KeyboardInterrupt\nwebapp.app.create_app = create_app\n"


def test_ctrl_c_is_one_line_and_130_and_no_line_before_a_command_has_begun():
    @click.command(cls=FriendlyCommand)
    def slow():
        raise KeyboardInterrupt

    result = CliRunner().invoke(slow)
    assert (result.exit_code, result.output) == (130, "Interrupted.\n")
    done = subprocess.run([sys.executable, "-c", INTERRUPTED + "import wsgi"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")


def test_what_has_no_room_is_said_in_one_line(app, start_flask):
    with open("/dev/full", "w") as full:
        process = start_flask("log", "export", stdout=full, stderr=subprocess.PIPE, text=True)
        assert process.communicate()[1] == "Error: [Errno 28] No space left on device\n"
    assert process.returncode == 2


def test_output_is_utf_8_whatever_the_locale(app, start_flask, monkeypatch):
    app.extensions["inference"].predict(["żółw 😀"], "api")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")  # as on Windows
    assert "żółw 😀".encode() in start_flask("log", "export", stdout=subprocess.PIPE).communicate()[0]


# --- Commands that are shown -----------------------------------------------------------------------------------------


def shown_in(path):
    """Return the words of each command that a file shows, with something in place of what is to be filled in."""
    end = "\"',;)" if path.suffix == ".py" else "`#<"
    found = re.findall(rf"(?:\.venv/bin/flask|{{{{ flask }}}}|{{(?:config\.)?FLASK}})\s([^{end}\n]+)", path.read_text())
    for line in found:
        line = re.sub(r"\{\{ span.name \}\}", "7d", re.split(r" > |  ", line)[0])
        line = re.sub(r"\{[^}]*\}?|\b[A-Z]*FILE\b|\S*messages\.csv|data/\S+", __file__, line)
        yield [word for word in shlex.split(line) if word not in ("...", "COMMAND")]


def test_every_command_that_is_shown_is_understood(app, monkeypatch):
    monkeypatch.chdir(ROOT)
    texts = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "templates").rglob("*.html")]
    for path in texts:  # `flask` alone is another project's, or nobody's
        assert not re.search(r"(?<!/)\bflask [a-z]|--app", path.read_text()), path
    texts += (ROOT / "webapp").rglob("*.py")
    shown = {" ".join(words): words for path in texts for words in shown_in(path)}
    assert len(shown) > 30
    for line, words in shown.items():
        command, context = app.cli, click.Context(app.cli)
        while words and words[0] not in ("--help", "run") and isinstance(command, click.Group):  # run is Flask's own
            assert words[0] in command.commands, line
            command, words = command.commands[words[0]], words[1:]
        if words and not isinstance(command, click.Group):
            with command.make_context(line, words, context):  # raises what click says of it
                pass

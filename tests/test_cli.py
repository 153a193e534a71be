"""What all commands have in common."""

import subprocess
import sys

import click
from click.testing import CliRunner

from webapp.cli.command import Clear
from webapp.config import ROOT

INTERRUPTED = "import webapp.app\ndef create_app(): raise KeyboardInterrupt\nwebapp.app.create_app = create_app\n"


def test_ctrl_c_is_one_line_and_130():
    @click.command(cls=Clear)
    def slow():
        raise KeyboardInterrupt

    result = CliRunner().invoke(slow)
    assert (result.exit_code, result.output) == (130, "Interrupted.\n")


def test_ctrl_c_before_a_command_has_begun():
    done = subprocess.run([sys.executable, "-c", INTERRUPTED + "import wsgi"], cwd=ROOT, capture_output=True)
    assert (done.returncode, done.stderr) == (130, b"")

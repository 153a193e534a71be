"""Run the commands that a document shows, and compare what they print with what it says they print.

A block of the language `console` holds commands after "$ " and below each its output. In an output "..." stands for
anything. A command that starts a server is left running until the document says "^C" or starts the next one.
"""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys

from clients import wait_until
from postgres import free_port

SERVER = re.compile(r"\bflask (--app \S+ )?run\b|\bgunicorn\b.*\bapp\b|-m webapp\b")


def blocks(document, language):
    """Return the blocks of a language in a document, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(), re.DOTALL | re.MULTILINE)


def steps(document):
    """Yield ("run", command, output) for each "$ ", and ("do", words, "") for each `<!-- test: words -->`.

    The latter is what a reader does in a browser. The output is without its last line end.
    """
    for block, words in re.findall(
        r"^```console\n(.*?)^```$|^<!-- test: (.*?) -->$", document.read_text(), re.DOTALL | re.MULTILINE
    ):
        if words:
            yield "do", words, ""
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.replace("\\\n", "").partition("\n")
            yield "run", command, output.rstrip("\n")


def matches(expected, actual):
    """Return whether an output is as expected; "..." in the expected one stands for anything."""
    pattern = ".*?".join(re.escape(piece) for piece in expected.strip().split("..."))
    return re.fullmatch(pattern, actual.strip(), re.DOTALL) is not None


class Terminal:
    """A folder in which commands run one after the other, with at most one server in the background."""

    def __init__(self, folder, shown_port="5000", **environment):
        self.folder = folder
        self._shown_port = shown_port  # the one in the document
        self._log = folder / "server.txt"
        self._server = None
        self.port = str(free_port())
        ports = {"PORT": self.port, "FLASK_RUN_PORT": self.port}
        self.environment = {**os.environ, **ports, **environment}

    def run(self, command):
        """Run a command and return what it prints; start a server and return what it prints until it listens."""
        command = command.replace(self._shown_port, self.port)
        if command.startswith("cd "):
            self.folder = self.folder / command[3:]
            return ""
        if command == "python3 -m venv .venv":  # the tests' own takes its place
            (self.folder / ".venv").symlink_to(sys.prefix)
            return ""
        command = re.sub(r"\bmake run$", ".venv/bin/python -m webapp", command)  # what it does, once all is installed
        command = re.sub(r"^make demo$", ".venv/bin/flask demo", command)
        if assignment := re.match(r"([A-Z]+)=\$\(.*\)$", command):
            self.environment[assignment[1]] = self.run(f'{{ {command}; }} 2>/dev/null; echo "${assignment[1]}"').strip()
            return ""
        if SERVER.search(command):
            return self._start(command)
        return (
            self._begin(command, stdout=subprocess.PIPE)
            .communicate(timeout=300)[0]
            .replace(self.port, self._shown_port)
        )

    def _begin(self, command, **options):
        words, also = ["/bin/bash", "-c", command], {"stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(words, cwd=self.folder, env=self.environment, **also, **options)

    def _start(self, command):
        self.stop()
        with self._log.open("w") as log:
            self._server = self._begin(command, stdout=log, start_new_session=True)

        def ready_or_gone():
            if self._server.poll() is None:
                socket.create_connection(("127.0.0.1", int(self.port)), timeout=1).close()
            return True

        wait_until(ready_or_gone, 120, self._log.read_text)
        return self._log.read_text()

    def stop(self):
        """End the server and all its processes, if one runs."""
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._server.pid, signal.SIGTERM)
            try:
                self._server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self._server.pid, signal.SIGKILL)
                self._server.wait()
            self._server = None

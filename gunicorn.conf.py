"""Step 4, deploy: how gunicorn runs Hamlet. Every value has its reason; see docs/deploy.md."""

import datetime as dt
import fcntl
import gc
import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger

ROOT = str(Path(__file__).resolve().parent)
sys.path.insert(0, ROOT)

from webapp.config import ADDRESS, INSTANCE_FOLDER, WORKERS  # noqa: E402
from webapp.errors import ModelUnusable  # noqa: E402
from webapp.extras.prometheus import worker_files  # noqa: E402
from webapp.instance import surprises  # noqa: E402

try:
    worker_files.open_folder(INSTANCE_FOLDER)  # before prometheus_client is imported: it looks for it then
except OSError as error:
    sys.exit(f"Hamlet cannot start: the folder of the workers' counts cannot be used ({error})")

chdir = ROOT
wsgi_app = "wsgi:app"
bind = ADDRESS
workers = WORKERS
worker_class = "webapp.worker.Worker"
asgi_lifespan = "off"
keepalive = 75  # seconds; longer than a proxy keeps its connections (60 s), or it meets one that was just closed
http_parser = "python"  # gunicorn_h1c, where it happens to be installed, answers some bad requests otherwise
preload_app = True  # load the model once and fork: the workers share its memory
forwarded_allow_ips = ""  # gunicorn would believe X-Forwarded-* from 127.0.0.1; HAMLET_TRUSTED_PROXIES alone decides
control_socket_disable = True  # nothing here uses it, and what is not open cannot be attacked
graceful_timeout = 30  # seconds that requests in flight get to finish on a stop or reload
timeout = 60  # seconds until a hung worker is replaced

accesslog = "-"

SEND_S = 30  # for an answer, or a piece of a file, to be taken

# A signal that comes between a worker's fork and its handlers would be lost, and a stop wait 30 s: so it is held.
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
hold_stops, take_stops = (partial(signal.pthread_sigmask, how, STOPS) for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK))
os.register_at_fork(before=hold_stops, after_in_parent=take_stops)


class logger_class(Logger):  # noqa: N801 (gunicorn's name for it)
    """Gunicorn's logger with a short access log; its own works out a hundred values a request to choose from."""

    def access(self, resp: Any, _req: Any, environ: dict[str, Any], request_time: dt.timedelta) -> None:
        """Write time, request id, method, path (without the query), status, milliseconds; never a message's text."""
        milliseconds = request_time.seconds * 1000 + request_time.microseconds // 1000
        request_id = dict(resp.headers).get("X-Request-ID", "-")
        path = environ["RAW_URI"].partition("?")[0]  # as it was sent: %0A in it must not begin a new line here
        status = str(resp.status)[:3]  # a number, or words
        stream = self.access_log.handlers[0].stream  # logging's own way to it would take three times as long
        stream.write(f"{self.now()} {request_id} {environ['REQUEST_METHOD']} {path} {status} {milliseconds} ms\n")
        stream.flush()


def pre_exec(server: Any) -> None:
    """Let SIGUSR2 start the new server as a module.

    Gunicorn would start the file that `python -m gunicorn` ran, whose folder then hides Python's own `http`.
    """
    take_stops()
    server.START_CTX["args"][1:2] = ["-m", "gunicorn"]


def pre_fork(server: Any, worker: Any) -> None:
    """Let Python's garbage collector pass over what was loaded before the fork, and the kernel drop who never reads.

    What was loaded is never garbage; to look through it again and again made one answer in a hundred wait for 50 ms,
    and wrote to memory that the workers share.
    """
    gc.freeze()
    for listener in server.LISTENERS:
        with suppress(AttributeError, OSError):  # macOS has no such option, and a UNIX socket needs none
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SEND_S * 1000)


def post_worker_init(worker: Any) -> None:
    """Take the stops that were held."""
    take_stops()  # its handlers are set


def worker_exit(server: Any, worker: Any) -> None:
    """Close the log, one worker after another: the last one makes it one file, with all that is in SQLite's -wal."""
    with suppress(Exception):  # a worker that never began has none
        log = worker.wsgi.extensions["inference"].log
        folder = os.open(INSTANCE_FOLDER, os.O_RDONLY)
        fcntl.flock(folder, fcntl.LOCK_EX)  # the kernel lets it go, also of a worker that is killed
        log.close()
        os.close(folder)


def load_model(server: Any) -> None:
    """Load the model before the workers are forked: they share its memory."""
    with suppress(KeyError):  # the benchmarks' apps have none
        try:
            server.app.wsgi().extensions["inference"].registry.current()
        except ModelUnusable as error:  # the app starts all the same, and says it when asked
            server.log.error(error)


on_reload = load_model


def when_ready(server: Any) -> None:
    """Load the model, and say where to go and what may surprise."""
    load_model(server)
    for words in surprises(INSTANCE_FOLDER):
        server.log.warning(words)
    server.log.info("Hamlet is ready: open %s", ", ".join(map(str, server.LISTENERS)))


def on_exit(server: Any) -> None:
    """Give the memory of the counts back."""
    worker_files.remove_folder()

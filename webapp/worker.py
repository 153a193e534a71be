"""The gunicorn worker: slow clients wait in threads of their own, and none of them for ever.

gunicorn's gthread gives each connection one of its few threads before a byte has come, and keeps it there while the
client sends: twenty that stop in the middle of a message stop the server. Here a connection waits without a thread for
its first byte, and with one of many for the rest. Only a request that is complete, or is refused for its size anyway,
enters the app, THREADS at a time.
"""

import errno
import math
import os
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from tempfile import SpooledTemporaryFile
from threading import BoundedSemaphore
from typing import IO, Any

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

from webapp.config import MAX_BODY, MAX_UPLOAD

FIRST_BYTE_S = 10  # browsers connect before they have anything to ask
REQUEST_S = 15  # from its first byte to its last
UPLOAD_S = 600  # of what is larger than other requests: only those who signed in get so far
SEND_S = 30  # for an answer, or a piece of a file, to be taken
DRAIN_S = 10  # what a refused client is still sending is taken for so long, that it can read why
PIECE = 64 * 1024  # bytes; of a larger body the rest waits on the disk


class _Connection(TConn):  # type: ignore[misc]
    due = math.inf  # until when the client has to have sent what it is sending
    is_late = False

    def close(self, graceful: bool = False) -> None:
        """Close at once: a thread has waited for the client already, and the one that calls this serves all others."""
        util.close(self.sock)


class _Body:
    """A request's body whose beginning, or all, was read before; an error then is raised where the app comes to it."""

    def __init__(self, stream: Any):
        self._stream = stream
        self._error: Exception | None = None
        self._read: IO[bytes] = SpooledTemporaryFile(PIECE)  # noqa: SIM115  closed with the request
        try:
            while self._read.tell() <= MAX_BODY and (piece := stream.read(PIECE)):
                self._read.write(piece)
        except Exception as error:
            self._error = error
        self._read.seek(0)

    def read(self, size: int = -1) -> bytes:
        if piece := self._read.read(size):
            return piece
        if self._error:
            raise self._error
        return bytes(self._stream.read(size))


class Worker(ThreadWorker):  # type: ignore[misc]
    """gthread with deadlines."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._slots = BoundedSemaphore(self.cfg.threads)
        self._serving: dict[socket.socket, _Connection] = {}

    def get_thread_pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(
            self.worker_connections
        )  # most of them wait for a client, which costs next to nothing

    def load_wsgi(self) -> None:
        super().load_wsgi()  # it exits in one line where the app cannot be loaded
        # gunicorn's own way with SCRIPT_NAME answers 500 to whatever is asked without it, health checks say.
        self._prefix = os.environ.pop("SCRIPT_NAME", "").rstrip("/")
        self.wsgi: Any = partial(self._answer, self.app.wsgi())

    def accept(self, listener: socket.socket) -> None:
        """Let a new connection wait for its first byte beside those that were kept alive."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return
        self.nr_conns += 1
        connection = _Connection(self.cfg, client, address, listener.getsockname())
        connection.timeout = time.monotonic() + FIRST_BYTE_S
        self.pending_conns.append(connection)
        self.poller.register(client, selectors.EVENT_READ, partial(self.on_pending_socket_readable, connection))

    def murder_pending(self) -> None:
        """Close what never began, and end the reading of what takes too long as if the client had gone."""
        super().murder_pending()
        now = time.monotonic()
        for client, connection in list(self._serving.items()):
            if connection.due < now and not connection.is_late:
                connection.is_late = True
                with suppress(OSError):  # it is gone indeed
                    client.shutdown(socket.SHUT_RD)

    def handle(self, conn: _Connection) -> bool:
        """Serve a request in one of the threads; return whether the connection can be used again."""
        self._serving[conn.sock] = conn
        conn.due = time.monotonic() + REQUEST_S
        try:
            # What a late client sends after all is the rest of its message, and must not be taken for a request.
            keep = bool(super().handle(conn)) and not conn.is_late
        finally:
            del self._serving[conn.sock]
        if not keep:
            util.close_graceful(conn.sock)
        return keep

    def _answer(self, app: Any, environ: dict[str, Any], start_response: Any) -> Any:
        environ["SCRIPT_NAME"] = self._prefix
        if environ["PATH_INFO"].startswith(f"{self._prefix}/"):
            environ["PATH_INFO"] = environ["PATH_INFO"].removeprefix(self._prefix)
        client = environ["gunicorn.socket"]
        connection = self._serving[client]
        if int(environ.get("CONTENT_LENGTH", 0)) > MAX_BODY:  # the app refuses it unread, or it is an upload
            connection.due = time.monotonic() + UPLOAD_S
        else:
            environ["wsgi.input"] = _Body(environ["wsgi.input"])
            connection.due = math.inf
        client.settimeout(SEND_S)
        with self._slots:
            return app(environ, start_response)

    def _keepalive_after(self, conn: _Connection, keepalive: bool) -> bool:
        """Take what a refused client is still sending: were its connection closed, it would never read the answer."""
        conn.due, taken = time.monotonic() + DRAIN_S, 0
        with suppress(Exception):  # whatever is wrong with the rest, its sender is gone or was refused already
            while taken < MAX_UPLOAD and (piece := conn.parser.mesg.body.read(PIECE)):
                taken += len(piece)
            return bool(super()._keepalive_after(conn, keepalive))
        return False

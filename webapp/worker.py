"""The gunicorn worker: one event loop for all connections, and threads for what takes long.

With a thread for each request, switching between threads costs more than Flask does. So a request is
served on the event loop, between two others, until it would have to wait: then it is begun anew in a thread
(waiting.py). A slow client costs no thread, as its request enters the app when it is complete. wsgi:app knows nothing
of all this, and runs in any other WSGI server.
"""

import asyncio
import io
import os
import re
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from webapp import waiting
from webapp.config import MAX_BODY, MAX_UPLOAD

FIRST_S = 15  # for the head of a connection's first request; browsers connect before they have anything to ask
BODY_S = 15  # for a request's body
UPLOAD_S = 600  # for one that is larger than other requests: only those who signed in get so far
SEND_S = 30  # for an answer, or a piece of a file, to be taken
LEAVE_S = 0.5  # at a stop, until no answer is on its way that promises to go on
IDLE_S = 1  # and for a client that is just sending its next request
DRAIN_S = 10  # what a refused client is still sending is taken for so long, that it can read why
WITH_HOST = re.compile(rb"^https?://[^/]*", re.IGNORECASE)  # how proxies are asked
ACCEPTED = 4  # new connections at a time
SMALL = 64 * 1024  # bytes: a request with more of them takes long

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Connection(ASGIProtocol):  # type: ignore[misc]
    """gunicorn's connection, which has no patience with clients that fall silent."""

    _asked_of: Any = None  # the request whose answer was begun last

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.worker.connections.add(self)
        # gunicorn stops this timer when a request begins, and starts it anew when it waits for the next one.
        self._keepalive_handle = self.worker.loop.call_later(FIRST_S, self._keepalive_timeout)

    def _keepalive_timeout(self) -> None:
        self.worker.loop.call_later(0, self.close_if_idle)  # once what came while the loop was held up is read

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """Answer a client that has said all it will say, and then close."""
        self._keepalive = 0
        if self._body_receiver and not self._body_receiver._complete:
            self._body_receiver.signal_disconnect()
        return self._current_request is not None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.worker.loop.call_later(SEND_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._unread.cancel()
        super().resume_writing()

    def _close_transport(self) -> None:
        super()._close_transport()
        self.worker.loop.call_later(SEND_S, self.transport.abort)  # if the last piece is not taken

    def _will_close(self, request: Any, requires_close: bool) -> bool:
        if self._asked_of is not request:  # what the head of an answer has said still holds at its end
            self._asked_of = request
            self._closes = self.worker.is_leaving or bool(super()._will_close(request, requires_close))
        return self._closes

    def close_if_idle(self) -> None:
        if self._awaiting_request and not self._request_ready.is_set():
            super()._keepalive_timeout()


gasgi.ASGIProtocol = _Connection


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, which would take in a hundred new connections at a time, and leave none to the other workers."""

    def _accept_connection(self, factory: Any, sock: Any, context: Any = None, server: Any = None, *more: Any) -> None:
        super()._accept_connection(factory, sock, context, server, ACCEPTED, *more[1:])  # type: ignore[misc]


class _Body(io.RawIOBase):
    """A request's body: what has come, and in a thread, which may wait for it, also what is still to come."""

    def __init__(self, receive: Receive, loop: asyncio.AbstractEventLoop):
        self._receive, self._loop = receive, loop
        self.ends = loop.time() + UPLOAD_S
        self.content = b""
        self.is_whole = self.is_broken = False

    async def receive(self) -> bool:
        """Let more come; return whether there is still more. A client that falls silent, or goes, has broken it off."""
        if not (self.is_whole or self.is_broken):
            message: dict[str, Any] = {"type": "late"}
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self.ends):
                    message = await self._receive()
            self.is_broken = message["type"] != "http.request"
            self.content += message.get("body", b"")
            self.is_whole = not (self.is_broken or message["more_body"])
        return not (self.is_whole or self.is_broken)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not (self.content or self.is_whole or self.is_broken):
            asyncio.run_coroutine_threadsafe(self.receive(), self._loop).result()
        size = min(len(buffer), len(self.content))
        buffer[:size], self.content = self.content[:size], self.content[size:]
        return size


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn's asgi worker for an app that speaks WSGI."""

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Have nothing to say: the threads are used here."""

    def _setup_event_loop(self) -> None:
        self.loop = _Loop()
        asyncio.set_event_loop(self.loop)

    def load_wsgi(self) -> None:
        self.wsgi: Any = self.app.wsgi()
        self.asgi = self._serve_request
        self.connections: set[_Connection] = set()
        self.is_leaving = False
        self._threads = ThreadPoolExecutor(self.cfg.threads)
        self._prefix = f"/{os.environ.get('SCRIPT_NAME', '').strip('/')}".rstrip("/")

    def run(self) -> None:
        engine = self.wsgi.extensions.get("engine")
        if engine is None or engine.dialect.name == "sqlite":  # any other database is a network away
            waiting.loop_thread = threading.get_ident()
        super().run()

    def handle_exit_signal(self) -> None:
        """Say with each answer that it was the connection's last one, a moment before connections are closed."""
        self.is_leaving = True
        self.loop.call_later(LEAVE_S, super().handle_exit_signal)

    async def _shutdown(self) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(LEAVE_S)  # for connections that were accepted just before
        self.loop.call_later(IDLE_S, self._close_idle)
        await super()._shutdown()

    def _close_idle(self) -> None:
        for connection in list(self.connections):
            connection.close_if_idle()  # else gunicorn would wait for them

    async def _serve_request(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body, length = _Body(receive, self.loop), dict(scope["headers"]).get(b"content-length")
        if int(length or 0) <= MAX_BODY:  # a larger one is refused unread, or it is an upload
            body.ends = self.loop.time() + BODY_S
            while await body.receive() and len(body.content) <= MAX_BODY:
                pass
        if length is None and body.content:  # it came in chunks; what did not come whole is shorter than it says now
            length = len(body.content) + (0 if body.is_whole else 1 if body.is_broken else MAX_UPLOAD)
            scope["headers"] = [header for header in scope["headers"] if header[0] != b"transfer-encoding"]
            scope["headers"].append((b"content-length", b"%d" % length))
        is_quick = body.is_whole and len(body.content) <= SMALL and waiting.loop_thread is not None
        if is_quick:
            try:
                start, pieces = self._call(scope, io.BytesIO(body.content), False)
                content = b"".join(pieces)
                pieces.close()
                await send(start)
                await send({"type": "http.response.body", "body": content})
                return
            except waiting.WouldWait as error:
                error.__traceback__ = None  # Flask's frame, which holds the error, would be kept with its connection
        start, pieces = await self._in_thread(self._call, scope, body, is_quick)
        try:
            await send(start)
            following = iter(pieces)
            while (piece := await self._in_thread(next, following, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await self._in_thread(pieces.close)
        await send({"type": "http.response.body"})
        # Were the connection closed while the client is still sending, it would never read why it was refused.
        body.ends, taken = self.loop.time() + DRAIN_S, 0
        while await body.receive() and taken < MAX_UPLOAD:
            taken, body.content = taken + len(body.content), b""

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.loop.run_in_executor(self._threads, function, *arguments)

    def _call(self, scope: dict[str, Any], body: Any, again: bool) -> tuple[dict[str, Any], Any]:
        """Call the app, perhaps again; return how its answer starts, and its pieces."""
        path = unquote_to_bytes(WITH_HOST.sub(b"", scope["raw_path"])).decode("latin-1")
        environ = {
            "REQUEST_METHOD": scope["method"],
            "SCRIPT_NAME": self._prefix,
            "PATH_INFO": path,
            "QUERY_STRING": scope["query_string"].decode("latin-1"),
            "SERVER_NAME": str(scope["server"][0]),
            "SERVER_PORT": str(scope["server"][1]),
            "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
            "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": scope["scheme"],
            "wsgi.input": body,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
            "hamlet.again": again,
        }
        for name, value in scope["headers"]:
            key = name.decode("latin-1").upper().replace("-", "_")
            key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
            text = value.decode("latin-1")
            environ[key] = f"{environ[key]},{text}" if key in environ else text
        start: dict[str, Any] = {"type": "http.response.start"}

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            start["status"] = int(status[:3])
            start["headers"] = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]

        return start, self.wsgi(environ, start_response)

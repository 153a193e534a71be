"""The gunicorn worker: one event loop for all connections, and threads for what takes long. You can skip this file.

With a thread for each request, switching between threads costs more than Flask does. So a request is served on the
event loop, between two others, until it would have to wait: then it starts again in a thread (waiting.py). A slow
client costs no thread, as its request enters the app when it is complete. wsgi:app knows nothing of all this, and runs
in any other WSGI server.
"""

import asyncio
import io
import re
import sys
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import unquote_to_bytes
from weakref import WeakSet

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

from webapp import waiting
from webapp.config import MAX_BODY, THREADS

PATIENCE_S = 15  # with a connection's first request (browsers connect before they ask), and with a request's body
LEAVE_S = 0.5  # at a stop, for clients that are just sending their next request
WITH_HOST = re.compile(rb"^https?://[^/]*", re.IGNORECASE)  # how proxies are asked
ACCEPTED = 4  # new connections at a time
SMALL = 64 * 1024  # bytes: a request with more of them takes long


class _Connection(ASGIProtocol):  # type: ignore[misc]
    """gunicorn's connection, which would wait for ever for a first request, and drop a client that closes its side."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.worker.connections.add(self)
        # gunicorn stops this timer when a request begins, and sets it only for the requests after the first.
        self._keepalive_handle = self.worker.loop.call_later(PATIENCE_S, self._keepalive_timeout)

    def _keepalive_timeout(self) -> None:
        self.worker.loop.call_later(0, self.close_if_idle)  # once what came while the loop was held up is read

    def close_if_idle(self) -> None:
        if self._awaiting_request and not self._request_ready.is_set():
            super()._keepalive_timeout()

    def eof_received(self) -> bool:
        """Answer a client that has said all it will say, and then close."""
        self._keepalive = 0.001  # seconds
        if self._body_receiver and not self._body_receiver._complete:
            self._body_receiver.signal_disconnect()
        return self._current_request is not None

    def _close_transport(self) -> None:
        super()._close_transport()
        self.transport.close()  # gunicorn leaves it open for ever where the client has gone already

    def _on_headers_complete(self) -> Any:
        if self.worker.is_leaving:
            self._keepalive = 0  # so the answer says that it is the connection's last one
        return super()._on_headers_complete()


gasgi.ASGIProtocol = _Connection


class _Loop(asyncio.SelectorEventLoop):
    """asyncio's loop, which would take in a hundred new connections at a time, and leave none to the other workers."""

    def _accept_connection(self, factory: Any, sock: Any, context: Any = None, server: Any = None, *more: Any) -> None:
        super()._accept_connection(factory, sock, context, server, ACCEPTED, *more[1:])  # type: ignore[misc]


class _Body:
    """A request's body. A large one is read by a thread while it comes, by `read`."""

    def __init__(self, receive: Callable[[], Awaitable[dict[str, Any]]], loop: asyncio.AbstractEventLoop):
        self._receive, self._loop = receive, loop
        self.content = b""
        self.more: bool | None = True  # to come; False once it is whole, None once it has broken off

    async def receive(self) -> None:
        """Wait for the next piece."""
        message = await self._receive()
        self.content += message.get("body", b"")
        self.more = message.get("more_body")

    def read(self, size: int) -> bytes:
        if not self.content and self.more:
            asyncio.run_coroutine_threadsafe(self.receive(), self._loop).result()
        if self.more is None and not self.content:
            raise OSError("the body has broken off")
        piece, self.content = self.content[:size], self.content[size:]
        return piece


class Worker(gasgi.ASGIWorker):  # type: ignore[misc]
    """gunicorn's asgi worker for an app that speaks WSGI."""

    def _setup_event_loop(self) -> None:
        self.loop = _Loop()
        self.loop.set_default_executor(ThreadPoolExecutor(THREADS))
        asyncio.set_event_loop(self.loop)

    def load_wsgi(self) -> None:
        self.wsgi: Any = self.app.wsgi()
        self.asgi = self._serve_request
        self.connections = WeakSet[_Connection]()
        self.is_leaving = False
        engine = self.wsgi.extensions.get("engine")
        with suppress(Exception):  # the first request will say why
            engine.connect().close()  # so the worker knows the log's files from the start
        if engine is None or engine.dialect.name == "sqlite":  # any other database is a network away
            waiting.loop_thread = threading.get_ident()

    def handle_exit_signal(self) -> None:
        """Let each answer say that it was the connection's last one, a moment before connections are closed."""
        self.is_leaving = True
        self.loop.call_later(LEAVE_S, super().handle_exit_signal)

    async def _shutdown(self) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(LEAVE_S)
        for connection in list(self.connections):
            connection.close_if_idle()  # else gunicorn would wait for them
        await super()._shutdown()

    async def _serve_request(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
            return
        body = _Body(receive, self.loop)
        environ = _environ(scope)
        environ["wsgi.input"] = body
        if int(environ.get("CONTENT_LENGTH", 0)) <= MAX_BODY:  # a larger one is refused unread, or it is an upload
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while body.more and len(body.content) <= MAX_BODY:
                        await body.receive()
            except TimeoutError:
                body.more = None
            if body.more is False:
                environ["wsgi.input"] = io.BytesIO(body.content)
                if environ.pop("HTTP_TRANSFER_ENCODING", None):  # it came in chunks
                    environ["CONTENT_LENGTH"] = str(len(body.content))
            else:
                environ["wsgi.input_terminated"] = True  # it is `read` that knows its end
        if body.more is False and len(body.content) <= SMALL and waiting.loop_thread is not None:
            try:
                start, pieces = self._call(environ.copy())
                content = b"".join(pieces)
                pieces.close()
                await send(start)
                await send({"type": "http.response.body", "body": content})
                return
            except waiting.WouldWait as error:
                error.__traceback__ = None  # Flask's frame, which holds the error, would be kept with its connection
                environ["wsgi.input"].seek(0)
        start, pieces = await asyncio.to_thread(self._call, environ)
        try:
            await send(start)
            following = iter(pieces)
            while (piece := await asyncio.to_thread(next, following, None)) is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        finally:
            await asyncio.to_thread(pieces.close)
        await send({"type": "http.response.body"})
        # Were the connection closed while the client is still sending, it would never read why it was refused.
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while body.more:
                    await body.receive()
                    body.content = b""

    def _call(self, environ: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Call the app; return how its answer starts, and its pieces."""
        start: dict[str, Any] = {"type": "http.response.start"}

        def start_response(status: str, headers: list[tuple[str, str]], _error: Any = None) -> None:
            start["status"], start["headers"] = int(status[:3]), headers

        return start, self.wsgi(environ, start_response)


def _environ(scope: dict[str, Any]) -> dict[str, Any]:
    """Return a request as WSGI has it (PEP 3333), but for its body."""
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(WITH_HOST.sub(b"", scope["raw_path"])).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_NAME": str(scope["server"][0]),
        "SERVER_PORT": str(scope["server"][1]),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in scope["headers"]:
        key = name.decode("latin-1").upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        text = value.decode("latin-1")
        environ[key] = f"{environ[key]},{text}" if key in environ else text
    return environ

"""What every request and answer have in common: who sent it, also behind proxies; a request id; security headers; which
sites may read it; how many each client may send; errors in one shape.

Errors are `application/problem+json` (RFC 9457) under /api/ and for the health checks, and a page elsewhere.
"""

import ipaddress
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from flask import Flask, Request, Response, current_app, jsonify, render_template, request
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface, SessionMixin
from pydantic_core import to_jsonable_python
from werkzeug.exceptions import BadHost, HTTPException, TooManyRequests

from webapp.errors import TITLES, HamletError, LogUnavailable, NotReady, counted
from webapp.inference import Inference

HEADERS = [
    # No inline scripts or styles anywhere: text from a message that slipped through as HTML could do nothing.
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),  # an answer's address is known to its sender alone
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=()"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),  # no other site may take an answer for an image or a script
]
NO_STORE = ("Cache-Control", "no-store")  # nearly all answers hold a message or a form's token
# Seconds: a year, for this host alone; its subdomains are not ours to decide about.
HSTS = ("Strict-Transport-Security", "max-age=31536000")
RETRY_AFTER_S = "5"  # a lock or a full disk seldom lasts longer
SENSIBLE_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
HEALTH_PATHS = ("/healthz", "/readyz", "/metrics")
NOT_A_FAILURE = (404, 405, 429)  # a mistyped address, a scanner, a flood: nothing has gone wrong
READING = ("GET", "HEAD", "OPTIONS")  # methods that leave nothing in the log
EXPOSED = ("Access-Control-Expose-Headers", "Retry-After, X-Request-ID")
PREFLIGHT = Response(  # to a browser's preflight request, which comes without the API key
    status=204,
    headers={
        "Access-Control-Allow-Methods": "GET, POST, PUT",
        "Access-Control-Allow-Headers": "Authorization, Content-Type, X-Request-ID",
        "Access-Control-Max-Age": "600",  # seconds for which browsers need not ask again
    },
)
PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)  # a path on this site, and nothing else
PORT = re.compile(r"(?:\[(.+)\]|([\d.]+))(?::\d+)?")  # [2001:db8::1]:443 and 192.0.2.1:443, as Azure and IIS write
COUNTED_BYTES = 16 * 1024  # a larger request counts as several: it is rows that fill the disk
DETAILS = {
    404: "There is nothing at this address.",
    413: "The request is larger than 1 MiB. Send less text at a time.",
    500: "This is our fault, not yours. It has been noted under the request id.",
}


class _Sessions(SecureCookieSessionInterface):
    """Flask's signed cookies, but those that came over HTTPS stay on HTTPS; on http://127.0.0.1 they must work too."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure

    def get_cookie_path(self, app: Flask) -> str:
        return request.root_path or "/"  # below a sub-path: other apps on this host do not get it

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        # Programs send no cookies, and preparing to check one would be a twentieth of their request's time.
        return super().open_session(app, request) if "HTTP_COOKIE" in request.environ else self.session_class()

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        if session.accessed:  # else there is nothing to do, which Flask finds out last
            super().save_session(app, session, response)


class _Envelope:
    """Wraps the app: it gives every request an id and its client's address, and every answer the common headers.

    The request's header X-Request-ID holds the id, also where the client sent none. Pages of `origins` may call the
    API, without cookies. A WSGI layer costs a tenth of what Flask's hooks would.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], origins: Sequence[str], proxies: int):
        self._app, self._origins, self._proxies = app, origins, proxies
        self._prefix = f"/{os.environ.get('SCRIPT_NAME', '').strip('/')}".rstrip("/")

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._proxies:
            _trust_proxies(environ, self._proxies)
        request_id = environ.get("HTTP_X_REQUEST_ID", "")
        if not SENSIBLE_ID.fullmatch(request_id):
            request_id = environ["HTTP_X_REQUEST_ID"] = f"{random.getrandbits(128):032x}"
        environ["hamlet.started"] = time.perf_counter()
        path = environ["PATH_INFO"]
        if prefix := environ.get("SCRIPT_NAME") or self._prefix:
            environ["SCRIPT_NAME"] = prefix
            if f"{path}/".startswith(f"{prefix}/"):  # the proxy has left the sub-path in the address
                path = environ["PATH_INFO"] = path.removeprefix(prefix)
        app, for_others = self._app, list[tuple[str, str]]()
        if self._origins and path.lstrip("/").startswith("api/"):  # //api/v1 is answered too
            for_others.append(("Vary", "Origin"))
            if (origin := environ.get("HTTP_ORIGIN", "")) in self._origins:
                for_others += [("Access-Control-Allow-Origin", origin), EXPOSED]
                if environ["REQUEST_METHOD"] == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ:
                    app = PREFLIGHT

        def start(status: str, headers: list[tuple[str, str]], error: Any = None) -> Any:
            headers += HEADERS
            headers += for_others
            headers.append(("X-Request-ID", request_id))
            if not any(name == "Cache-Control" for name, _ in headers):
                headers.append(NO_STORE)
            if environ["wsgi.url_scheme"] == "https":
                headers.append(HSTS)
            return start_response(status, headers, error)

        return app(environ, start)


def _trust_proxies(environ: dict[str, Any], count: int) -> None:
    """Let the last `count` proxies say where a request came from (X-Forwarded-*).

    Each proxy appends a value to a header, but not every proxy to every header (behind Cloudflare, nginx sees two
    addresses and one protocol): if there are fewer values than proxies, the last one counts. Werkzeug's ProxyFix would
    take none.
    """

    def last(header: str) -> str:
        values = [value.strip() for value in environ.get(f"HTTP_X_FORWARDED_{header}", "").split(",") if value.strip()]
        return values[-min(count, len(values))] if values else ""

    if address := last("FOR"):
        environ["REMOTE_ADDR"] = address
    if (scheme := last("PROTO").lower()) in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    if host := last("HOST"):
        environ["HTTP_HOST"] = host
    if PREFIX.fullmatch(prefix := last("PREFIX").rstrip("/")):
        environ["SCRIPT_NAME"] = prefix


def sender(address: str | None) -> str:
    """Return the name under which an address's requests are counted: for IPv6 the /64 network, which one sender has.

    All that is no address (a UNIX socket's, or what a proxy made up) has one name: else each would be a new sender.
    """
    try:
        with_port = PORT.fullmatch(address or "")
        ip = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else address or "")
    except ValueError:
        return "unknown"
    if ip.version == 6:
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class _RequestLimit:
    """Refuses a sender of more than HAMLET_MAX_REQUESTS_PER_MINUTE requests that leave a row in the log.

    It counts in this process alone: two workers let through up to twice as many. That is enough to keep the disk from
    being filled; nginx (docs/deploy.md) counts over all workers.
    """

    def __init__(self, most: int):
        self._most = most
        self._minute = 0.0
        self._counts = Counter[str]()

    def refuse(self) -> None:
        minute, second = divmod(time.time(), 60)
        if minute != self._minute:
            self._minute, self._counts = minute, Counter()
        if request.method not in READING and self._counts[sender(request.remote_addr)] >= self._most:
            seconds = 60 - int(second)
            words = f"Wait {counted(seconds, 'second')}, then send the rest more slowly."
            raise TooManyRequests(words, retry_after=seconds)

    def count(self, response: Response) -> Response:
        if request.method not in READING:
            self._counts[sender(request.remote_addr)] += 1 + (request.content_length or 0) // COUNTED_BYTES
        return response


def register(app: Flask) -> None:
    """Set up request ids, headers and error handling for the whole app."""
    app.session_interface = _Sessions()
    app.json.sort_keys = False  # type: ignore[attr-defined]  # id and label first, as documented
    app.json.default = to_jsonable_python  # type: ignore[attr-defined]  # what Python's json cannot write by itself
    app.url_map.strict_slashes = False  # /api/v1/predict/ is /api/v1/predict
    app.wsgi_app = _Envelope(  # type: ignore[method-assign]
        app.wsgi_app, app.config["CORS_ORIGINS"].split(), app.config["TRUSTED_PROXIES"]
    )
    if most := app.config["MAX_REQUESTS_PER_MINUTE"]:
        limit = _RequestLimit(most)
        app.before_request(limit.refuse)
        app.after_request(limit.count)  # a request that starts again in a thread (worker.py) ends once
    app.register_error_handler(HamletError, _answer)
    app.register_error_handler(HTTPException, _answer)


def _answer(error: HamletError | HTTPException) -> Response:
    """Answer an error in the shape of its interface, and record it."""
    headers: list[tuple[str, str]] = []
    if isinstance(error, HamletError):
        status, title, detail, errors = error.status, error.title, str(error), error.errors
        if error.reason:
            current_app.logger.error("%s: %s", title, error.reason)
        if isinstance(error, NotReady):
            headers = [("Retry-After", RETRY_AFTER_S)]
    else:
        status, errors = error.code or 500, []
        title, detail = TITLES.get(status, error.name), DETAILS.get(status) or error.description or ""
        headers = [header for header in error.get_headers() if header[0] != "Content-Type"]
        if methods := dict(headers).get("Allow"):
            detail = f"This address takes {methods}."
    of_health, request_id = request.path.startswith(HEALTH_PATHS), request.headers["X-Request-ID"]
    as_json = of_health or f"{request.path}/".startswith("/api/")
    if status not in NOT_A_FAILURE and not of_health:
        inference: Inference = current_app.extensions["inference"]
        source = "api" if as_json else "form"
        # Only our own words: nothing that was sent may get into the log by being wrong, not even a field's name.
        what = f"{title}: {errors[0]['message']}" if errors else title
        inference.record_failure(source, status, what, request_id, stored=not isinstance(error, LogUnavailable))
    if as_json:
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status, "detail": detail}
        response = jsonify(problem | {"request_id": request_id} | ({"errors": errors} if errors else {}))
        response.content_type = "application/problem+json"
    elif isinstance(error, BadHost):  # a page needs a host for its links
        response = Response(error.get_body())
    else:
        response = current_app.make_response(render_template("error.html", status=status, title=title, detail=detail))
    response.status_code = status
    response.headers.update(headers)
    return response

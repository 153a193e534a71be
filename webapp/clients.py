"""Which client sent a request, also behind proxies, and how many requests each may send."""

import ipaddress
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

PREFIX = re.compile(r"(/[\w.~-]+)+", re.ASCII)  # a path of this site alone, into which nothing can be smuggled
COUNTED_BYTES = 16 * 1024  # a larger request counts as several: it is rows that fill the disk
PORT = re.compile(r"(?:\[(.+)\]|([\d.]+))(?::\d+)?")  # [2001:db8::1]:443 and 192.0.2.1:443, as Azure and IIS write


class TrustedProxies:
    """WSGI middleware: let the last `count` proxies say where a request came from (X-Forwarded-*).

    Each proxy adds its word to those of the ones before. Not all add one to every header (behind Cloudflare, nginx
    sees two addresses and one protocol): where there are fewer words than proxies, the last one counts. Werkzeug's
    ProxyFix counts none then.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]], count: int):
        self._app = app
        self._count = count

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if address := self._word(environ, "FOR"):
            environ["REMOTE_ADDR"] = address
        if (scheme := self._word(environ, "PROTO").lower()) in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        if host := self._word(environ, "HOST"):
            environ["HTTP_HOST"] = host
        if PREFIX.fullmatch(prefix := self._word(environ, "PREFIX").rstrip("/")):
            environ["SCRIPT_NAME"] = prefix
        return self._app(environ, start_response)

    def _word(self, environ: dict[str, Any], header: str) -> str:
        said = environ.get(f"HTTP_X_FORWARDED_{header}", "").split(",")
        words: list[str] = [word.strip() for word in said if word.strip()]
        return words[-min(self._count, len(words))] if words else ""


def sender(address: str | None) -> str:
    """Return what stands for whoever has this address: of IPv6 its /64 network, as one sender has all of it.

    What is no address (a UNIX socket's, or what a proxy made up) counts together: else each would be somebody new.
    """
    try:
        with_port = PORT.fullmatch(address or "")
        ip = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else address or "")
    except ValueError:
        return "unknown"
    if ip.version == 6:
        return str(ip.ipv4_mapped or ipaddress.ip_network((ip, 64), strict=False))
    return str(ip)


class RequestLimit:
    """Counts each sender's requests of a minute, in this process alone: with two workers it lets through up to twice.

    That is enough against whoever would fill the disk; nginx (docs/deploy.md) counts over all workers.
    """

    def __init__(self, requests_per_minute: int):
        self._most = requests_per_minute
        self._lock = threading.Lock()
        self._minute = 0
        self._counts: dict[str, int] = {}

    def seconds_to_wait(self, address: str | None, size: int) -> int:
        """Return 0 if a request of so many bytes may pass, which counts it, else when its sender may try again."""
        minute, second = divmod(time.time(), 60)
        with self._lock:
            if minute != self._minute:
                self._minute, self._counts = int(minute), {}
            who = sender(address)
            count = self._counts.get(who, 0)
            if count >= self._most:
                return 60 - int(second)
            self._counts[who] = count + 1 + size // COUNTED_BYTES
            return 0

"""Requests as no client would send them, on a real gunicorn by a raw socket: each is answered, and none by a 500.

What was refused leaves no row, and what was answered is in the log, whatever came before and after it.
"""

import gzip
import itertools
import json
import socket
from urllib.parse import urlsplit

import pytest
from conftest import HAM

BODY = json.dumps({"text": HAM}).encode()
CHUNKED = b"Transfer-Encoding: chunked\r\n"
JSON = b"Content-Type: application/json\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def exchange(server, request):
    """Send bytes and nothing more; return the bytes that came back until the connection was closed."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def get(target, headers=b"", method=b"GET"):
    return method + b" " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + headers + b"\r\n"


def post(headers, body, target=b"/api/v1/predict", kind=JSON):
    return get(target, kind + headers, b"POST") + body


def sized(body, length=None):
    return b"Content-Length: %d\r\n" % (len(body) if length is None else length)


def chunk(body):
    return b"%x\r\n%s\r\n" % (len(body), body)


def parts(count, name=b"a"):
    return b"".join(b'--b\r\nContent-Disposition: form-data; name="' + name + b'"\r\n\r\n\r\n' for _ in range(count))


MULTIPART = b"Content-Type: multipart/form-data; boundary=b\r\n"
BOMB = gzip.compress(b"[" * 50_000_000, mtime=0)

# name: (request, statuses that are right)
REQUESTS = {
    # bodies that break off or are garbled
    "length too great": (post(sized(BODY, 1000), BODY), {400}),
    "length negative": (post(sized(BODY, -5), BODY), {400}),
    "length of exabytes": (post(sized(BODY, 10**23), BODY), {413}),
    "length and chunks": (post(sized(BODY) + CHUNKED, chunk(BODY) + b"0\r\n\r\n"), {400}),
    "chunks": (post(CHUNKED, chunk(BODY[:9]) + chunk(BODY[9:]) + b"0\r\n\r\n"), {200}),
    "a chunk of no size": (post(CHUNKED, b"zz\r\n" + BODY + b"\r\n0\r\n\r\n"), {400}),
    "a chunk of exabytes": (post(CHUNKED, b"f" * 18 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"), {400}),
    "half a chunk": (post(CHUNKED, chunk(BODY)[:9]), {400}),
    "no last chunk": (post(CHUNKED, chunk(BODY)), {400}),
    "too many chunks": (post(CHUNKED, chunk(b" " * 65536) * 40 + b"0\r\n\r\n"), {413}),
    "whole JSON in too many chunks": (post(CHUNKED, chunk(BODY) + chunk(b" " * 65536) * 40 + b"0\r\n\r\n"), {413}),
    "a coding that is none": (post(b"Transfer-Encoding: banana\r\n", BODY), {501}),
    "half a form": (post(sized(b"", 600), b"text=half+a+mess", b"/", FORM), {400}),
    "a form in garbled chunks": (post(CHUNKED, b"zz\r\ntext=a\r\n", b"/", FORM), {400}),
    # bodies that are packed, or said to be something else
    "packed as nothing": (post(b"Content-Encoding: Identity\r\n" + sized(BODY), BODY), {200}),
    "a gzip bomb": (post(b"Content-Encoding: gzip\r\n" + sized(BOMB), BOMB), {415}),
    "a gzip bomb without a word": (post(sized(BOMB), BOMB), {400}),
    "UTF-16": (post(sized(BODY.decode().encode("utf-16")), BODY.decode().encode("utf-16")), {200, 400}),
    "a charset of rubbish": (post(sized(BODY), BODY, kind=b"Content-Type: application/json; charset=\xff\r\n"), {200}),
    "a type of rubbish": (post(sized(BODY), BODY, kind=b"Content-Type: ;;=,\r\n"), {415}),
    # JSON bombs
    "depth": (post(sized(b"[" * 900_000), b"[" * 900_000), {400}),
    "100,000 names": (
        post(sized(names := b"{%s}" % b",".join(b'"%d":1' % i for i in range(90_000))), names),
        {422},
    ),
    "a name twice": (post(sized(twice := b'{"text":"a","text":"b"}'), twice), {200}),
    # request lines, paths and queries
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", {400}),
    "a path of 4,000": (get(b"/" + b"a" * 4000), {404}),
    "a path of 9,000": (get(b"/" + b"a" * 9000), {414}),
    "NUL": (get(b"/a\x00b"), {400}),
    "%00 in the API": (get(b"/api/v1/predictions/%00"), {404}),
    "half a surrogate pair": (get(b"/api/v1/predictions/%ed%a0%80"), {404}),
    "bytes above 127": (get(b"/\xe9"), {400}),
    "a way up": (get(b"/static/..%2f..%2fwsgi.py"), {404}),
    "a way up in Bootstrap": (get(b"/bootstrap/static/..%2f..%2fwsgi.py"), {404}),
    "two slashes": (get(b"//evil.example/review"), {404}),
    "another site's address": (get(b"http://evil.example/login"), {200}),
    "no address": (get(b"evil.example:80"), {400}),
    # methods
    "a star": (get(b"*", method=b"OPTIONS"), {404}),
    "CONNECT": (get(b"x:80", method=b"CONNECT"), {400, 404}),
    "TRACE": (get(b"/", method=b"TRACE"), {405}),
    # headers
    "no host": (b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n", {200}),
    "a host that is none": (b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % (b"a" * 300), {400}),
    "a header of 100,000": (get(b"/", b"X: " + b"a" * 100_000 + b"\r\n"), {431}),
    "500 headers": (get(b"/", b"".join(b"X-%d: a\r\n" % i for i in range(500))), {431}),
    "NUL in a header": (get(b"/", b"X: a\x00b\r\n"), {400}),
    "a request id of no letters": (get(b"/", b"X-Request-ID: \xff\xfe\r\n"), {200}),
    "an expectation": (post(sized(BODY) + b"Expect: tea\r\n", BODY), {200, 417}),
    "an upgrade": (get(b"/", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"), {426}),
    "a range of nothing": (get(b"/static/style.css", b"Range: bytes=9999999999999999999999-1,-,\r\n"), {416}),
    "a date that is none": (get(b"/static/style.css", b"If-Modified-Since: \xff\r\nIf-None-Match: \xff\r\n"), {200}),
    "a key of no letters": (get(b"/api/v1/predictions", b"Authorization: Bearer \xff\xfe\r\n"), {401}),
    "a password that is no Base64": (get(b"/api/v1/predictions", b"Authorization: Basic \xff===\r\n"), {401}),
    "cookies of rubbish": (get(b"/", b"Cookie: hamlet_session=\xff\xfe; ;;=; " + b"x=y; " * 1000 + b"\r\n"), {200}),
    # multipart
    "no boundary": (post(sized(b"text=a"), b"text=a", b"/", b"Content-Type: multipart/form-data\r\n"), {400}),
    "20,000 parts": (post(sized(parts(20_000)), parts(20_000), b"/", MULTIPART), {400, 413}),
    "a name of 900,000": (post(sized(parts(1, b"a" * 900_000)), parts(1, b"a" * 900_000), b"/", MULTIPART), {400, 413}),
    "half a part": (post(sized(b"", 600), parts(1, b"text") + b"abc", b"/", MULTIPART), {400}),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_every_bad_request_is_answered_and_its_neighbours_are_in_the_log(shared_server, name):
    server, (request, right) = shared_server, REQUESTS[name]
    before = server.call("/api/v1/predict", {"text": HAM})[1]["id"]
    cookie = exchange(server, get(b"/")).partition(b"Set-Cookie: ")[2].partition(b"=")[0]
    answer = exchange(server, request.replace(b"hamlet_session", cookie))
    head, _, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in right, answer[:500]
    assert b"Traceback" not in answer
    if status >= 400 and b"X-Request-ID" in head:  # else it was no HTTP, and gunicorn answers that by itself
        if b" /api/" in request[:12]:
            assert b"Content-Type: application/problem+json" in head
            assert json.loads(body)["status"] == status
        else:
            assert b"<html" in body
    stored = server.stored()
    assert (stored[0], len(stored)) == (before, 1 + (status == 200 and b"/predict" in request[:24]))
    assert "Traceback" not in server.output()


def test_every_route_answers_every_method(app, client):
    app.testing = False  # a fault is a 500, as it would be for a visitor
    methods = ("HEAD", "OPTIONS", "TRACE", "PATCH", "DELETE", "PUT", "POST", "BREW")
    for rule, method in itertools.product(app.url_map.iter_rules(), methods):
        path = rule.rule
        for argument in rule.arguments:
            path = path.replace(f"<path:{argument}>", "..%2f%00").replace(f"<{argument}>", "no-such-id\x00\u202e")
        answer = client.open(path, method=method)
        assert answer.status_code < 500, (method, path)
        if answer.status_code == 405:
            assert method == "HEAD" or f"This address takes {answer.headers['Allow']}." in answer.text
        if answer.status_code >= 400 and path.startswith("/api/") and method != "HEAD":
            assert answer.content_type == "application/problem+json"

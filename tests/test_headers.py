"""Security headers on every answer, and what a passive scanner looks for on every page."""

import re

import pytest
from conftest import HAM, PASSWORD, SPAM, address, hidden

from webapp.config import MAX_BODY, ROOT, Settings

ALWAYS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
STATIC = ("/static/", "/bootstrap/")
LINK = re.compile(r'\s(?:href|src|srcset|action|formaction|data-status)="([^"]+)"')
# What needs a weaker policy, or tells what it should not.
INLINE = re.compile(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)[^>]*>|<!--")
FORM = re.compile(r'<form[^>]*method="post".*?</form>', re.DOTALL)
TYPES = {  # with their character set, where they are text
    "text/html; charset=utf-8",
    "text/css; charset=utf-8",
    "text/javascript; charset=utf-8",
    "text/plain; version=0.0.4; charset=utf-8",
    "application/json",
    "application/problem+json",
    "image/svg+xml; charset=utf-8",
}
LEAKS = re.compile(
    r"Traceback|File \"|werkzeug|sqlalchemy|gunicorn|sqlite3?\.|Python/\d|SELECT .* FROM|"
    r"\b(?:10|127|192\.168|172\.(?:1[6-9]|2\d|3[01]))\.\d{1,3}\.\d{1,3}\b|-----BEGIN|" + re.escape(str(ROOT))
)


@pytest.fixture
def app(whole_app):
    return whole_app


def faults_of(answer, path):
    """Return what is wrong with an answer, as a passive scanner would say it."""
    headers = answer.headers
    faults = [f"{name} is {headers.getlist(name)}" for name in ALWAYS if headers.getlist(name) != [ALWAYS[name]]]
    faults += [f"{name} says too much" for name in ("Server", "X-Powered-By") if name in headers]
    faults += ["other sites may read it"] if "Access-Control-Allow-Origin" in headers else []
    is_form = path == "/" and answer.status_code == 200 and answer.request.method in ("GET", "HEAD")
    wanted = "private, no-cache" if is_form else "no-store"
    if not path.startswith(STATIC) and answer.headers["Cache-Control"] != wanted:
        faults.append(f"Cache-Control is {answer.headers['Cache-Control']}")
    for cookie in answer.headers.getlist("Set-Cookie"):
        faults += [f"a cookie without {flag}" for flag in ("HttpOnly", "SameSite=Lax", "Path=/") if flag not in cookie]
        faults += ["a cookie for a whole domain"] if "Domain=" in cookie else []
    if answer.status_code not in (204, 304) and answer.content_type not in TYPES:
        faults.append(f"its type is {answer.content_type}")
    if not path.startswith(STATIC):
        faults += [f"it tells {found}" for found in LEAKS.findall(answer.text)]
    if answer.mimetype == "text/html":
        faults += [f"inline: {found}" for found in INLINE.findall(answer.text)]
        faults += ["a form without a token" for form in FORM.findall(answer.text) if 'csrf_token" value="' not in form]
        links = LINK.findall(answer.text)
        faults += [f"a link to {link}" for link in links if not re.match(r"[/?#](?!/)", link)]
        faults += [f"a secret in {link}" for link in links if re.search("token|password|session|key=", link)]
        is_page = answer.text and answer.status_code // 100 != 3
        faults += ["no language"] if is_page and not answer.text.startswith('<!doctype html>\n<html lang="en"') else []
    return faults


def test_what_anybody_or_the_signed_in_can_reach_passes_all_rules(app, signed_in):
    paths = [address(app, rule.rule) + "?on=reviews" for rule in app.url_map.iter_rules() if "GET" in rule.methods]
    paths += [f"/static/{path.name}" for path in (ROOT / "static").iterdir()]
    paths += [f"/review?queue={queue}" for queue in ("random", "uncertain", "reported", "all")]
    for path in paths:
        for client in (app.test_client(), signed_in):
            with client.get(path) as answer:
                assert answer.status_code < 500, path
                assert faults_of(answer, path.partition("?")[0]) == [], path


ODD = [
    ("GET", "/nothing", {}, 404),
    ("GET", "/api/v1/nothing", {}, 404),
    ("GET", "/static/nothing.css", {}, 404),
    ("DELETE", "/", {}, 405),
    ("DELETE", "/api/v1/predict", {}, 405),
    ("OPTIONS", "/", {}, 200),
    ("HEAD", "/", {}, 200),
    ("POST", "/", {"data": {"text": "hello"}}, 400),
    ("POST", "/", {"data": {"text": "x" * (MAX_BODY + 1)}}, 413),
    ("GET", "/review", {}, 303),
    ("GET", "/api/v1/predictions", {}, 401),
    ("POST", "/api/v1/predict", {"data": b"{"}, 415),
    ("POST", "/api/v1/predict", {"json": {}}, 422),
    ("POST", "/api/v1/predict", {"json": {"text": "x" * (MAX_BODY + 1)}}, 413),
    ("POST", "/api/v1/predict", {"json": {"text": SPAM}}, 200),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), ODD, ids=lambda value: str(value)[:30])
def test_errors_and_redirects_pass_all_rules_too(app, method, path, body, status):
    with app.test_client().open(path, method=method, **body) as answer:
        assert (answer.status_code, faults_of(answer, path)) == (status, [])


@pytest.mark.parametrize(("path", "view"), [("/", "check.form"), ("/api/v1/predictions/x", "api.read")])
def test_a_fault_of_ours_shows_its_cause_to_the_operator_alone(app, monkeypatch, caplog, path, view):
    def fail(**_):
        raise RuntimeError("a secret of the inside, with a Traceback")

    monkeypatch.setitem(app.view_functions, view, fail)
    answer = app.test_client().get(path)
    assert (answer.status_code, faults_of(answer, path)) == (500, [])
    assert "secret of the inside" not in answer.text
    assert "secret of the inside" in caplog.text


@pytest.mark.parametrize("proxies", [0, 1, 2])
def test_only_proxies_that_are_trusted_can_say_that_it_was_https(make_app, proxies):
    app = make_app(WTF_CSRF_ENABLED=True, TRUSTED_PROXIES=proxies)
    # The sender's word, then proxies'.
    for said, count in (("https", 1), ("https, http", 2), ("https,http,http", 3), ("HTTPS, ", 1)):
        answer = app.test_client().get("/", headers={"X-Forwarded-Proto": said})
        is_https = proxies >= count  # not all of them need say it: Cloudflare and nginx give one word
        assert answer.headers.get("Strict-Transport-Security") == ("max-age=31536000" if is_https else None)
        assert ("; Secure" in answer.headers["Set-Cookie"]) == is_https


def test_the_rules_find_what_they_are_for(app, monkeypatch):
    """A rule that never finds anything would prove nothing."""
    bad = (
        '<p onclick="x"><p style="x"><script>x</script><a href="//evil.example">x</a><!-- x -->'
        '<form method="post"></form><p>/home 192.168.0.1 Traceback</p>'
    )
    headers = {"Set-Cookie": "session=x", "Cache-Control": "public", "Server": "Apache/2.4.1"}
    monkeypatch.setitem(app.view_functions, "check.form", lambda: (bad, headers))
    found = " ".join(faults_of(app.test_client().get("/"), "/"))
    for word in ("onclick", "style", "script", "link to //evil", "<!--", "token"):
        assert word in found
    for word in ("192.168.0.1", "Traceback", "HttpOnly", "SameSite", "Cache-Control", "language", "Server"):
        assert word in found


# --- Pages of other sites ---

FRIEND = "https://www.example.org"


@pytest.fixture
def shared(make_app):
    """An app that the pages of some other sites may ask."""
    settings = Settings(CORS_ORIGINS="https://WWW.example.org:443 http://127.0.0.1:3000 capacitor://localhost")
    return make_app(CORS_ORIGINS=settings.CORS_ORIGINS).test_client()


def cors(answer):
    return {name: value for name, value in answer.headers if name.startswith("Access-Control-")}


def test_friends_may_ask_first_and_read_answers_and_errors_of_the_api(shared):
    asks = {"Origin": FRIEND, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    answer = shared.options("/api/v1/predictions/x/review", headers=asks)  # for which a key will be needed
    assert (answer.status_code, cors(answer)["Access-Control-Allow-Methods"]) == (204, "GET, POST, PUT")
    assert "Authorization" in cors(answer)["Access-Control-Allow-Headers"]
    for path, body, status in (
        ("/api/v1/predict", {"text": HAM}, 200),
        ("/api/v1/predict", {}, 422),
        ("/api/v1/nothing", {}, 404),
        ("/api/v1/predictions", None, 401),
        ("/api/openapi.json", None, 200),
    ):
        answer = shared.open(path, method="GET" if body is None else "POST", json=body, headers={"Origin": FRIEND})
        assert (answer.status_code, cors(answer)["Access-Control-Allow-Origin"]) == (status, FRIEND)
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Origin" in answer.vary
    twice = {"PATH_INFO": "//api/docs"}  # as a base address that ends in a slash makes it
    mobile = shared.get("/", environ_overrides=twice, headers={"Origin": "capacitor://localhost"})
    assert cors(mobile)["Access-Control-Allow-Origin"] == "capacitor://localhost"


def test_others_may_not(shared, app):
    others = ("https://evil.example", "https://www.example.org.evil.example", "null", "", "*")
    for client, origin in (*((shared, origin) for origin in others), (app.test_client(), FRIEND)):
        asks = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        assert cors(client.options("/api/v1/predict", headers=asks)) == {}
        assert cors(client.post("/api/v1/predict", json={"text": HAM}, headers=asks)) == {}
        assert client is not shared or "Origin" in shared.get("/api/v1/nothing", headers=asks).vary
    for path in ("/", "/login", "/static/style.css", "/healthz"):  # and pages are for nobody else
        with shared.get(path, headers={"Origin": FRIEND}) as answer:
            assert cors(answer) == {}


# --- Addresses ---


@pytest.fixture
def below(make_app):
    """A client of an app behind two proxies, which serve it below /spam."""
    client = make_app(WTF_CSRF_ENABLED=True, TRUSTED_PROXIES=2).test_client()
    client.environ_base |= {"HTTP_X_FORWARDED_PREFIX": "/spam", "HTTP_X_FORWARDED_PROTO": "https"}
    return client


def test_below_a_sub_path_every_link_stays_below_it(below):
    for path in ("/", "/login", "/api/docs", "/nothing", "/spam", "/spam/login"):  # it may have been cut off, or not
        answer = below.get(path)
        assert answer.status_code == (404 if path == "/nothing" else 200)
        links = [link for link in LINK.findall(answer.text) if not link.startswith("#")]
        assert links
        assert [link for link in links if not link.startswith("/spam/")] == []
        assert "; Path=/spam" in answer.headers.get("Set-Cookie", "; Path=/spam")
    assert 'data-path="/spam/api/v1/predict"' in below.get("/api/docs").text
    assert below.get("/api/openapi.json").json["servers"][0]["url"] == "/spam"
    answer = below.get("/review?page=2")
    assert answer.location == "/spam/login?next=/spam/review?page%3D2"
    as_seen = {"base_url": "https://localhost/spam"}  # so that the client keeps its cookie as a browser does
    form = {"password": PASSWORD, "csrf_token": hidden(below.get("/login", **as_seen).text, "csrf_token")}
    answer = below.post(answer.location.removeprefix("/spam"), data=form, **as_seen)  # over HTTPS, without a Referer
    assert answer.location == "/spam/review?page=2"
    assert "Sign out" in below.get("/review", **as_seen).text


def test_a_prefix_that_is_no_path_is_left_out(below):
    for prefix in ("//evil.example", "/a b", "spam", "/x y/z", "/\\evil", '/"><script>', "/é"):
        answer = below.get("/", headers={"X-Forwarded-Prefix": prefix})
        assert 'href="/static/style.css"' in answer.text, prefix


def test_addresses_as_people_type_and_copy_them(app):
    client = app.test_client()
    answer = client.post("/api/v1/predict/", json={"text": HAM})
    assert answer.status_code == 200
    assert client.get(f"/api/v1/predictions/{answer.json['id'].upper()}").json["id"] == answer.json["id"]
    assert client.get(f"/predictions/{answer.json['id'].upper()}").status_code == 200
    with client.get("/favicon.ico", follow_redirects=True) as icon:
        assert (icon.status_code, icon.mimetype) == (200, "image/svg+xml")

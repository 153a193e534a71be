"""Who may come in: the admin password, the wait after wrong ones, API keys. Each route: tests/test_doors.py."""

import datetime as dt
import os
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import PASSWORD, Browser, Server, execute, stored

from webapp.app import create_app
from webapp.config import read_all
from webapp.errors import BadData
from webapp.extras.access import keys, passwords
from webapp.extras.access.passwords import AdminPassword
from webapp.instance import secret_key
from webapp.log.tables import failed_sign_ins, failures, sign_ins

FIRST_PASSWORD = re.compile(r"The admin password is (\S+) ")
on_both = pytest.mark.databases("sqlite", "postgresql")


def sign_in(client, password=PASSWORD, target="", **options):
    return client.post(f"/login{target}", data={"password": password}, **options)


def let_pass(app, seconds):
    """Let time go by for the passwords."""
    engine = app.extensions["engine"]
    for last_at in execute(engine, sa.select(failed_sign_ins.c.last_at)):
        execute(engine, sa.update(failed_sign_ins).values(last_at=last_at - dt.timedelta(seconds=seconds)))


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def start(make_app, capsys):
    """Make an app with its password in its instance folder or the environment; return it with what it printed."""
    return lambda: (make_app(ADMIN_PASSWORD=read_all()["ADMIN_PASSWORD"]), capsys.readouterr().err)


# --- The password ---


def test_the_first_start_prints_a_password_once_and_it_signs_in(start, tmp_path):
    app, printed = start()
    password = FIRST_PASSWORD.search(printed)[1]
    assert "http" not in printed  # `flask run` has another port, a container another host
    again, printed = start()
    assert printed == ""
    assert sign_in(again.test_client(), password).status_code == 303
    file = tmp_path / "own" / "admin_password"
    assert file.read_text().startswith("scrypt:")
    file.unlink()  # without it nobody is signed in, and the page says what to do
    answer = sign_in(again.test_client(), "")
    assert (answer.status_code, "set-password" in answer.text) == (503, True)


def test_processes_that_start_together_make_one_secret_and_one_password(tmp_path, capsys):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: AdminPassword(tmp_path, None, "key").make_first(), range(4)))
        assert len(set(pool.map(secret_key, [tmp_path] * 8))) == 1
    (password,) = FIRST_PASSWORD.findall(capsys.readouterr().err)
    assert AdminPassword(tmp_path, None, "key").is_right(password)
    assert {path.name for path in tmp_path.iterdir()} == {"admin_password", "secret_key"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_sets_for_the_service_the_service_can_read(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    AdminPassword(tmp_path, None, "key").set("set by root")
    file = (tmp_path / "admin_password").stat()
    assert (file.st_uid, file.st_gid, file.st_mode & 0o777) == (12345, 12345, 0o600)


def test_a_password_of_the_environment_is_taken_as_it_is_written(start, tmp_path, monkeypatch):
    for password in ("12345678", "1e99999999", '"quoted"', "true & false", "Straße 12"):
        monkeypatch.setenv("HAMLET_ADMIN_PASSWORD", f"{password}\r\n")  # as from a secret's file
        app, printed = start()
        assert (printed, (tmp_path / "own" / "admin_password").exists()) == ("", False)
        assert sign_in(app.test_client(), password).status_code == 303
        assert sign_in(app.test_client(), password + "0").status_code == 403


def test_set_password_signs_everybody_out(start, flask):
    app, printed = start()
    client, run = app.test_client(), app.test_cli_runner().invoke
    sign_in(client, FIRST_PASSWORD.search(printed)[1])
    assert run(args=["set-password"], input="one password\nanother password\n").exit_code == 1
    assert "Sign out" in client.get("/").text
    result = run(args=["set-password"], input="a new password\na new password\n")
    assert (result.exit_code, "a new password" in result.output) == (0, False)
    assert "Sign out" not in client.get("/").text
    assert sign_in(client, FIRST_PASSWORD.search(printed)[1]).status_code == 403
    assert sign_in(client, "a new password").status_code == 303
    assert run(args=["set-password", "-"], input="from a pipe\n").exit_code == 0
    assert sign_in(client, "from a pipe").status_code == 303
    assert run(args=["set-password", "-"], input=b"\xef\xbb\xbffrom Windows\r\n").exit_code == 0
    assert sign_in(client, "from Windows").status_code == 303
    for given, words in (("short", "8 characters or more"), (b"p\xe4sswords", "not UTF-8"), ("a\0password", "no form")):
        refused = run(args=["set-password", "-"], input=given)
        assert (refused.exit_code, words in refused.output) == (2, True)
    useless = flask("set-password", "-", input="a new password\n")
    assert (useless.exit_code, "HAMLET_ADMIN_PASSWORD is set" in useless.output) == (2, True)


# --- Signing in and out ---


def test_a_new_sign_in_ends_the_older_one(app, client):
    sign_in(client)
    copy, name = app.test_client(), app.config["SESSION_COOKIE_NAME"]
    copy.set_cookie(name, client.get_cookie(name).value)
    assert copy.get("/review").status_code == 200
    sign_in(client)
    assert (copy.get("/review").status_code, client.get("/review").status_code) == (303, 200)


def test_a_second_hamlet_on_this_host_signs_nobody_out(signed_in, make_app):
    cookie = make_app("other").test_client().get("/login").headers["Set-Cookie"].partition(";")[0]
    signed_in.set_cookie(*cookie.split("=", 1))  # browsers send cookies to all ports of a host
    assert signed_in.get("/review").status_code == 200


@on_both
def test_a_sign_in_ends_after_12_hours_whatever_was_done_meanwhile(client, engine):
    sign_in(client)
    (until,) = execute(engine, sa.select(sign_ins.c.until))
    for hours, status in ((11.9, 200), (12.1, 303)):  # that have gone by
        execute(engine, sa.update(sign_ins).values(until=until - dt.timedelta(hours=hours)))
        assert client.get("/review").status_code == status


def test_pages_for_the_signed_in_send_others_to_sign_in_and_back(client):
    page = client.get("/").text
    assert ('href="/login"' in page, "Review</a>" in page) == (True, False)
    answer = client.get("/review?queue=all&text=caf%C3%A9")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (303, "no-store")
    answer = sign_in(client, target=answer.location.removeprefix("/login"))
    assert answer.location == "/review?queue=all&text=caf%C3%A9"
    answer = client.get(answer.location)
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert client.get("/login").location == "/review"
    assert [words in answer.text for words in ('href="/login"', "Review</a>", "Models</a>")] == [False, True, True]


def test_no_link_leads_through_the_sign_in_to_another_site(signed_in):
    for address in (
        *("//evil.example", "///evil.example", "http://evil.example", "https:evil.example", "javascript:alert(1)"),
        *("\\\\evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example"),
        *(" //evil.example", "/inside\r\nSet-Cookie: a=b", "evil.example", ""),
    ):
        assert sign_in(signed_in, query_string={"next": address}).location == "/review", address
        assert signed_in.get("/login", query_string={"next": address}).location == "/review", address


# --- The wait after wrong passwords ---


@on_both
def test_five_wrong_tries_are_free_then_each_has_to_wait_longer(app, client):
    for _ in range(5):
        answer = sign_in(client, "wrong")
        assert (answer.status_code, "This is not the password" in answer.text) == (403, True)
    for seconds in (2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        answer = sign_in(client)  # not even the right one
        assert answer.status_code == 429
        assert seconds - 1 <= int(answer.headers["Retry-After"]) <= seconds
        assert f"Wait {answer.headers['Retry-After']} s, then" in answer.text
        let_pass(app, seconds)
        assert sign_in(client, "wrong").status_code == 403
    other = app.test_client()
    assert sign_in(other, environ_base={"REMOTE_ADDR": "192.0.2.2"}).status_code == 303  # others need not wait
    assert sign_in(client).status_code == 429
    assert other.get("/review").status_code == 200
    let_pass(app, 300)
    assert sign_in(client).status_code == 303
    assert sign_in(client, "wrong").status_code == 403  # and all is forgotten
    assert sign_in(client).status_code == 303
    assert {*stored(app, failures.c.what)} == {"Wrong password", "Too many wrong passwords"}


@on_both
def test_addresses_count_together_where_one_sender_has_them_all(app, make_app):
    engine = app.extensions["engine"]
    for one, other, same in (
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one customer's network
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),  # the same computer through an IPv6 socket
        ("192.0.2.1:40000", "192.0.2.1:40001", True),  # as Azure and IIS write it
        ("[2001:db8::1]:40000", "2001:db8::2", True),
        ("unknown", "_hidden", True),  # no address: it does not make one somebody new
    ):
        with ThreadPoolExecutor(8) as pool:  # at the same moment, none slips through
            waits = list(pool.map(lambda _, one=one: passwords.begin_try(engine, one), range(8)))
        assert waits.count(0) == 5
        assert (passwords.begin_try(engine, other) > 0) == same, one
        passwords.forget(engine, one)
        passwords.forget(engine, other)
    proxied = make_app(TRUSTED_PROXIES=2).test_client()
    sent = [{"X-Forwarded-For": f"9.9.9.{number}, 5.5.5.5, 172.68.1.1"} for number in range(8)]
    assert [sign_in(proxied, "wrong", headers=one).status_code for one in sent] == [403] * 5 + [429] * 3
    passwords.begin_try(engine, "192.0.2.1")
    let_pass(app, 86_401)  # old tries are forgotten
    passwords.begin_try(engine, "192.0.2.7")
    assert execute(engine, sa.select(failed_sign_ins.c.address)) == ["192.0.2.7"]


def test_when_the_log_does_not_know_nobody_gets_in(app, client, signed_in):
    for table in ("failed_sign_ins", "api_keys", "sign_ins"):
        execute(app.extensions["engine"], sa.text(f"DROP TABLE {table}"))
    for answer in (sign_in(client), *(signed_in.get(path) for path in ("/review", "/monitor", "/batch"))):
        assert (answer.status_code, "try again" in answer.text) == (503, True)
    assert client.get("/").status_code == 200
    assert client.get("/api/v1/predictions", headers=bearer("hamlet_x")).status_code == 503


def test_a_real_server_prints_the_password_once(tmp_path):
    with Server(tmp_path / "instance", HAMLET_ADMIN_PASSWORD=None, HAMLET_WORKERS="2") as server:
        (password,) = FIRST_PASSWORD.findall(server.output())
        pages = [Browser(server.url).send("/login", password=one)[1] for one in ("wrong", password)]
    assert ["Sign out" in page for page in pages] == [False, True]


# --- How many requests, and of whom ---


def test_each_address_may_send_so_many_requests_a_minute(make_app, monkeypatch):
    monkeypatch.setattr("webapp.http.time.time", lambda: 90.0)
    app = make_app(MAX_REQUESTS_PER_MINUTE=3)
    client = app.test_client()
    assert [client.post("/api/v1/predict", json={"text": "hi"}).status_code for _ in range(3)] == [200] * 3
    for path in ("/api/v1/predict", "/", "/login", "/nothing"):
        answer = client.post(path, json={"text": "hi"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert stored(app, failures) == []  # else whoever is refused would fill the disk with that
    assert client.get("/").status_code == 200
    assert client.post("/api/v1/predict", json={}, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 422
    monkeypatch.setattr("webapp.http.time.time", lambda: 120.0)
    large = {"texts": ["a" * 9_000] * 7}  # counts as several, but is let through where anything is
    assert [client.post("/api/v1/predict/batch", json=large).status_code for _ in range(2)] == [200, 429]


def test_a_closed_service_asks_for_the_sign_in_or_a_key(make_app, tmp_path):
    app = make_app(PUBLIC=False)
    client = app.test_client()
    assert client.get("/").location == "/login?next=/"
    assert client.post("/", data={"text": "hi"}).status_code == 403
    answer = client.post("/api/v1/predict", data="{")
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    headers = bearer(keys.create(app.extensions["engine"], "app"))
    id_ = client.post("/api/v1/predict", json={"text": "hi"}, headers=headers).json["id"]
    assert client.get(f"/api/v1/predictions/{id_}").status_code == 401
    assert client.get(f"/predictions/{id_}").status_code == 303
    sign_in(client)
    assert client.post("/", data={"text": "hi"}).status_code == 303
    assert client.get(f"/predictions/{id_}").status_code == 200
    for path in ("/healthz", "/readyz", "/api/docs", "/metrics"):
        assert app.test_client().get(path).status_code == 200
    operation = client.get("/api/openapi.json").json["paths"]["/api/v1/predict"]["post"]
    assert (operation["security"], "401" in operation["responses"]) == ([{"api_key": []}], True)
    for extras, public in (((), False), (("review",), True)):  # it is not left open where nobody asks
        with pytest.raises(SystemExit, match="need the extra `access`"):
            create_app(tmp_path / "bare", extras=extras, PUBLIC=public)
    alone = create_app(tmp_path / "alone", extras=("access",), ADMIN_PASSWORD=PASSWORD, WTF_CSRF_ENABLED=False)
    assert sign_in(alone.test_client()).location == "/"


# --- API keys ---


def test_a_key_opens_its_routes_until_it_is_revoked(app, client, flask, tmp_path):
    result = flask("api-key", "create", "laptop-1")
    key = result.stdout.strip()
    assert re.fullmatch(r"hamlet_[\w-]{43}", key)
    assert "only this time" in result.stderr
    assert client.get("/api/v1/predictions", headers=bearer(key)).status_code == 200
    assert re.search(r"^laptop-1  made \S+ \S+ UTC$", flask("api-key", "list").output, re.MULTILINE)
    assert flask("api-key", "revoke", "laptop-1").exit_code == 0
    assert client.get("/api/v1/predictions", headers=bearer(key)).status_code == 401
    assert "revoked" in flask("api-key", "list").output
    for words, said in (("revoke", "No key named laptop-1 is in use"), ("create", "Take another name")):
        again = flask("api-key", words, "laptop-1")
        assert (again.exit_code, said in again.output) == (2, True)
    for name in ("", "two words", "x" * 41, "naïve", "a/b", "a\n"):
        with pytest.raises(BadData, match="letters, digits"):
            keys.create(app.extensions["engine"], name)
    app.extensions["engine"].dispose()
    assert not [path for path in (tmp_path / "instance").glob("log.db*") if key.encode() in path.read_bytes()]

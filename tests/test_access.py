"""Who may come in: the admin password, the throttle of wrong ones, the guard of pages, and API keys."""

import datetime as dt
import os
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from conftest import PASSWORD, Server
from flask import Blueprint, g
from flask_openapi3 import APIBlueprint
from openapi_spec_validator import validate

from webapp.api import register_json
from webapp.api.docs import responses
from webapp.api.schemas import Health
from webapp.app import create_app
from webapp.errors import BadData
from webapp.extras.access import keys as api_keys
from webapp.extras.access import throttle
from webapp.extras.access.keys import SECURITY, api_key_required
from webapp.extras.access.passwords import AdminPassword
from webapp.extras.access.routes import reviewer_id, signed_in_only
from webapp.log.tables import failed_sign_ins, failures

pytestmark = pytest.mark.databases("sqlite", "postgresql")

FIRST_PASSWORD = re.compile(r"The admin password is (\S+) ")


def sign_in(client, password=PASSWORD, target="", **options):
    return client.post(f"/login{target}", data={"password": password}, **options)


def recorded(app):
    with app.extensions["engine"].connect() as connection:
        return connection.execute(sa.select(failures.c.status, failures.c.what)).all()


def let_pass(app, seconds):
    """Let time go by for the throttle."""
    column = failed_sign_ins.c.last_at
    with app.extensions["engine"].begin() as connection:
        for last_at in connection.execute(sa.select(column)).scalars().all():
            connection.execute(sa.update(failed_sign_ins).values(last_at=last_at - dt.timedelta(seconds=seconds)))


@pytest.fixture
def inside(app):
    """A page of the app for the signed-in only."""
    blueprint = Blueprint("inside", __name__)
    blueprint.before_request(signed_in_only)
    blueprint.get("/inside")(reviewer_id)
    blueprint.post("/inside", endpoint="send")(reviewer_id)
    app.register_blueprint(blueprint)
    return app.test_client()


@pytest.fixture
def own_password(tmp_path, capsys):
    """Make an app whose password is in its instance folder, not in a setting; return it with what it printed."""
    apps = []

    def make(**settings):
        apps.append(create_app(tmp_path / "own", TESTING=True, WTF_CSRF_ENABLED=False, **settings))
        return apps[-1], capsys.readouterr().err

    yield make
    for app in apps:
        app.extensions["engine"].dispose()


# --- The password ---


def test_the_first_start_prints_a_password_once_and_it_signs_in(own_password, tmp_path):
    app, printed = own_password()
    password = FIRST_PASSWORD.search(printed)[1]
    assert "http://127.0.0.1:8000/login" in printed
    assert sign_in(app.test_client(), password).status_code == 303
    again, printed = own_password()
    assert printed == ""
    assert sign_in(again.test_client(), password).status_code == 303
    file = tmp_path / "own" / "admin_password"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_text().startswith("scrypt:")
    assert password not in file.read_text()


def test_processes_that_start_together_make_one_password_and_print_it_once(tmp_path, capsys):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: AdminPassword(tmp_path, None, "key").make_first(), range(4)))
    (password,) = FIRST_PASSWORD.findall(capsys.readouterr().err)
    assert AdminPassword(tmp_path, None, "key").is_right(password)
    assert [path.name for path in tmp_path.iterdir()] == ["admin_password"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_sets_for_the_service_the_service_can_read(tmp_path):
    os.chown(tmp_path, 12345, 12345)
    AdminPassword(tmp_path, None, "key").set("set by root")
    file = (tmp_path / "admin_password").stat()
    assert (file.st_uid, file.st_gid, file.st_mode & 0o777) == (12345, 12345, 0o600)


def test_a_password_of_the_environment_is_taken_as_it_is_written(own_password, tmp_path, monkeypatch):
    for password in ("12345678", "1e99999999", '"quoted"', "true & false", "Straße 12"):
        monkeypatch.setenv("HAMLET_ADMIN_PASSWORD", password)
        app, printed = own_password()
        assert (printed, (tmp_path / "own" / "admin_password").exists()) == ("", False)
        assert sign_in(app.test_client(), password).status_code == 303
        assert sign_in(app.test_client(), password + "0").status_code == 403
    for password in ("", "null", "1234567"):
        monkeypatch.setenv("HAMLET_ADMIN_PASSWORD", password)
        with pytest.raises(SystemExit) as refusal:
            own_password()
        assert refusal.value.code == "HAMLET_ADMIN_PASSWORD: must have at least 8 characters"


def test_set_password_asks_twice_and_signs_everybody_out(own_password):
    app, printed = own_password()
    client = app.test_client()
    sign_in(client, FIRST_PASSWORD.search(printed)[1])
    assert "Sign out" in client.get("/").text
    run = app.test_cli_runner().invoke
    assert run(args=["set-password"], input="one password\nanother password\n").exit_code == 1
    assert "Sign out" in client.get("/").text
    result = run(args=["set-password"], input="a new password\na new password\n")
    assert result.exit_code == 0
    assert "a new password" not in result.output
    assert "Sign out" not in client.get("/").text
    assert sign_in(client, FIRST_PASSWORD.search(printed)[1]).status_code == 403
    assert sign_in(client, "a new password").status_code == 303


def test_set_password_reads_standard_input_and_refuses_what_would_not_count(own_password, flask):
    app, _ = own_password()
    run = app.test_cli_runner().invoke
    assert run(args=["set-password", "-"], input="from a pipe\n").exit_code == 0
    assert sign_in(app.test_client(), "from a pipe").status_code == 303
    short = run(args=["set-password", "-"], input="short\n")
    assert (short.exit_code, "take 8 or more" in short.output) == (2, True)
    useless = flask("set-password", "-", input="a new password\n")
    assert (useless.exit_code, "HAMLET_ADMIN_PASSWORD is set" in useless.output) == (2, True)


def test_without_the_file_nobody_is_signed_in_and_the_page_says_what_to_do(own_password, tmp_path):
    app, printed = own_password()
    client = app.test_client()
    sign_in(client, FIRST_PASSWORD.search(printed)[1])
    (tmp_path / "own" / "admin_password").unlink()
    assert "Sign out" not in client.get("/").text
    answer = sign_in(client, "")
    assert answer.status_code == 503
    assert "set-password" in answer.text


def test_a_session_reveals_nothing_of_the_password(tmp_path):
    same = {AdminPassword(tmp_path, PASSWORD, "key").fingerprint() for _ in range(2)}
    assert len(same) == 1
    assert same != {AdminPassword(tmp_path, PASSWORD, "another key").fingerprint()}


# --- Signing in and out ---


def test_a_wrong_password_is_refused_and_only_the_fact_is_recorded(app, client):
    answer = sign_in(client, "a wrong guess")
    assert answer.status_code == 403
    assert "This is not the password" in answer.text
    assert "Sign out" not in client.get("/").text
    assert recorded(app) == [(403, "Wrong password")]


def test_signing_in_renews_the_session_and_its_cookie_is_well_kept(client):
    with client.session_transaction() as session:
        session["planted"] = "by somebody else"
    answer = sign_in(client, base_url="https://localhost")
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Secure" in cookie
    assert "Secure" not in sign_in(client).headers["Set-Cookie"]
    with client.session_transaction() as session:
        assert set(session) == {"signed_in_until", "password_fingerprint", "reviewer"}


def test_signing_in_again_ends_the_older_sign_in_of_this_browser(app, inside):
    sign_in(inside)
    copy = app.test_client()
    copy.set_cookie("hamlet_session", inside.get_cookie("hamlet_session").value)
    assert copy.get("/inside").status_code == 200
    sign_in(inside)
    assert copy.get("/inside").status_code == 303
    assert inside.get("/inside").status_code == 200


def test_a_sign_in_ends_after_12_hours_whatever_was_done_meanwhile(inside, monkeypatch):
    sign_in(inside)
    now = time.time()
    monkeypatch.setattr("webapp.extras.access.routes.time.time", lambda: now + 11.9 * 3600)
    assert inside.get("/inside").status_code == 200
    monkeypatch.setattr("webapp.extras.access.routes.time.time", lambda: now + 12.1 * 3600)
    assert inside.get("/inside").status_code == 303


def test_the_bar_offers_more_to_the_signed_in(client):
    page = client.get("/").text
    assert 'href="/login"' in page
    assert "Review" not in page
    assert sign_in(client).location == "/review"
    page = client.get("/").text
    for name in ("Review", "Monitor", "Models"):
        assert f"{name}</a>" in page
    assert 'href="/login"' not in page
    assert client.get("/login").location == "/review"


# --- The guard ---


def test_pages_for_the_signed_in_send_others_to_sign_in_and_back(inside):
    answer = inside.get("/inside?page=2&q=caf%C3%A9")
    assert answer.status_code == 303
    assert answer.headers["Cache-Control"] == "no-store"
    assert inside.get(answer.location).status_code == 200
    answer = sign_in(inside, target=answer.location.removeprefix("/login"))
    assert answer.location == "/inside?page=2&q=caf%C3%A9"
    answer = inside.get(answer.location)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"


def test_what_the_signed_in_may_send_is_refused_from_others(inside):
    answer = inside.post("/inside")
    assert answer.status_code == 403
    assert 'href="/login"' in answer.text
    sign_in(inside)
    assert inside.post("/inside").status_code == 200


def test_each_sign_in_is_a_reviewer_of_its_own(app, inside):
    other = app.test_client()
    names = set()
    for client in (inside, other):
        sign_in(client)
        names |= {client.get("/inside").text, client.get("/inside").text}
    assert len(names) == 2
    assert all(re.fullmatch(r"web:[0-9a-f]{8}", name) for name in names)


def test_no_link_leads_through_the_sign_in_to_another_site(client):
    sign_in(client)
    for address in (
        *("//evil.example", "///evil.example", "http://evil.example", "https:evil.example", "javascript:alert(1)"),
        *("\\\\evil.example", "/\\evil.example", "/\t/evil.example", "/\n/evil.example", "\t//evil.example"),
        *(" //evil.example", "/inside\r\nSet-Cookie: a=b", "evil.example", ""),
    ):
        assert sign_in(client, query_string={"next": address}).location == "/review", address
        assert client.get("/login", query_string={"next": address}).location == "/review", address


# --- The throttle ---


def test_five_wrong_tries_are_free_then_each_has_to_wait_longer(app, client):
    for _ in range(5):
        assert sign_in(client, "wrong").status_code == 403
    for seconds in (2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        answer = sign_in(client)  # not even the right one
        assert answer.status_code == 429
        assert seconds - 1 <= int(answer.headers["Retry-After"]) <= seconds
        assert f"Wait {answer.headers['Retry-After']} s, then" in answer.text
        let_pass(app, seconds)
        assert sign_in(client, "wrong").status_code == 403
    let_pass(app, 300)
    assert sign_in(client).status_code == 303
    assert sign_in(client, "wrong").status_code == 403  # and all is forgotten
    assert sign_in(client).status_code == 303
    assert {row.what for row in recorded(app)} == {"Wrong password", "Too many wrong passwords"}


def test_while_somebody_has_to_wait_the_password_is_not_even_looked_at(app, client, monkeypatch):
    for _ in range(5):
        sign_in(client, "wrong")
    monkeypatch.setattr(AdminPassword, "is_right", lambda *_: pytest.fail("it was looked at"))
    assert sign_in(client).status_code == 429


def test_others_need_not_wait_and_the_signed_in_stay_so(app, inside):
    sign_in(inside)
    guesser = app.test_client()
    for _ in range(6):
        answer = sign_in(guesser, "wrong", environ_base={"REMOTE_ADDR": "192.0.2.1"})
    assert answer.status_code == 429
    assert sign_in(guesser, environ_base={"REMOTE_ADDR": "192.0.2.2"}).status_code == 303
    assert inside.get("/inside").status_code == 200


def test_addresses_count_together_where_one_sender_has_them_all(app):
    engine = app.extensions["engine"]
    for one, other, same in (
        ("2001:db8::1", "2001:db8::ffff:1", True),  # one customer's network
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),  # the same computer through an IPv6 socket
        ("192.0.2.1:40000", "192.0.2.1:40001", True),  # as Azure and IIS write it
        ("[2001:db8::1]:40000", "2001:db8::2", True),
        ("unknown", "_hidden", True),  # no address: it does not make one somebody new
    ):
        for _ in range(5):
            assert throttle.begin_try(engine, one) == 0
        assert (throttle.begin_try(engine, other) > 0) == same, one
        throttle.forget(engine, one)
        throttle.forget(engine, other)


def test_old_tries_are_forgotten(app, client):
    for _ in range(6):
        sign_in(client, "wrong")
    let_pass(app, 86_401)
    throttle.begin_try(app.extensions["engine"], "192.0.2.7")
    with app.extensions["engine"].connect() as connection:
        assert connection.execute(sa.select(failed_sign_ins.c.address)).scalars().all() == ["192.0.2.7"]


def test_tries_at_the_same_moment_do_not_slip_through(app):
    engine = app.extensions["engine"]
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: throttle.begin_try(engine, "192.0.2.1"), range(32)))
    assert waits.count(0) == 5


def test_without_the_log_nobody_signs_in(app, client):
    with app.extensions["engine"].begin() as connection:
        connection.execute(sa.text("DROP TABLE failed_sign_ins"))
    answer = sign_in(client)
    assert answer.status_code == 503
    assert "try again" in answer.text


@pytest.mark.databases("sqlite")
def test_the_workers_of_a_real_server_share_the_throttle_and_print_the_password_once(tmp_path, database_url):
    server = Server(
        tmp_path / "instance", HAMLET_ADMIN_PASSWORD=None, HAMLET_WORKERS="2", HAMLET_DATABASE_URL=database_url
    ).start()
    try:
        (password,) = FIRST_PASSWORD.findall(server.output())
        assert f"{server.url}/login" in server.output()
        assert server.sign_in("wrong") == (403, False)
        # As if this address had failed 12 times, so long ago that it may try once more.
        hour_ago = dt.datetime.now(dt.UTC) - dt.timedelta(hours=1)
        server.execute(sa.update(failed_sign_ins).values(count=12, last_at=hour_ago))
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda _: server.sign_in("wrong")[0], range(16)))
        assert sorted(statuses) == [403] + [429] * 15
        assert server.sign_in(password) == (429, False)
        server.execute(sa.delete(failed_sign_ins))
        assert server.sign_in(password) == (200, True)
        server.stop()
        server.start()
        assert FIRST_PASSWORD.findall(server.output()) == [password]
        assert server.sign_in(password) == (200, True)
    finally:
        server.stop()


@pytest.mark.databases("sqlite")
def test_behind_a_proxy_each_address_is_throttled_whatever_its_port(tmp_path):
    app = create_app(tmp_path / "proxy", WTF_CSRF_ENABLED=False, ADMIN_PASSWORD=PASSWORD, TRUSTED_PROXIES=2)
    for forwarded in ("1.2.3.4:{}", "[2001:db8::1]:{}", "{}.invalid", "9.9.9.{}, 5.5.5.5, 172.68.1.1"):
        tries = [
            sign_in(app.test_client(), "wrong", headers={"X-Forwarded-For": forwarded.format(n)}) for n in range(8)
        ]
        assert [answer.status_code for answer in tries] == [403] * 5 + [429] * 3
    app.extensions["engine"].dispose()


# --- How many requests ---


@pytest.mark.databases("sqlite")
def test_each_address_may_send_so_many_requests_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr("webapp.clients.time.time", lambda: 90.0)
    app = create_app(tmp_path / "few", TESTING=True, ADMIN_PASSWORD=PASSWORD, MAX_REQUESTS_PER_MINUTE=3)
    client = app.test_client()
    assert [client.post("/api/v1/predict", json={"text": "hi"}).status_code for _ in range(3)] == [200] * 3
    for path in ("/api/v1/predict", "/", "/login", "/nothing"):
        answer = client.post(path, json={"text": "hi"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "30")
    assert recorded(app) == []  # else whoever is refused would fill the disk with that
    assert client.get("/").status_code == 200
    assert client.post("/api/v1/predict", json={}, environ_base={"REMOTE_ADDR": "192.0.2.1"}).status_code == 422
    monkeypatch.setattr("webapp.clients.time.time", lambda: 120.0)
    large = {"texts": ["a" * 9_000] * 7}  # counts as several, but is let through where anything is
    assert [client.post("/api/v1/predict/batch", json=large).status_code for _ in range(2)] == [200, 429]
    app.extensions["engine"].dispose()


# --- HAMLET_PUBLIC=false ---


@pytest.mark.databases("sqlite")
def test_a_closed_service_asks_for_the_sign_in_or_a_key(tmp_path):
    app = create_app(tmp_path / "closed", TESTING=True, WTF_CSRF_ENABLED=False, ADMIN_PASSWORD=PASSWORD, PUBLIC=False)
    client = app.test_client()
    assert client.get("/").location == "/login?next=/"
    assert client.post("/", data={"text": "hi"}).status_code == 403
    answer = client.post("/api/v1/predict", data="{")
    assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
    headers = bearer(api_keys.create(app.extensions["engine"], "app"))
    id_ = client.post("/api/v1/predict", json={"text": "hi"}, headers=headers).json["id"]
    assert client.get(f"/api/v1/predictions/{id_}").status_code == 401
    assert client.get(f"/predictions/{id_}").status_code == 303
    sign_in(client)
    assert client.post("/", data={"text": "hi"}).status_code == 303
    assert client.get(f"/predictions/{id_}").status_code == 200
    for path in ("/healthz", "/readyz", "/api/docs", "/metrics"):
        assert app.test_client().get(path).status_code == 200
    document = client.get("/api/openapi.json").json
    validate(document)
    operation = document["paths"]["/api/v1/predict"]["post"]
    assert (operation["security"], "401" in operation["responses"]) == ([{"api_key": []}], True)
    assert document["paths"]["/healthz"]["get"]["security"] == []
    app.extensions["engine"].dispose()


@pytest.mark.databases("sqlite")
def test_a_closed_service_is_not_left_open_where_nobody_asks(tmp_path):
    with pytest.raises(SystemExit, match="needs the extra `access`"):
        create_app(tmp_path / "bare", extras=(), PUBLIC=False)


# --- API keys ---


@pytest.fixture
def guarded(app):
    """The app with a route that needs a key."""

    blueprint = APIBlueprint("guarded", __name__, url_prefix="/api/v1", abp_security=SECURITY)
    blueprint.before_request(api_key_required)

    @blueprint.put("/guarded", summary="A route that needs a key", responses=responses(Health, 401))
    def guarded():
        """Say who asked."""
        return {"status": g.api_key_name}

    register_json(app, blueprint)
    return app


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def test_a_key_opens_its_routes_until_it_is_revoked(guarded, flask):
    client = guarded.test_client()
    result = flask("api-key", "create", "laptop-1")
    key = result.stdout.strip()
    assert re.fullmatch(r"hamlet_[\w-]{43}", key)
    assert "only time" in result.stderr
    assert client.put("/api/v1/guarded", headers=bearer(key)).json == {"status": "laptop-1"}
    assert re.search(r"^laptop-1  made \S+ \S+ UTC$", flask("api-key", "list").output, re.MULTILINE)
    assert flask("api-key", "revoke", "laptop-1").exit_code == 0
    assert client.put("/api/v1/guarded", headers=bearer(key)).status_code == 401
    assert "revoked" in flask("api-key", "list").output
    assert key not in flask("api-key", "list").output
    again = flask("api-key", "revoke", "laptop-1")
    assert (again.exit_code, "No key named laptop-1 is in use" in again.output) == (2, True)


def test_without_a_key_the_answer_says_how_to_get_one(guarded):
    client = guarded.test_client()
    sign_in(client)  # which is no key
    for headers, challenge in (
        ({}, "Bearer realm=Hamlet"),
        ({"Authorization": "Basic dXNlcjpwYXNz"}, "Bearer realm=Hamlet"),
        ({"Authorization": "Bearer"}, "Bearer realm=Hamlet"),
        (bearer("hamlet_wrong"), "Bearer realm=Hamlet, error=invalid_token"),
        (bearer("hamlet_\xe9"), "Bearer realm=Hamlet, error=invalid_token"),
    ):
        answer = client.put("/api/v1/guarded", headers=headers)
        assert (answer.status_code, answer.content_type) == (401, "application/problem+json")
        assert answer.headers["WWW-Authenticate"] == challenge
        assert "api-key create NAME" in answer.json["detail"]
    assert {tuple(row) for row in recorded(guarded)} == {(401, "An API key is needed")}


def test_when_keys_cannot_be_looked_up_nobody_gets_in(guarded):
    with guarded.extensions["engine"].begin() as connection:
        connection.execute(sa.text("DROP TABLE api_keys"))
    assert guarded.test_client().put("/api/v1/guarded", headers=bearer("hamlet_x")).status_code == 503


def test_the_log_holds_no_key_and_each_is_another(app, tmp_path):
    engine = app.extensions["engine"]
    keys = {api_keys.create(engine, f"n{number}") for number in range(3)}
    assert len(keys) == 3
    engine.dispose()
    for path in (tmp_path / "instance").iterdir():
        assert not [key for key in keys if key.encode() in path.read_bytes()]


def test_a_name_is_plain_and_not_used_twice_not_even_after_a_revocation(app, flask):
    engine = app.extensions["engine"]
    for name in ("", "two words", "x" * 41, "naïve", "a/b", "a\n"):
        with pytest.raises(BadData, match="letters, digits"):
            api_keys.create(engine, name)
    api_keys.create(engine, "laptop")
    api_keys.revoke(engine, "laptop")
    result = flask("api-key", "create", "laptop")
    assert (result.exit_code, "Take another name" in result.output) == (2, True)


def test_the_documentation_says_which_routes_need_a_key_and_offers_a_field_for_it(guarded):
    client = guarded.test_client()
    document = client.get("/api/openapi.json").json
    validate(document)
    assert document["components"]["securitySchemes"]["api_key"]["scheme"] == "bearer"
    assert document["paths"]["/api/v1/predict"]["post"]["security"] == []
    assert "401" in document["paths"]["/api/v1/guarded"]["put"]["responses"]
    fields = re.findall(r'name="api_key"', client.get("/api/docs").text)
    assert len(fields) == sum(bool(o["security"]) for methods in document["paths"].values() for o in methods.values())

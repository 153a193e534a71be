"""Who gets in: every route is listed with what it needs, and each is tried by those who must not."""

import re

import pytest
import sqlalchemy as sa
from conftest import PASSWORD, SECRET_WORD, SPAM, address, execute, hidden, sign_in
from flask.sessions import SecureCookieSessionInterface

from webapp.extras.access import keys as api_keys
from webapp.log.tables import metadata, new_id, sign_ins

OPEN, SIGNED_IN, KEY, ID = "open", "signed in", "an API key", "the id of the prediction, which nobody can guess"
FORM_OF_ID = "the form of this prediction's page"
ROUTES = {
    OPEN: [
        *("GET /", "POST /", "GET /login", "POST /login", "POST /logout", "GET /static/<path:filename>"),
        *("GET /bootstrap/static/<path:filename>", "GET /favicon.ico", "GET /api/docs", "GET /api/openapi.json"),
        *("POST /api/v1/predict", "POST /api/v1/predict/batch", "GET /healthz", "GET /readyz", "GET /metrics"),
    ],
    ID: ["GET /predictions/<prediction_id>", "GET /api/v1/predictions/<prediction_id>"],
    FORM_OF_ID: ["POST /predictions/<prediction_id>/report"],
    KEY: ["GET /api/v1/predictions", "PUT /api/v1/predictions/<prediction_id>/review", "GET /api/v1/monitoring"],
    SIGNED_IN: [
        *("GET /batch", "POST /batch", "GET /batch/<job_id>", "GET /batch/<job_id>/status"),
        *("GET /batch/<job_id>/download", "POST /batch/<job_id>/<any(cancel, resume, delete):action>"),
        *("GET /review", "POST /review", "POST /review/undo", "POST /review/sample"),
        *("GET /monitor", "POST /monitor/reference", "GET /models", "GET /models/compare"),
        "POST /models/<any(use, challenge, stop, rollback, retrain, confirm):action>",
        "GET /models/retrain/<job_id>/status",
    ],
}
NEEDS = {route: need for need, routes in ROUTES.items() for route in routes}
CHANGING = [route.split(" ", 1) for route in NEEDS if not route.startswith("GET ")]
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE")


def asking_for(need):
    return [route.split(" ", 1) for route in ROUTES[need]]


@pytest.fixture
def app(whole_app):
    return whole_app


def stored(app):
    """Return all that the log holds, but for what was refused, the sums, and what a reviewer has open."""
    passing = ("failures", "hourly_predictions", "hourly_requests", "rolled_up", "sign_ins")
    tables = [table for table in metadata.sorted_tables if table.name not in passing]
    return {table.name: sorted(map(repr, execute(app.extensions["engine"], sa.select(table)))) for table in tables}


def test_every_route_is_listed_with_what_it_needs(app):
    routes = {
        f"{method} {rule.rule}" for rule in app.url_map.iter_rules() for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    assert routes == NEEDS.keys()
    paths = app.test_client().get("/api/openapi.json").json["paths"]
    operations = {f"{method.upper()} {path}": it for path, methods in paths.items() for method, it in methods.items()}
    documented = {route for route, it in operations.items() if it["security"] and "401" in it["responses"]}
    assert documented == {re.sub("<(.*)>", r"{\1}", route) for route in ROUTES[KEY]}
    assert app.test_client().get("/api/docs").text.count('name="api_key"') == len(documented)


def forged(app):
    """Yield cookies of people who are not signed in, although they say so."""
    sign = SecureCookieSessionInterface().get_signing_serializer
    yield ""
    yield "nonsense"
    password = app.extensions["admin_password"].fingerprint()
    yield sign(app).dumps({"reviewer": "web:00000000", "password": password})
    (who,) = execute(app.extensions["engine"], sa.select(sign_ins.c.who).limit(1))
    key, app.secret_key = app.secret_key, "another secret key than that of this Hamlet"
    signed_by_others = sign(app).dumps({"reviewer": who, "password": password})
    app.secret_key = key
    yield signed_by_others


def test_what_needs_sign_in_shows_and_does_nothing_without(app, monkeypatch):
    monkeypatch.setitem(app.config, "WTF_CSRF_ENABLED", False)  # only the guards are left
    key = api_keys.create(app.extensions["engine"], new_id())  # which opens other doors, not these
    sign_in(app)  # of somebody else
    before = stored(app)
    for rule in sorted({rule for _, rule in asking_for(SIGNED_IN)}):
        taken = [method for method, other in asking_for(SIGNED_IN) if other == rule]
        for cookie in forged(app):
            for method in METHODS:
                client = app.test_client()
                client.set_cookie(app.config["SESSION_COOKIE_NAME"], cookie)
                answer = client.open(address(app, rule), method=method, headers={"Authorization": f"Bearer {key}"})
                if method in ("GET", "HEAD") and "GET" in taken:
                    assert (answer.status_code, answer.location.split("?")[0]) == (303, "/login"), rule
                else:
                    expected = 403 if method in (*taken, "OPTIONS") else 405
                    assert answer.status_code == expected, (method, rule)
                assert SECRET_WORD not in answer.text
    assert stored(app) == before


def test_what_needs_a_key_shows_and_does_nothing_without_not_even_for_the_signed_in(app):
    before = stored(app)
    for method, rule in asking_for(KEY):
        for client in (app.test_client(), sign_in(app)):
            for sent in ("", "Bearer", f"Basic {PASSWORD}", "Bearer hamlet_guess", "Bearer hamlet_\xe9"):
                headers = {"Authorization": sent} if sent else {}
                answer = client.open(address(app, rule), method=method, headers=headers, json={"true_label": "ham"})
                assert (answer.status_code, SECRET_WORD in answer.text) == (401, False), rule
                wrong = ", error=invalid_token" if "hamlet_" in sent else ""
                assert answer.headers["WWW-Authenticate"] == f"Bearer realm=Hamlet{wrong}"
                assert "api-key create NAME" in answer.json["detail"]
    assert stored(app) == before


def test_what_is_open_shows_no_messages(app):
    for method, rule in asking_for(OPEN):
        if method == "GET":
            with app.test_client().get(address(app, rule)) as answer:
                assert SECRET_WORD not in answer.text, rule


def test_who_knows_one_id_knows_no_other(app):
    known = address(app, "/predictions/<prediction_id>")
    assert SECRET_WORD in app.test_client().get(known).text
    for guess in (known[:-1] + ("0" if known[-1] != "0" else "1"), known[:-1], known.upper(), "/predictions/%25"):
        assert app.test_client().get(guess).status_code == 404
        assert app.test_client().get(f"/api/v1{guess}").status_code in (404, 422)


def test_every_form_is_refused_without_the_token_of_this_very_session(app):
    strange = hidden(app.test_client().get("/login").text, "csrf_token")
    before = stored(app)
    forms = [(method, rule) for method, rule in CHANGING if not rule.startswith("/api/")]
    assert len(forms) > 10
    client = sign_in(app)
    for method, rule in forms:
        for data in ({}, {"csrf_token": ""}, {"csrf_token": strange}):
            for someone in (app.test_client(), client):
                answer = someone.open(address(app, rule), method=method, data=data)
                assert (answer.status_code, "reload the page" in answer.text) == (400, True), rule
    assert stored(app) == before


def test_programs_need_no_token_because_no_cookie_counts_there(app):
    client = sign_in(app)
    for method, rule in CHANGING:
        if rule.startswith("/api/"):
            body = {"texts": [SPAM]} if rule.endswith("/batch") else {"text": SPAM}
            answer = client.open(address(app, rule), method=method, json=body)
            assert answer.status_code == (401 if NEEDS[f"{method} {rule}"] == KEY else 200), rule
            assert "Set-Cookie" not in answer.headers
    # A form of another site can only send these kinds, and JSON is none of them.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = client.post("/api/v1/predict", data='{"text": "from elsewhere"}', content_type=kind)
        assert answer.status_code == 415


def test_no_address_changes_anything_by_being_looked_at(app):
    before, client = stored(app), sign_in(app)
    for rule in app.url_map.iter_rules():
        if "GET" in rule.methods:
            client.get(address(app, rule.rule) + "?on=reviews").close()  # of all that can be compared, the least
    assert stored(app) == before


def test_a_session_that_somebody_else_planted_is_not_signed_in_afterwards(app):
    attacker, victim = app.test_client(), app.test_client()
    token = hidden(attacker.get("/login").text, "csrf_token")
    name = app.config["SESSION_COOKIE_NAME"]
    planted = attacker.get_cookie(name).value
    victim.set_cookie(name, planted)
    assert victim.post("/login", data={"password": PASSWORD, "csrf_token": token}).status_code == 303
    assert victim.get("/review").status_code == 200
    assert victim.get_cookie(name).value != planted
    attacker.set_cookie(name, planted)
    assert attacker.get("/review").status_code == 303
    # Nor does what the attacker knows of that session let another site send forms in the new one.
    assert victim.post("/review/undo", data={"csrf_token": token}).status_code == 400


def test_signing_out_ends_copies_of_the_cookie_and_nobody_elses_session(app):
    client, other = sign_in(app), sign_in(app)
    thief, name = app.test_client(), app.config["SESSION_COOKIE_NAME"]
    thief.set_cookie(name, client.get_cookie(name).value)
    assert thief.get("/review").status_code == 200
    token = hidden(client.get("/").text, "csrf_token")
    assert client.post("/logout", data={"csrf_token": token}).status_code == 303
    for ended in (client, thief):
        assert ended.get("/review").status_code == 303
        assert "Sign out" not in ended.get("/").text
    assert other.get("/review").status_code == 200

"""The JSON door."""

import json

import pytest
from conftest import HAM, SPAM, stored
from openapi_spec_validator import validate

from webapp.log.tables import failures, predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")


def assert_problem(answer, status):
    """Every error has the one shape, and nothing of the program's inside."""
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    problem = answer.json
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["X-Request-ID"]
    assert "Traceback" not in answer.text
    return problem


def predict(client, body, **options):
    return client.post("/api/v1/predict", json=body, **options)


def test_an_answer_is_right_has_the_documented_fields_in_order_and_can_be_read_again(client):
    spam, ham = predict(client, {"text": SPAM}).json, predict(client, {"text": HAM}).json
    assert (spam["label"], ham["label"]) == ("spam", "ham")
    assert spam["spam_probability"] >= spam["threshold"] > ham["spam_probability"]
    fields = ["id", "label", "spam_probability", "threshold", "model_version", "explanation", "latency_ms"]
    assert (list(spam), list(spam["explanation"][0])) == (fields, ["term", "contribution"])
    weights = [abs(item["contribution"]) for item in spam["explanation"]]
    assert weights == sorted(weights, reverse=True)
    stored = client.get(f"/api/v1/predictions/{ham['id']}").json
    assert (stored["text"], stored["source"], stored["created_at"][-6:]) == (HAM, "api", "+00:00")
    assert {name: stored[name] for name in ham} == ham


def test_ids_cannot_be_guessed_but_grow_with_time(client):
    ids = [predict(client, {"text": HAM}).json["id"] for _ in range(5)]
    assert (len({i[14:] for i in ids}), [i[:13] for i in ids]) == (5, sorted(i[:13] for i in ids))


def test_a_batch_is_answered_in_order_and_logged_whole_or_not_at_all(app, client):
    texts = [HAM, SPAM, "ok"]
    answers = client.post("/api/v1/predict/batch", json={"texts": texts}).json["predictions"]
    assert [answer["label"] for answer in answers] == ["ham", "spam", "ham"]
    assert [client.get(f"/api/v1/predictions/{answer['id']}").json["text"] for answer in answers] == texts
    for texts, field in ((["ok", "  "], "texts[1]"), ([], "texts"), (["x"] * 1001, "texts"), ("x", "texts")):
        problem = assert_problem(client.post("/api/v1/predict/batch", json={"texts": texts}), 422)
        assert problem["errors"][0]["field"] == field
    assert len(stored(app)) == 3


@pytest.mark.databases("sqlite")
def test_what_cannot_be_used_is_said_and_leaves_nothing_of_it_in_the_log(app, client):
    bodies = (
        *((broken, 400, "") for broken in ("{", "", "[" * 100_000, b"\xff\xfe", '{"text": 1e}')),
        *((other, 422, "") for other in ("[]", '"{\\"text\\": \\"hi\\"}"', "null", "7", "1e999", "NaN")),
        (json.dumps({"text": "  "}), 422, "is empty"),
        (json.dumps({"text": "x" * 10_001}), 422, "at most 10000"),
        (json.dumps({"text": "x" * 2_000_000}), 413, ""),
        ('{"text": "café"}'.encode("latin-1"), 400, "not JSON in UTF-8: 'utf-8' codec can't decode byte 0xe9"),
        (b"{'text': 'hi'}", 400, "property name enclosed in double quotes: line 1 column 2"),
        (b"{}", 422, "text: "),
        (b'{"text": "hi", "txet": 1}', 422, "txet: "),
        (b'{"text": %s}' % (b"1" * 5000), 422, "text: Input should be a valid string"),
        (rb'{"text": "\ud83d"}', 422, "text: Input should be a valid string, without half of a surrogate pair."),
    )
    for body, status, words in bodies:
        answer = client.post("/api/v1/predict", data=body, content_type="application/json")
        assert words in assert_problem(answer, status)["detail"]
    noted = stored(app, failures.c.what)
    assert (stored(app), len(noted), "txet" in "".join(noted)) == ([], len(bodies), False)


def test_an_unknown_address_is_a_problem_in_the_api_and_a_page_elsewhere(client):
    for path in ("/api/v1/nothing", "/api/v1/predictions/nothing", "/api/v1", "/api/", "/api", "/healthz/nothing"):
        assert_problem(client.get(path), 404)
    page = client.get("/nothing")
    assert page.status_code == 404
    assert "<html" in page.text


def test_a_sensible_request_id_is_kept_and_logged_and_another_is_replaced(app, client):
    assert predict(client, {"text": HAM}, headers={"X-Request-ID": "abc-123"}).headers["X-Request-ID"] == "abc-123"
    assert predict(client, {"text": HAM}, headers={"X-Request-ID": "a b\tc"}).headers["X-Request-ID"] != "a b\tc"
    assert "abc-123" in stored(app, predictions.c.request_id)


def test_the_documentation_is_valid_openapi_3_1_and_names_every_route(app, client):
    document = client.get("/api/openapi.json").json
    validate(document)
    assert document["openapi"].startswith("3.1")
    routes = {rule.rule.replace("<", "{").replace(">", "}") for rule in app.url_map.iter_rules()}
    wanted = {route for route in routes if route.startswith(("/api/v1", "/healthz", "/readyz", "/metrics"))}
    assert set(document["paths"]) == wanted
    page = client.get("/api/docs").text
    for path, methods in document["paths"].items():
        assert f"<code>{path}</code>" in page
        for method, operation in methods.items():  # each example works
            (content,) = operation["responses"]["200"]["content"].values()
            assert content["example"]
            if method == "post":
                example = operation["requestBody"]["content"]["application/json"]["example"]
                assert client.post(path, json=example).status_code == 200


def test_health(client):
    assert client.get("/healthz").json == client.get("/readyz").json == {"status": "ok"}

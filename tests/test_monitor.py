"""The monitor page, its API and its command: what they say of the log, and what they make of it."""

import datetime as dt
import json
import re

import pytest
import sqlalchemy as sa
from conftest import PASSWORD

from webapp.errors import InvalidInput
from webapp.extras.access import api_keys
from webapp.extras.monitor.charts import Series, chart, figure, label, sparkline, top_of_scale
from webapp.extras.monitor.references import declare_reference, declared_reference
from webapp.extras.monitor.report import report
from webapp.extras.monitor.span import span
from webapp.extras.monitor.verdict import verdict
from webapp.extras.review.queues import upcoming
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import all_samples, draw
from webapp.log.ids import first_id
from webapp.log.tables import predictions

pytestmark = pytest.mark.databases("sqlite", "postgresql")

SPAM = "Claim your prize now, call 0906{:07d}, cost 150p per min"
HAM = "see you at {} o'clock at the station, don't be late"


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def signed_in(client):
    client.post("/login", data={"password": PASSWORD})
    return client


@pytest.fixture
def key(engine):
    return {"Authorization": f"Bearer {api_keys.create(engine, 'test')}"}


def send(client, number):
    """Send `number` different messages, half of them spam; return their ids with their true labels."""
    truth = {}
    for i in range(number):
        true_label, text = [("ham", HAM), ("spam", SPAM)][i % 2]
        truth[client.post("/api/v1/predict", json={"text": text.format(i)}).json["id"]] = true_label
    return truth


def review_sample(engine, truth, wrong=0):
    """Draw everything as a sample and review it in order; `wrong` messages turn out to be the other label."""
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(hours=1), len(truth), seed=1)
    other = {"ham": "spam", "spam": "ham"}
    for i, (id_, true_label) in enumerate(truth.items()):
        give_review(engine, id_, "web:1", other[true_label] if i < wrong else true_label, "random")


def figures(app, name="24h", **options):
    engine = app.extensions["engine"]
    return report(engine, app.extensions["inference"].registry, span(engine, name, **options))


def test_an_empty_log_has_nothing_to_say(app):
    empty = figures(app)
    assert empty["verdict"]["state"] == "unknown"
    assert "no prediction" in empty["verdict"]["sentence"]
    assert empty["accuracy"]["reviewed"] == 0
    assert empty["drift"]["state"] == "too few messages to say"
    json.dumps(empty, allow_nan=False)


def test_traffic_without_reviews_leaves_accuracy_open(app, client):
    send(client, 100)
    engine = app.extensions["engine"]
    chosen = span(engine, "24h")
    assert figures(app)["accuracy"]["accuracy"]["value"] is None
    declare_reference(engine, chosen.since, chosen.until)  # so that there is no drift to speak of instead
    assert "nobody knows yet" in figures(app)["verdict"]["sentence"]


def test_a_reviewed_random_sample_gives_the_accuracy(app, client, engine):
    review_sample(engine, send(client, 40), wrong=4)
    accuracy = figures(app)["accuracy"]
    assert accuracy["reviewed"] == 40
    assert accuracy["accuracy"]["value"] == 0.9
    assert accuracy["accuracy"]["low"] < 0.9 < accuracy["accuracy"]["high"]
    assert accuracy["at_training"]["accuracy"]["value"] > 0.9
    assert accuracy["before"]["accuracy"]["value"] is None


def test_reviews_of_other_queues_are_shown_apart(app, client, engine):
    for id_, true_label in send(client, 10).items():
        give_review(engine, id_, "web:1", true_label, "uncertain")
    accuracy = figures(app)["accuracy"]
    assert accuracy["reviewed"] == 0
    assert accuracy["other_queues"] == {"uncertain": {"n": 10, "value": 1.0, "biased": True}}


def test_a_second_sample_of_the_same_time_adds_to_the_first(app, client, engine):
    truth = send(client, 40)
    review_sample(engine, truth)
    more = send(client, 160)
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(hours=1), 200, seed=2)
    alone = figures(app)["accuracy"]["accuracy"]
    sample = all_samples(engine)[0]
    members = [row["id"] for row in upcoming(engine, "random", "web:2", sample.id, limit=5)]
    for id_ in members:
        give_review(engine, id_, "web:2", (truth | more)[id_], "random")
    both = figures(app)["accuracy"]["accuracy"]
    assert both["n"] >= alone["n"] + len(set(members) & set(more))
    assert both["low"] > alone["low"]  # five more reviews narrow the interval, though each alone stands for many


def test_samples_of_different_times_count_by_their_traffic(app, client, engine):
    """An hour of 90 messages, all right, and one of 10, all wrong, with ten reviews each: 90 %, not 50 %."""
    ids = list(send(client, 100))
    now = dt.datetime.now(dt.UTC).replace(minute=30, second=0, microsecond=0)
    for shift, some in ((5, ids[:90]), (3, ids[90:])):
        at = now - dt.timedelta(hours=shift)
        with engine.begin() as connection:
            for i, id_ in enumerate(some):
                moved = {"id": first_id(at + dt.timedelta(seconds=i))[:24] + id_[24:], "created_at": at}
                connection.execute(sa.update(predictions).where(predictions.c.id == id_).values(**moved))
        draw(engine, at - dt.timedelta(minutes=30), at + dt.timedelta(minutes=30), 10, seed=1)
        rows = upcoming(engine, "random", "web:1", all_samples(engine)[0].id)
        for row in rows:
            other = {"ham": "spam", "spam": "ham"}[row["label"]]
            give_review(engine, row["id"], "web:1", row["label"] if shift == 5 else other, "random")
    accuracy = figures(app)["accuracy"]["accuracy"]
    assert accuracy["n"] == 20
    assert accuracy["value"] == 0.9


def test_a_range_that_is_declared_normal_becomes_the_reference(app, client, engine):
    send(client, 120)
    chosen = span(engine, "24h")
    assert declare_reference(engine, chosen.since, chosen.until) == 120
    assert declared_reference(engine).since == chosen.since
    drift = figures(app)["drift"]
    assert drift["reference"]["kind"] == "declared"
    assert drift["state"] == "no drift seen"  # nothing is more like itself
    for i in range(200):
        client.post("/api/v1/predict", json={"text": f"invest in coin {i} today www.coin{i}.top double your money"})
    assert figures(app)["drift"]["state"] == "drifted"
    terms = {one["term"]: one for one in figures(app)["drift"]["changed_terms"]}
    assert terms["coin"]["share_now"] > 0.5
    assert "invest in coin" in terms["coin"]["examples"][0]


def test_too_few_messages_make_no_reference(app, client, engine):
    send(client, 4)
    chosen = span(engine, "24h")
    with pytest.raises(InvalidInput, match="too few"):
        declare_reference(engine, chosen.since, chosen.until)


def test_without_a_model_the_figures_of_the_log_are_there_all_the_same(app, client, models):
    send(client, 4)
    (models / "current").write_text("nothing\n")
    registry = app.extensions["inference"].registry
    registry._current._refresh_at, registry._current.model = 0.0, None
    broken = figures(app)
    assert broken["traffic"]["predictions"] == 4
    assert broken["verdict"]["state"] == "attention"
    assert broken["verdict"]["findings"][0]["about"] == "model"


def made_up(**changes):
    """A report of good health, but for the changes: made_up(latency__p99=80)."""
    share = {"value": 0.98, "low": 0.95, "high": 0.99}
    made = {
        "model_problem": "",
        "accuracy": {"accuracy": share, "reviewed": 212, "at_training": {"accuracy": {"value": 0.98}}},
        "drift": {"state": "no drift seen", "tests": [{"name": "length", "state": "no drift seen"}]},
        "latency": {"p99": 3.0},
        "errors": {"share_failed": 0.0, "share_refused": 0.0, "failed": 0, "requests": 1000},
        "traffic": {"predictions": 1000},
    }
    for place, value in changes.items():
        section, name = place.split("__")
        made[section][name] = value
    return made


def test_good_health_in_one_sentence():
    said = verdict(made_up())
    assert (said["state"], said["findings"]) == ("healthy", [])
    assert said["sentence"] == (
        "Healthy: 98.0 % right on 212 reviewed messages (95.0 to 99.0 %), no drift seen, p99 3 ms, no errors."
    )


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"accuracy__accuracy": {"value": 0.9, "low": 0.85, "high": 0.94}}, "accuracy"),
        ({"drift__tests": [{"name": "length", "state": "drifted"}]}, "drift"),
        ({"latency__p99": 80.0}, "latency"),
        ({"errors__share_failed": 0.02, "errors__failed": 20}, "errors"),
        ({"errors__share_refused": 0.5}, "errors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_needs_attention_is_named_with_what_to_do(change, about):
    said = verdict(made_up(**change))
    assert said["state"] == "attention"
    assert [finding["about"] for finding in said["findings"]] == [about]
    assert said["findings"][0]["do"]


def test_a_bad_accuracy_is_said_before_there_are_enough_reviews_to_praise_it():
    bad = {"value": 0.5, "low": 0.3, "high": 0.7}
    assert verdict(made_up(accuracy__accuracy=bad, accuracy__reviewed=20))["state"] == "attention"
    assert verdict(made_up(accuracy__accuracy=bad, accuracy__reviewed=2))["state"] == "unknown"


def test_a_few_errors_or_wrong_verdicts_are_no_cause_for_alarm():
    assert verdict(made_up(errors__share_failed=0.001, errors__failed=1))["state"] == "healthy"
    near = {"value": 0.97, "low": 0.93, "high": 0.985}  # the interval holds what it was at training
    assert verdict(made_up(accuracy__accuracy=near))["state"] == "healthy"


def test_the_page_asks_for_a_sign_in(client):
    for path in ("/monitor", "/models"):
        answer = client.get(path)
        assert answer.status_code == 303
        assert answer.location.startswith("/login?next=")
    assert client.post("/monitor/reference", data={"range": "24h"}).status_code == 403


def test_the_page_draws_and_has_nothing_inline(signed_in, engine):
    review_sample(engine, send(signed_in, 40))
    signed_in.post("/api/v1/predict", json={"text": ""})
    for name in ("24h", "7d", "30d", "all"):
        html = signed_in.get(f"/monitor?range={name}").text
        assert html.count("<svg") > 10
        assert not re.search(r"<script(?![^>]*\bsrc=)| style=\"", html)
    assert "The input cannot be used" in html  # the failure, in our own words


def test_the_page_of_an_empty_log_says_what_to_do(signed_in):
    html = signed_in.get("/monitor").text
    assert "make demo" in html
    assert "None in this range" in html


def test_a_strange_range_is_refused(signed_in, client, key):
    assert signed_in.get("/monitor?range=yesterday").status_code == 422
    answer = client.get("/api/v1/monitoring?range=yesterday", headers=key)
    assert answer.status_code == 422
    assert answer.json["errors"][0]["field"] == "range"


def test_a_range_is_declared_normal_by_a_button(signed_in, engine):
    assert signed_in.post("/monitor/reference", data={"range": "24h"}).status_code == 422
    send(signed_in, 100)
    answer = signed_in.post("/monitor/reference", data={"range": "24h"}, follow_redirects=True)
    assert "100 messages" in answer.text
    assert "which somebody declared normal" in answer.text


def test_figures_of_one_version(signed_in, app):
    send(signed_in, 4)
    version = app.extensions["inference"].registry.current_version()
    assert figures(app, model_version=version)["traffic"]["predictions"] == 4
    assert figures(app, model_version="20200101-000000-aaaaaaa")["traffic"]["predictions"] == 0
    assert f"<option selected>{version}" in signed_in.get(f"/monitor?model_version={version}").text


def test_the_models_page_shows_versions_and_faults(signed_in, models):
    (models / "20200101-000000-aaaaaaa").mkdir()
    html = signed_in.get("/models").text
    assert html.count("served</span>") == 1
    assert "It cannot be used" in html


def test_the_api_gives_the_same_figures_to_whoever_has_a_key(client, key, engine):
    assert client.get("/api/v1/monitoring").status_code == 401
    review_sample(engine, send(client, 40))
    answer = client.get("/api/v1/monitoring?range=24h", headers=key)
    assert answer.status_code == 200
    assert {"verdict", "accuracy", "drift", "latency", "errors", "traffic"} <= answer.json.keys()
    assert answer.json["accuracy"]["accuracy"]["value"] == 1.0
    assert answer.json["traffic"]["predictions"] == 40


def test_the_command_prints_the_figures_and_exits_with_1_when_something_needs_attention(flask, client, engine):
    review_sample(engine, send(client, 120))
    healthy = flask("monitor", "--range", "24h", "--declare-normal")
    assert healthy.exit_code == 0, healthy.output
    assert re.search(r"accuracy +100.0 %   95 % interval", healthy.output)
    assert "no drift seen" in healthy.output
    for i in range(120):
        client.post("/api/v1/predict", json={"text": f"buy cheap pills {i}" * 20})
    drifted = flask("monitor", "--range", "24h", "--format", "json")
    assert drifted.exit_code == 1
    assert json.loads(drifted.output)["drift"]["state"] == "drifted"


def test_a_demo_needs_a_server(flask):
    result = flask("demo", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "make run" in result.output


def test_a_demo_makes_something_to_look_at(flask, server, app):
    result = flask("demo", "--url", server.url)  # the server and this app share their instance folder
    assert result.exit_code == 0, result.output
    shown = figures(app)
    assert shown["traffic"]["predictions"] == 680
    assert shown["drift"]["state"] == "drifted"


def test_charts_are_laid_out_within_their_frame():
    points = [{"label": str(i), "a": value, "low": value, "high": value} for i, value in enumerate([1, None, 3, 4])]
    laid = chart("Title", points, help="", lines=[Series("a", "A", "accent")], band=("low", "high"))
    assert [len(piece.split()) for _, piece in laid.lines] == [1, 2]  # a gap where nothing is known
    assert len(laid.bands) == 3
    for _, x, y in laid.dots:
        assert 52 <= x <= 472
        assert 14 <= y <= 160
    assert laid.rows[1] == ["1", "–", "–"]
    assert chart("Empty", [], help="", bars=[Series("a", "A", "ham")]).rows == []


def test_bars_are_stacked_to_their_sum():
    laid = chart(
        "Title", [{"label": "x", "a": 30, "b": 20}], help="", bars=[Series("a", "A", "ham"), Series("b", "B", "spam")]
    )
    (_, _, y_a, _, height_a), (_, _, y_b, _, height_b) = laid.bars
    assert y_a + height_a == pytest.approx(160)
    assert y_b + height_b == pytest.approx(y_a, abs=0.11)
    assert height_a / height_b == pytest.approx(1.5, rel=0.01)


def test_scales_and_labels():
    assert [top_of_scale([value], least=1) for value in (0, 0.4, 3, 10, 11, 234)] == [1, 1, 5, 10, 20, 500]
    assert top_of_scale([0.03, None], least=1e-3) == 0.05
    assert label("2026-03-04T12:00:00+00:00", True) == "4 Mar 12:00"
    assert label("2026-03-04T00:00:00+00:00", False) == "4 Mar"
    assert [figure(0.9812, "%"), figure(1.0, "%"), figure(None), figure(12345), figure(2.44, "ms")] == [
        "98.1 %",
        "100 %",
        "–",
        "12,345",
        "2.44 ms",
    ]
    assert len(sparkline([1, 2, None, 3])) == 2

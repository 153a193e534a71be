"""The monitor page, its API and its command: what they say of the log, and what they make of it."""

import datetime as dt
import json
import re
import time

import pytest
import sqlalchemy as sa
from conftest import HAM, execute, move
from pydantic_core import to_json

from webapp.config import PROJECT_SET
from webapp.extras.monitor.api import EXAMPLE
from webapp.extras.monitor.charts import chart, figure, time_label, top_of_scale
from webapp.extras.monitor.drift import declare_reference
from webapp.extras.monitor.report import report
from webapp.extras.monitor.rollups import span
from webapp.extras.review.queues import upcoming
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.extras.tools.commands import read_messages
from webapp.log.tables import drift_references, first_id, predictions
from webapp.model import artifact
from webapp.model.data import copy_keys, read_labelled

on_both = pytest.mark.databases("sqlite", "postgresql")


def log(app, texts, source="api"):
    return [row["id"] for row in app.extensions["inference"].predict(texts, source)]


def send(app, number):
    """Log `number` different messages, half of them spam; return their ids with their true labels."""
    texts = [
        f"Claim your prize now, call 0906{i:07d}, cost 150p per min"
        if i % 2
        else f"see you at {i} o'clock at the station, don't be late"
        for i in range(number)
    ]
    return {id_: ["ham", "spam"][i % 2] for i, id_ in enumerate(log(app, texts))}


def review_sample(engine, truth, wrong=0):
    """Draw everything as a sample and review it in order; `wrong` messages turn out to be the other label."""
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(hours=1), len(truth), seed=1)
    other = {"ham": "spam", "spam": "ham", "unsure": "unsure"}
    for i, (id_, true_label) in enumerate(truth.items()):
        give_review(engine, id_, "web:1", other[true_label] if i < wrong else true_label, "random")


def figures(app, name="24h", **options):
    engine = app.extensions["engine"]
    made = report(engine, app.extensions["inference"].registry, span(engine, name, **options))
    return json.loads(to_json(made), parse_constant=pytest.fail)  # as programs see it; no NaN


# --- Accuracy ---


@on_both
def test_only_a_reviewed_random_sample_gives_the_accuracy(app, engine):
    empty = figures(app)
    assert empty["verdict"]["state"] == "unknown"
    assert "no prediction" in empty["verdict"]["sentence"]
    truth = send(app, 40)
    for id_ in list(truth)[:10]:
        give_review(engine, id_, "web:1", "ham", "uncertain")
    assert figures(app)["accuracy"]["accuracy"]["value"] is None
    assert "is not known yet" in figures(app)["verdict"]["sentence"]
    review_sample(engine, truth, wrong=4)
    accuracy = figures(app)["accuracy"]
    assert accuracy["reviewed"] == 40
    assert accuracy["accuracy"] == {"value": 0.9, "low": 0.9, "high": 0.9, "n": 40}  # all of the log was reviewed
    assert [point["value"] for point in accuracy["over_time"]] == [0.9]
    move(engine, log(app, ["earlier"]), dt.datetime.now(dt.UTC) - dt.timedelta(hours=20))
    assert [point["value"] for point in figures(app)["accuracy"]["over_time"]] == [*[None] * 20, 0.9]
    assert accuracy["at_training"]["accuracy"]["value"] > 0.9


def test_answers_to_another_question_are_not_this_model_s_accuracy(app, models, engine):
    review_sample(engine, before := send(app, 40))
    assert figures(app)["accuracy"]["reviewed"] == 40
    registry = app.extensions["inference"].registry
    served = registry.current()
    card = artifact.read_card(models, served.version).model_copy(update={"labels": ("normal", "urgent")})
    registry.use(artifact.save(models, served.pipeline, card, "joblib", dt.datetime.now(dt.UTC), None))
    assert figures(app)["accuracy"]["reviewed"] == 0
    review_sample(engine, send(app, 30) | before, wrong=3)
    exact = {"value": 0.9, "low": 0.9, "high": 0.9, "n": 30}  # all messages of this question were reviewed
    shown = figures(app)["accuracy"]
    assert shown["accuracy"] == shown["of_current"] == exact
    assert {name: shown["over_time"][0][name] for name in exact} == exact


def test_samples_of_different_times_count_by_their_traffic(app, engine, signed_in):
    """An hour of 90 messages, all right, and one of 10, all wrong, with ten reviews each: 90 %, not 50 %."""
    ids = list(send(app, 100))
    now = dt.datetime.now(dt.UTC).replace(minute=30, second=0, microsecond=0)
    for shift, some in ((5, ids[:90]), (3, ids[90:])):
        at = now - dt.timedelta(hours=shift)
        move(engine, some, at)
        draw(engine, at - dt.timedelta(minutes=30), at + dt.timedelta(minutes=30), 10, seed=1)
        for row in upcoming(engine, "random"):
            other = {"ham": "spam", "spam": "ham"}[row["label"]]
            give_review(engine, row["id"], "web:1", row["label"] if shift == 5 else other, "random")
    accuracy = figures(app)["accuracy"]
    assert (accuracy["accuracy"]["n"], accuracy["accuracy"]["value"], accuracy["sampled"]) == (20, 0.9, 1)
    log(app, ORDINARY[:300])
    assert figures(app)["accuracy"]["sampled"] == 0.25
    assert "The samples are of 25.0 % of the messages" in signed_in.get("/monitor?range=24h").text


def test_unsure_reviews_are_said_with_what_they_may_mean(app, signed_in, engine):
    truth = send(app, 40)
    review_sample(engine, dict.fromkeys(truth, "unsure"))
    assert "Each review of this range says unsure" in signed_in.get("/monitor?range=24h").text
    review_sample(engine, truth | dict.fromkeys(list(truth)[:4], "unsure"))
    accuracy = figures(app)["accuracy"]
    assert (accuracy["reviewed"], accuracy["unsure"], accuracy["if_unsure"]) == (36, 4, [0.9, 1.0])
    page = signed_in.get("/monitor?range=24h").text
    assert "4 more reviews said unsure" in page
    assert "90.0 % to 100.0 % with the unsure ones" in page


def test_only_the_served_model_is_said_to_be_worse_than_at_training(app, engine, signed_in):
    review_sample(engine, send(app, 10), wrong=6)
    assert "right less often than at training: 40.0 %" in figures(app)["verdict"]["sentence"]
    execute(engine, sa.update(predictions).values(model_version="20200101-000000-aaaaaaa"))
    shown = figures(app)
    assert shown["accuracy"]["accuracy"]["value"] == 0.4
    assert not shown["accuracy"]["worse_than_at_training"]
    assert "how accurate the served version is on this traffic is not known yet: 0 of" in shown["verdict"]["sentence"]
    assert "of that one: not known, 0 of 10 reviews" in signed_in.get("/monitor?range=24h").text
    assert "<option selected>20200101" in signed_in.get("/monitor?model_version=20200101-000000-aaaaaaa").text


# --- Drift ---

OPENINGS = ["see you", "meet me", "wait for us", "pick her up", "we are", "come along", "find him", "bring cake"]
PLACES = ["at the station", "by the old mill", "in the garden", "outside school", "near the harbour", "on the roof"]
ENDINGS = ["at six", "after lunch", "before it rains", "with the kids", "if it suits", "as always", "don't be late"]
ORDINARY = [f"{opening} {place} {ending}" for opening in OPENINGS for place in PLACES for ending in ENDINGS]
OFFERS = [
    *("invest in our coins before Friday", "put your savings into silver coins", "rare coins for early buyers"),
    *("the honest broker of coins", "coins are rising fast, buy some", "new coins at half their price"),
    *("earn while you sleep, coins pay", "double all funds with a robot of coins"),
]
LURES = [
    *("see www.coin.top, 200 places left", "call 08081570000 for a free guide", "£50 bonus on top of that"),
    *("join 5,000 happy clients: coin.top/join", "no fee, no risk: reply START", "www.coin.top/vip opens at 9"),
    "only 24 hours: http://coin.top/now",
]
NEW = [f"{offer}! {lure}" for offer in OFFERS for lure in LURES]


def declare(app, texts):
    """Log texts and declare them normal."""
    log(app, texts)
    engine = app.extensions["engine"]
    chosen = span(engine, "24h")
    time.sleep(0.002)  # so that the last one is in a millisecond before the range ends
    return declare_reference(engine, chosen.since, chosen.until)


def test_drift_needs_a_declared_range_which_is_proposed_from_500_messages_on(app, signed_in):
    assert signed_in.post("/monitor/reference", data={"range": "24h"}).status_code == 422  # too few
    log(app, [*ORDINARY, *NEW])
    quiet = figures(app)
    assert (quiet["drift"]["state"], quiet["drift"]["proposed"]) == ("no range declared normal", None)
    assert quiet["verdict"]["state"] == "unknown"
    assert "Call these normal?" not in signed_in.get("/monitor").text
    log(app, ORDINARY[:120])
    assert figures(app)["drift"]["proposed"] == len(ORDINARY) + len(NEW) + 120
    assert "Call these normal?" in signed_in.get("/monitor").text
    page = signed_in.post("/monitor/reference", data={"range": "all"}, follow_redirects=True).text
    assert "512 messages" in page
    assert "which was declared normal" in page
    assert "Call these normal?" not in page


def test_too_few_messages_are_said_with_their_number(app, signed_in):
    declare(app, ORDINARY[:20] + [HAM] * 80)
    log(app, ORDINARY[21:101])
    page = signed_in.get("/monitor?range=24h").text  # HAM of each 80 once
    assert "80 different messages since then, 22 declared normal: too few messages to say" in page
    assert "messages compared" not in page


@on_both
def test_later_messages_are_compared_and_copies_count_once(app):
    assert declare(app, ORDINARY[::2]) == 168
    calm = figures(app)["drift"]
    assert (calm["state"], calm["messages"]) == ("too few messages to say", 0)  # the range is no part of them
    log(app, ORDINARY[1::2])
    log(app, [NEW[0]] * 100)  # a campaign of one template
    assert figures(app)["drift"]["state"] == "no drift seen"
    log(app, NEW)
    alarmed = figures(app)
    assert (alarmed["drift"]["state"], alarmed["drift"]["messages"]) == ("drifted", 168 + len(NEW))
    (finding,) = alarmed["verdict"]["findings"]
    assert finding["about"] == "drift"
    assert alarmed["drift"]["changes"][0]["sentence"] in finding["what"]
    assert "which words" in finding["do"]
    terms = {one["term"]: one for one in alarmed["drift"]["changed_terms"]}
    assert terms["coins"]["share_now"] > 0.2
    assert "invest in" in terms["coins"]["example"]


def test_a_range_that_was_declared_by_a_clock_that_ran_ahead_or_was_purged_is_none(app, engine, flask):
    declare(app, ORDINARY[::2])
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=400)
    ahead = {"id": first_id(later), "created_at": later, "since": later - dt.timedelta(days=401), "until": later}
    execute(engine, sa.insert(drift_references).values(ahead))
    log(app, ORDINARY[1::2])
    assert figures(app)["drift"]["state"] == "no drift seen"
    flask("log", "purge", "--older-than", "0d")
    log(app, ORDINARY)
    assert figures(app)["drift"]["state"] == "no range declared normal"


def test_hours_that_the_declared_range_has_no_messages_of_are_said(app, engine):
    earlier = dt.datetime.now(dt.UTC).replace(minute=10) - dt.timedelta(hours=1)
    move(engine, log(app, ORDINARY[:160]), earlier)
    declare_reference(engine, earlier, earlier + dt.timedelta(minutes=5))
    move(engine, log(app, ORDINARY[160:240]), earlier + dt.timedelta(minutes=10))
    assert figures(app)["drift"]["note"].endswith("which was declared normal.")
    log(app, ORDINARY[240:])
    assert "too few messages of the same hours" in figures(app)["drift"]["note"]


def test_the_drift_of_one_version_looks_at_all_its_messages(app, engine):
    """Filtered first, sampled then: of 1,600 messages 300 are of the version."""
    declare(app, ORDINARY[::2])
    log(app, ORDINARY * 4)
    ids = log(app, ORDINARY[:300])
    execute(engine, sa.update(predictions).where(predictions.c.id.in_(ids)).values(model_version="other"))
    of_other = figures(app, model_version="other")
    assert (of_other["drift"]["messages"], of_other["model_problem"]) == (300, "")  # it is gone, but nothing is wrong


def test_where_texts_are_not_stored_a_switch_of_the_model_is_no_drift(make_app):
    app = make_app(STORE_TEXT=False)
    declare(app, ORDINARY[::2])
    log(app, ORDINARY[1::2])
    assert figures(app)["drift"]["state"] == "no drift seen"
    ids = log(app, ORDINARY[1::2])
    engine = app.extensions["engine"]
    execute(engine, sa.update(predictions).where(predictions.c.id.in_(ids)).values(spam_probability=0.9))
    drifted = figures(app)
    assert (drifted["drift"]["state"], drifted["drift"]["changed_terms"]) == ("drifted", [])
    assert "which words" not in drifted["verdict"]["findings"][0]["do"]
    execute(engine, sa.update(predictions).where(predictions.c.id.in_(ids)).values(model_version="other"))
    shown = figures(app)["drift"]
    assert (shown["state"], shown["messages"]) == ("no drift seen", 168)  # the served version's alone


# --- The verdict ---


def test_what_needs_attention_is_named_with_what_to_do(app, client, models, engine):
    slow = log(app, [HAM] * 500)[:6]
    execute(engine, sa.update(predictions).where(predictions.c.id.in_(slow)).values(latency_ms=80.0))
    (models / "current").write_text("nothing\n")
    registry = app.extensions["inference"].registry
    registry.served._refresh_at, registry.served.model = 0.0, None
    for _ in range(6):
        assert client.post("/api/v1/predict", json={"text": HAM}).status_code == 503
    shown = figures(app)
    assert (shown["traffic"]["predictions"], shown["drift"]["state"]) == (500, "no model")  # what the log knows
    assert shown["verdict"]["state"] == "attention"
    assert [finding["about"] for finding in shown["verdict"]["findings"]] == ["model", "errors", "latency"]
    assert all(finding["do"] for finding in shown["verdict"]["findings"])


def test_kinds_of_failures_are_finite(app, client, key):
    """Nobody can make a kind of failure of their own by a length, a name or a number."""
    address = "/api/v1/predict"
    for n in range(3):
        client.post("/", data={"text": "x" * (10_001 + n)})
        client.post(address, json={"text": "x" * (10_001 + n)})
        client.post(f"{address}/batch", json={"texts": ["a"] * (1001 + n)})
        client.post(f"{address}/batch", json={"texts": ["a"] * n + [""]})
        client.post(address, json={"text": n})
        client.post(address, json={"text": "a", f"name{n}": 1})
        client.post(address, data="{" * (n + 1), content_type="application/json")
        client.get(f"/api/v1/predictions?since=day{n}", headers=key)
        client.get(f"/api/v1/predictions?limit={n + 1000}", headers=key)
        client.get(f"/api/v1/predictions?name{n}=1", headers=key)
        client.put("/api/v1/predictions/1/review", json={"true_label": f"label{n}"}, headers=key)
    kinds = figures(app)["errors"]["by_kind"]
    assert len(kinds) == 10
    assert {kind["count"] for kind in kinds} == {3, 6}


# --- The page, the API and the command ---


def test_the_page_draws_and_has_nothing_inline(app, signed_in, engine):
    empty = signed_in.get("/monitor").text
    assert "make demo" in empty
    assert "None in this range" in empty
    review_sample(engine, send(app, 40))
    signed_in.post("/api/v1/predict", json={"text": ""})
    version = app.extensions["inference"].registry.current_version()
    for name in ("24h", "7d", "30d", "all"):
        html = signed_in.get(f"/monitor?range={name}&model_version={version}").text
        assert html.count("<svg") >= 3
        assert re.search(r"<title>[^<]*: ham 20, spam 20</title>", html)
        assert not re.search(r"<script(?![^>]*\bsrc=)| style=\"", html)
    assert "The input cannot be used" in html  # the failure, in our own words
    assert f"<option selected>{version}" in html


def names(value):
    """Return the names in a piece of JSON, at any depth."""
    if isinstance(value, list):
        return names(value[0]) if value else None
    return {name: names(inner) for name, inner in value.items()} if isinstance(value, dict) else None


@on_both
def test_the_api_gives_the_figures_of_a_range_and_a_version(app, client, engine, signed_in, key):
    truth = send(app, 40)
    review_sample(engine, truth | dict.fromkeys(list(truth)[:4], "unsure"))
    declare(app, ORDINARY[::2])
    log(app, NEW)
    client.post("/api/v1/predict", json={"text": ""})
    version = app.extensions["inference"].registry.current_version()
    for asked, number in (("20200101-000000-aaaaaaa", 0), (version, 208 + len(NEW)), ("", 208 + len(NEW))):
        answer = client.get(f"/api/v1/monitoring?range=24h&model_version={asked}", headers=key)
        assert answer.status_code == 200
        assert (answer.json["traffic"]["predictions"], answer.json["accuracy"]["reviewed"] > 0) == (number, number > 0)
    assert names(answer.json) == names(EXAMPLE)
    for query, field in (("range=yesterday", "range"), ("since=2026-01-01", "since")):  # not ignored
        refused = client.get(f"/api/v1/monitoring?{query}", headers=key)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, field)
    assert signed_in.get("/monitor?range=yesterday").status_code == 422


def test_the_command_exits_with_1_when_something_needs_attention(app, flask, engine):
    review_sample(engine, send(app, 120))
    log(app, ORDINARY[::2])
    time.sleep(0.002)
    healthy = flask("monitor", "--range", "24h", "--declare-normal")
    assert healthy.exit_code == 0, healthy.output
    assert "against the 288 messages" in healthy.stderr
    assert re.search(r"Healthy: 100.0 % .95 % interval .* right on 120 reviewed messages", healthy.stdout)
    assert re.search(r"accuracy +100.0 %, 95 % interval \d\d.* to 100.0 %, 120 reviews", healthy.stdout)
    log(app, NEW * 2)
    drifted = flask("monitor", "--range", "24h", "--format", "json")
    assert drifted.exit_code == 1
    assert json.loads(drifted.output)["drift"]["state"] == "drifted"


def test_the_demo_is_calm_first_and_alarms_after_the_drift(shared_server, make_app, monkeypatch):
    app, seen = make_app(shared_server.instance_folder), []
    monkeypatch.setattr("click.pause", lambda *_: seen.append(figures(app)))  # when a newcomer looks at the page
    result = app.test_cli_runner().invoke(args=["demo", "--url", f"{shared_server.url}/"])
    assert result.exit_code == 0, result.output
    (calm,) = seen
    assert (calm["verdict"]["state"], calm["verdict"]["findings"]) == ("unknown", [])
    assert calm["traffic"]["predictions"] == 150
    drifted = figures(app)
    assert drifted["traffic"]["predictions"] == 280
    assert [finding["about"] for finding in drifted["verdict"]["findings"]] == ["drift"]
    assert drifted["drift"]["changes"]
    assert drifted["drift"]["changed_terms"]
    elsewhere = make_app().test_cli_runner().invoke(args=["demo", "--url", shared_server.url])
    assert (elsewhere.exit_code, "has another log" in elsewhere.output) == (2, True)
    nobody = app.test_cli_runner().invoke(args=["demo", "--url", "http://127.0.0.1:9"])
    assert nobody.exit_code == 2
    assert "make run" in nobody.output


def test_the_demo_is_of_messages_that_no_model_has_learnt(app):
    learnt = set().union(*(copy_keys(example.text) for example in read_labelled(PROJECT_SET).examples))
    model, right = app.extensions["inference"].registry.current(), {}
    for part in ("ordinary", "drift", "later"):
        labels, texts = zip(*read_messages(part), strict=True)
        assert not any(copy_keys(text) & learnt for text in texts)
        called = map(model.label, model.spam_probabilities(texts))
        right[part] = sum(map(str.__eq__, called, labels)) / len(texts)
    assert right["ordinary"] > 0.95
    assert max(right["drift"], right["later"]) < 0.75


# --- Charts and figures ---


def test_a_chart_has_the_units_of_its_figures_and_a_table_of_them(app):
    def draw(points, **options):
        laid = chart("Title", points, help="", **options)
        with app.test_request_context():
            return laid, app.jinja_env.get_template("charts.html").make_module().draw(laid)

    points = [{"label": str(i), "a": value, "low": value, "high": value} for i, value in enumerate([1, None, 3, 4])]
    laid, svg = draw(points, lines=[("a", "A", "accent")], band=("low", "high"), unit="ms")
    assert 'd="M0.5 -1M2.5 -3L3.5 -4"' in svg  # a gap where nothing is known
    assert [svg.count(f'class="{name}"') for name in ("band", "hit")] == [3, 4]
    assert "<title>1: A –, 95 % interval –</title>" in svg
    assert laid["rows"][2] == ("2", "3 ms", "3 ms to 3 ms")
    assert 'viewBox="0 -5.0 4 5.0"' in svg
    _, svg = draw([{"label": "x", "a": 30, "b": 20}], bars=[("a", "A", "ham"), ("b", "B", "spam")])
    assert re.findall(r'y="(\S+)" width="0.4" height="(\S+)"', svg) == [("-30", "30"), ("-50", "20")]  # stacked
    assert "Nothing in this range" in draw([], bars=[("a", "A", "ham")])[1]


def test_scales_and_labels():
    assert [top_of_scale([value, None]) for value in (0, 0.03, 3, 10, 11, 234)] == [1, 0.05, 5, 10, 20, 500]
    busy = chart("", [{"label": "", "a": 180_000}], help="", bars=[("a", "", "ham")])
    assert [label for _, label in busy["ticks"]] == ["0", "100k", "200k"]
    assert time_label("2026-03-04T12:00:00+00:00", "hour") == "4 Mar 12:00"
    assert time_label("2026-03-04T00:00:00+00:00", "day") == "4 Mar"
    assert time_label("2026-03-01T00:00:00+00:00", "month") == "Mar 2026"
    written = [figure(0.9812, "%"), figure(1.0, "%"), figure(None), figure(12345), figure(2.44, "ms"), figure(0.0042)]
    assert written == ["98.1 %", "100.0 %", "–", "12,345", "2.44 ms", "0.0042"]

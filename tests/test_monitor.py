"""The monitor page, its API and its command: what they say of the log, and what they make of it."""

import datetime as dt
import json
import re
import time

import pytest
import sqlalchemy as sa
from conftest import PASSWORD

from webapp.config import PROJECT_SET
from webapp.errors import InvalidInput
from webapp.extras.access import keys as api_keys
from webapp.extras.monitor.charts import Series, chart, figure, interval, sparkline, time_label, top_of_scale
from webapp.extras.monitor.references import declare_reference, declared_reference
from webapp.extras.monitor.report import report
from webapp.extras.monitor.span import span
from webapp.extras.monitor.verdict import verdict
from webapp.extras.review.queues import upcoming
from webapp.extras.review.reviews import give_review
from webapp.extras.review.samples import draw
from webapp.extras.tools.commands import read_messages
from webapp.log.ids import first_id
from webapp.log.tables import predictions
from webapp.model.data import copy_keys, read_labelled

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
    assert empty["drift"]["state"] == "no range declared normal"
    json.dumps(empty, allow_nan=False)


def test_traffic_without_reviews_leaves_accuracy_open(app, client):
    send(client, 100)
    assert figures(app)["accuracy"]["accuracy"]["value"] is None
    assert "nobody knows yet" in figures(app)["verdict"]["sentence"]


def test_a_reviewed_random_sample_gives_the_accuracy(app, client, engine):
    review_sample(engine, send(client, 40), wrong=4)
    accuracy = figures(app)["accuracy"]
    assert accuracy["reviewed"] == 40
    assert accuracy["accuracy"]["value"] == 0.9
    assert accuracy["accuracy"]["low"] == accuracy["accuracy"]["high"] == 0.9  # all of the log was reviewed
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
    members = [row["id"] for row in upcoming(engine, "random", limit=5)]
    for id_ in members:
        give_review(engine, id_, "web:2", (truth | more)[id_], "random")
    both = figures(app)["accuracy"]["accuracy"]
    assert alone["n"] == 40
    assert both["n"] == 40 + len(set(members) & set(more))
    assert both["value"] == 1.0


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
        for row in upcoming(engine, "random"):
            other = {"ham": "spam", "spam": "ham"}[row["label"]]
            give_review(engine, row["id"], "web:1", row["label"] if shift == 5 else other, "random")
    accuracy = figures(app)["accuracy"]["accuracy"]
    assert accuracy["n"] == 20
    assert accuracy["value"] == 0.9


OPENINGS = ["see you", "meet me", "wait for us", "pick her up", "we are", "come along", "find him", "call in"]
PLACES = ["at the station", "by the old mill", "in the garden", "outside school", "near the harbour", "on the roof"]
ENDINGS = ["at six", "after lunch", "before it rains", "with the kids", "if you can", "as always", "don't be late"]
ORDINARY = [f"{opening} {place} {ending}" for opening in OPENINGS for place in PLACES for ending in ENDINGS]
NEW = [
    f"invest in {one} coins {two} the week ends: www.coin.top, {two} doubled {one} times"
    for one in OPENINGS
    for two in ENDINGS
]


def log(app, texts, source="api"):
    return app.extensions["inference"].predict(texts, source)


def test_without_a_declared_range_drift_never_alarms_and_from_500_messages_on_it_is_proposed(app, signed_in):
    log(app, ORDINARY)
    log(app, NEW)
    quiet = figures(app)
    assert (quiet["drift"]["state"], quiet["drift"]["proposed"]) == ("no range declared normal", None)
    assert quiet["verdict"]["state"] == "unknown"
    assert "Call these normal?" not in signed_in.get("/monitor").text
    log(app, ORDINARY[:120])
    assert figures(app)["drift"]["proposed"] == len(ORDINARY) + len(NEW) + 120
    assert "Call these normal?" in signed_in.get("/monitor").text
    signed_in.post("/monitor/reference", data={"range": "all"})
    assert "Call these normal?" not in signed_in.get("/monitor").text


def declare(app, texts):
    """Log texts and declare them normal."""
    log(app, texts)
    engine = app.extensions["engine"]
    chosen = span(engine, "24h")
    time.sleep(0.002)  # so that the last one is in a millisecond before the range ends
    return declare_reference(engine, chosen.since, chosen.until)


def test_later_messages_are_compared_with_the_declared_range_and_it_is_no_part_of_them(app, engine):
    assert declare(app, ORDINARY[::2]) == 168
    assert declared_reference(engine).since == span(engine, "24h").since
    calm = figures(app)["drift"]
    assert (calm["state"], calm["messages"]) == ("too few messages to say", 0)
    log(app, ORDINARY[1::2])
    assert figures(app)["drift"]["state"] == "no drift seen"
    log(app, NEW * 3)
    alarmed = figures(app)
    assert alarmed["drift"]["state"] == "drifted"
    assert alarmed["drift"]["messages"] == 168 + len(NEW)  # copies count once
    assert alarmed["verdict"]["findings"][0]["about"] == "drift"
    assert alarmed["drift"]["changes"][0]["sentence"].startswith(("More", "Messages", "Spam", "Probabilities"))
    terms = {one["term"]: one for one in alarmed["drift"]["changed_terms"]}
    assert terms["coins"]["share_now"] > 0.2
    assert "invest in" in terms["coins"]["examples"][0]


def test_copies_of_one_message_are_no_drift(app):
    declare(app, ORDINARY[::2])
    log(app, ORDINARY[1::2])
    log(app, [NEW[0]] * 100)
    assert figures(app)["drift"]["state"] == "no drift seen"


def test_the_drift_of_one_version_looks_at_all_its_messages(app, engine):
    """Filtered first, sampled then: of 2,500 messages 300 are of the version."""
    declare(app, ORDINARY[::2])
    log(app, ORDINARY * 7)
    rows = log(app, ORDINARY[:300])
    with engine.begin() as connection:
        of_these = predictions.c.id.in_([row["id"] for row in rows])
        connection.execute(sa.update(predictions).where(of_these).values(model_version="other"))
    assert figures(app, model_version="other")["drift"]["messages"] == 300


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
        "accuracy": {
            "accuracy": share,
            "of_current": share,
            "reviewed": 212,
            "at_training": {"accuracy": {"value": 0.98}},
            "worse_than_at_training": False,
        },
        "drift": {"state": "no drift seen", "changes": [], "changed_terms": []},
        "latency": {"p50": 1.0, "p99": 3.0, "n": 1000},
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
        "Healthy: 98 % right on 212 reviewed messages (95 to 99 %), no drift seen, p99 3 ms, no errors."
    )


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"accuracy__worse_than_at_training": True}, "accuracy"),
        ({"drift__state": "drifted"}, "drift"),
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


def test_a_few_errors_are_no_cause_for_alarm():
    assert verdict(made_up(errors__share_failed=0.001, errors__failed=1))["state"] == "healthy"


def test_words_are_pointed_to_only_where_there_are_some():
    assert "which words" not in verdict(made_up(drift__state="drifted"))["findings"][0]["do"]
    told = made_up(drift__state="drifted", drift__changed_terms=[{"term": "coin"}])
    assert "which words" in verdict(told)["findings"][0]["do"]


def test_a_model_that_is_worse_than_at_training_is_said_from_a_few_reviews_on(app, client, engine):
    review_sample(engine, send(client, 10), wrong=6)
    told = figures(app)["verdict"]
    assert "right less often than at training: 40 %" in told["sentence"]


def test_reviews_of_an_older_version_say_nothing_about_the_served_one(app, client, engine):
    review_sample(engine, send(client, 40), wrong=20)
    with engine.begin() as connection:
        connection.execute(sa.update(predictions).values(model_version="20200101-000000-aaaaaaa"))
    shown = figures(app)
    assert shown["accuracy"]["accuracy"]["value"] == 0.5
    assert not shown["accuracy"]["worse_than_at_training"]


def test_unsure_reviews_are_said_with_what_they_may_mean(app, signed_in, engine):
    ids = list(send(signed_in, 40))
    now = dt.datetime.now(dt.UTC)
    draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(hours=1), 40, seed=1)
    for i, id_ in enumerate(ids):
        give_review(engine, id_, "web:1", "unsure" if i < 4 else ["ham", "spam"][i % 2], "random")
    accuracy = figures(app)["accuracy"]
    assert (accuracy["reviewed"], accuracy["unsure"], accuracy["if_unsure"]) == (36, 4, (0.9, 1.0))
    assert "4 more the reviewers were unsure of" in signed_in.get("/monitor?range=24h").text


def test_kinds_of_failures_are_finite(app, client):
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
    kinds = figures(app)["errors"]["by_kind"]
    assert len(kinds) == 7
    assert {kind["count"] for kind in kinds} == {3}


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
        assert html.count("<svg") >= 3
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


def test_the_api_gives_the_same_figures_to_whoever_has_a_key(client, key, engine):
    assert client.get("/api/v1/monitoring").status_code == 401
    review_sample(engine, send(client, 40))
    answer = client.get("/api/v1/monitoring?range=24h", headers=key)
    assert answer.status_code == 200
    assert {"verdict", "accuracy", "drift", "latency", "errors", "traffic"} <= answer.json.keys()
    assert answer.json["accuracy"]["accuracy"]["value"] == 1.0
    assert answer.json["traffic"]["predictions"] == 40


def test_the_command_prints_the_figures_and_exits_with_1_when_something_needs_attention(app, flask, client, engine):
    review_sample(engine, send(client, 120))
    declare(app, ORDINARY[::2])
    log(app, ORDINARY[1::2])
    healthy = flask("monitor", "--range", "24h")
    assert healthy.exit_code == 0, healthy.output
    assert re.search(r"accuracy +100 %   95 % interval", healthy.output)
    assert "no drift seen" in healthy.output
    log(app, NEW * 2)
    assert flask("monitor", "--range", "24h").exit_code == 1
    drifted = flask("monitor", "--range", "24h", "--format", "json")
    assert drifted.exit_code == 1
    assert json.loads(drifted.output)["drift"]["state"] == "drifted"


def test_a_demo_needs_a_server(flask):
    result = flask("demo", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 2
    assert "make run" in result.output


def test_the_demo_is_calm_first_and_alarms_after_the_drift(app, flask, server, monkeypatch):
    seen = []
    monkeypatch.setattr("click.pause", lambda *_: seen.append(figures(app)))  # when a newcomer looks at the page
    result = flask("demo", "--url", server.url)  # the server and this app share their instance folder
    assert result.exit_code == 0, result.output
    (calm,) = seen
    assert (calm["verdict"]["state"], calm["verdict"]["findings"]) == ("unknown", [])
    assert calm["traffic"]["predictions"] == 150
    drifted = figures(app)
    assert drifted["traffic"]["predictions"] == 280
    assert [finding["about"] for finding in drifted["verdict"]["findings"]] == ["drift"]
    assert drifted["drift"]["changes"]
    assert drifted["drift"]["changed_terms"]


def test_no_model_has_learnt_a_message_of_the_demo_and_the_new_kinds_are_hard(app):
    learnt = set()
    for example in read_labelled(PROJECT_SET).examples:
        learnt |= copy_keys(example.text)
    model = app.extensions["inference"].registry.current()

    def right(part):
        rows = read_messages(part)
        assert not any(copy_keys(text) & learnt for _, text in rows)
        return sum(
            model.label(p) == label
            for (label, _), p in zip(rows, model.spam_probabilities([t for _, t in rows]), strict=True)
        ) / len(rows)

    assert right("ordinary") > 0.95
    assert right("drift") < 0.75
    assert right("later") < 0.75


def test_charts_are_laid_out_within_their_frame():
    points = [{"label": str(i), "a": value, "low": value, "high": value} for i, value in enumerate([1, None, 3, 4])]
    laid = chart("Title", points, help="", lines=[Series("a", "A", "accent")], band=("low", "high"))
    assert [len(piece.split()) for _, piece in laid.lines] == [1, 2]  # a gap where nothing is known
    assert len(laid.bands) == 3
    for _, x, y in laid.dots:
        assert 56 <= x <= 474
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


def test_the_names_of_lines_do_not_cover_one_another():
    points = [{"label": "x", "a": 1.0, "b": 1.01, "c": 1.02}]
    laid = chart("Title", points, help="", lines=[Series(name, name, "accent") for name in "abc"])
    heights = [y for _, y, _ in laid.names]
    assert all(below - above >= 16 for above, below in zip(heights, heights[1:], strict=False))
    assert all(12 <= height <= 164 for height in heights)
    assert all(x <= laid.right for _, x, _ in laid.dots)


def test_scales_and_labels():
    assert [top_of_scale([value], least=1) for value in (0, 0.4, 3, 10, 11, 234)] == [1, 1, 5, 10, 20, 500]
    assert top_of_scale([0.03, None], least=1e-3) == 0.05
    assert time_label("2026-03-04T12:00:00+00:00", True) == "4 Mar 12:00"
    assert time_label("2026-03-04T00:00:00+00:00", False) == "4 Mar"
    assert [figure(0.9812, "%"), figure(1.0, "%"), figure(None), figure(12345), figure(2.44, "ms")] == [
        "98.1 %",
        "100 %",
        "–",
        "12,345",
        "2.44 ms",
    ]
    assert interval({"low": 0.951, "high": 0.98}) == "95.1 to 98 %"
    assert len(sparkline([1, 2, None, 3])) == 2
    assert sparkline([1, 2]) == []

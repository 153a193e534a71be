"""The models pages: which version is served, what to do next, and every switch by a button."""

import datetime as dt
import html
import re
import shutil

import pytest
from conftest import make_job, messages, running_job, use_models

from webapp.config import PROJECT_SET
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.comparison import sampled_examples
from webapp.extras.review import samples
from webapp.extras.review.reviews import give_review
from webapp.model import artifact
from webapp.model.data import read_labelled

SCRIPT = "<script>alert(1)</script> call me"
SPAM_TEXTS = [text for label, text in messages(40) if label == "spam"]


@pytest.fixture
def registry(app, models):
    return app.extensions["inference"].registry


def look(client, path="/models"):
    """Return a page's words, without its tags."""
    answer = client.get(path)
    assert answer.status_code == 200
    return words(answer)


def words(answer):
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", answer.text)))


def press(client, action, version=None, why=""):
    return client.post(f"/models/{action}", data={"version": version, "why": why}, follow_redirects=True)


def review(app, texts, label=None, queue="all"):
    """Send messages and say what they are: `label`, or what the model said."""
    for row in app.extensions["inference"].predict(list(texts), "api"):
        give_review(app.extensions["engine"], row["id"], "web:ann", label or row["label"], queue)


def draw(engine):
    now = dt.datetime.now(dt.UTC)
    samples.draw(engine, now - dt.timedelta(hours=1), now + dt.timedelta(minutes=1), 100, 1)


def test_the_page_says_what_is_served_what_to_do_next_and_how_each_did(app, signed_in, versions):
    review(app, ["see you at lunch"])
    page = look(signed_in)
    assert "v1 is served. 1 new review: 49 more and you can retrain." in page
    assert "Retrain now" not in page
    assert all(name in page for name in versions)
    assert len(re.findall(r"\d\d\.\d % \(\d\d\.\d to \d\d\.\d %\)", page)) >= 3
    assert page.count("verified") == len(re.findall(r"trained on \d\d,\d{3} messages", page)) == 3
    assert [f"v{number} , " in page for number in (1, 2, 3, 4)] == [True, True, True, False]
    assert "not known yet 1 message" in page
    assert page.count("no messages") == 2
    review(app, [text for _, text in messages(50)])
    page = look(signed_in)
    assert "v1 is served. 51 new reviews: enough to retrain." in page
    assert "Retrain now" in page


def test_serve_try_stop_and_roll_back_by_buttons(signed_in, registry, versions):
    first, second, third = versions
    assert "No version is being tried" in look(signed_in)
    answer = words(press(signed_in, "challenge", second, "it knows the new scam"))
    assert f"Version {second} is tried from now on" in answer
    assert "Another one is in the shadow test" in answer
    answer = words(press(signed_in, "use", second, "it  is\nbetter"))
    assert "v2 is served. " in answer
    assert "you it is better" in answer
    assert registry.challenger.read() == ""
    assert f"Serve v1 {first} again, as before this one?" in answer
    press(signed_in, "challenge", third)
    press(signed_in, "stop", second)  # on a page that was opened before
    assert registry.challenger.read() == third
    assert "The shadow test is over" in words(press(signed_in, "stop", third))
    answer = words(press(signed_in, "rollback", first))
    assert f"Rolled back: version {first} is served again" in answer
    assert "Roll back" not in answer  # there is none before it
    happened = answer.split(" History ", 1)[1]
    found = re.findall(r"Rolled back to|Shadow test ended|Shadow test of|Served ", happened)
    assert found == ["Rolled back to", "Shadow test ended", "Shadow test of", "Served ", "Shadow test of"]
    assert "it knows the new scam" in happened


def test_what_cannot_be_done_is_said_on_the_same_page_and_changes_nothing(signed_in, models, engine, versions):
    first, second, third = versions
    (models / second / "model.joblib").write_bytes(b"changed")
    assert f"It cannot be used: The file model.joblib of model {second} was changed" in look(signed_in)
    for action in ("use", "challenge"):
        answer = press(signed_in, action, second)
        assert answer.status_code == 503
        assert "was changed after it was saved (SHA-256 differs)" in words(answer)
        assert f"Nothing has changed: version {first} is still served." in words(answer)
        for version in ("20990101-000000-abcdef0", "", None):
            assert press(signed_in, action, version).status_code == 404
    answer = press(signed_in, "challenge", first)
    assert (answer.status_code, "there is nothing to try it beside" in words(answer)) == (422, True)
    assert switching.history(engine) == []


def test_a_rollback_goes_where_its_button_said_also_when_pressed_twice(signed_in, registry, versions):
    first, second, third = versions
    registry.use(second, "command:root", "<b>a night job</b>")
    assert f"Serve v1 {first} again" in look(signed_in)
    assert "command:root <b>a night job</b>" in look(signed_in)
    registry.use(third, "web:ben")  # while the page was open
    for _ in range(2):
        assert f"version {first} is served again" in words(press(signed_in, "rollback", first))
    assert registry.current_version() == first
    assert "Yes, roll back" not in look(signed_in)


def test_the_page_shows_what_is_wrong_with_the_versions(app, signed_in, models, versions):
    look(signed_in)
    (models / versions[0] / "model.joblib").write_bytes(b"changed")
    page = look(signed_in)
    assert "v1 is served." in page  # from memory
    assert "SHA-256 differs" in page
    use_models(app, models)  # as a server that has not loaded one before
    assert "No version is served" in look(signed_in)
    for path in models.glob("*"):
        path.rename(models.parent / path.name)
    assert "There is none yet" in look(signed_in)


def test_the_record_of_a_challenger_grows_with_reviews(app, signed_in, engine, registry, versions):
    assert "Challenger differs" not in look(signed_in, "/review")
    registry.use(versions[1], "web:ann", "fewer false alarms", "challenge")
    rows = app.extensions["inference"].predict(SPAM_TEXTS, "api")
    assert "The two differ on 20 of the 20 messages." in look(signed_in)
    queue = signed_in.get("/review?queue=challenger")
    assert re.search(r"Challenger differs\s*<span class=\"count\">20<", queue.text)
    assert "Which of the two says what?" in queue.text
    registry.use(versions[2], kind="challenge")  # of another one these say nothing
    assert "Nothing waits here" in look(signed_in, "/review?queue=challenger")
    registry.use(versions[1], kind="challenge")
    for truth, said in (("spam", "worse: stop the test."), ("ham", "better: serve it.")):
        for row in rows:
            give_review(engine, row["id"], "web:ann", truth, "challenger")
        assert f"The one in the shadow test is {said}" in look(signed_in)
    assert "Nothing waits here" in look(signed_in, "/review?queue=challenger")


def test_a_challenger_whose_folder_is_gone_is_named_and_can_be_stopped(signed_in, flask, registry, models, versions):
    registry.use(versions[1], kind="challenge")
    shutil.rmtree(models / versions[1])
    page = look(signed_in)
    assert "It cannot be used: There is no model" in flask("models", "challenge").output
    assert f"v2 {versions[1]} It cannot be used: There is no model" in page
    assert "The shadow test is over" in words(press(signed_in, "stop", versions[1]))
    assert "No version is being tried" in look(signed_in)


def test_versions_with_other_labels_are_not_mixed_up(app, signed_in, engine, registry, models, versions):
    first = versions[0]
    review(app, [text for _, text in messages(100)], queue="random")
    draw(engine)
    card = artifact.read_card(models, first).model_copy(update={"labels": ("normal", "urgent")})
    now = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    urgent = artifact.save(models, artifact.load(models, first).pipeline, card, "joblib", now, None)
    answer = press(signed_in, "challenge", urgent)
    assert (answer.status_code, "they answer different questions" in words(answer)) == (422, True)
    assert signed_in.get(f"/models/compare?first={first}&second={urgent}").status_code == 422
    assert signed_in.get("/models/compare").status_code == 200  # the newest that can be compared with the served one
    assert "Choose two different" in signed_in.get(f"/models/compare?first={first}&second={first}").text
    assert len(sampled_examples(engine, registry, versions[:2])) > 10
    press(signed_in, "challenge", versions[1])
    registry.use(urgent)
    assert registry.challenger.read() == ""
    assert "0 new reviews: 50 more" in look(signed_in)
    assert sampled_examples(engine, registry, [urgent]) == []
    assert retraining.reviews_to_learn(engine, registry, card.labels).examples == []


def test_two_versions_are_compared_on_a_reviewed_sample(app, signed_in, engine, versions):
    address = f"/models/compare?first={versions[0]}&second={versions[1]}"
    learnt = [example.text for example in read_labelled(PROJECT_SET).examples[:5]]
    review(app, learnt, queue="random")
    draw(engine)
    assert "Which one is better is not known yet" in look(signed_in, address)
    review(app, [f"{SCRIPT} you won a {prize}, claim at http://x.top" for prize in ("car", "phone")], "spam", "random")
    review(app, [text for _, text in messages(40)], queue="random")
    draw(engine)
    answer = signed_in.get(address)
    page = words(answer)
    assert "On 42 messages, drawn at random" in page
    assert "The first one is better: where just one of the two is right, that is the first one" in page
    assert "<script>alert" not in answer.text
    assert '<mark class="spam s' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)| style=\"", answer.text)


def test_near_the_threshold_a_probability_has_a_decimal(app):
    likely = app.jinja_env.get_template("lifecycle/model_macros.html").module.likely
    shown = {0.3996: "40.0 %", 0.4004: "40.0 %", 0.391: "39.1 %", 0.7: "70 %", 0.997: "99.7 %"}
    found = {one: likely({"spam_probability": one, "threshold": 0.4}).strip() for one in shown}
    assert found == shown


# --- Retraining; a real one: tests/test_retrain.py ---


def test_reviews_that_contradict_a_sure_verdict_are_confirmed_on_the_page(app, signed_in, models):
    review(
        app,
        ["URGENT! You have WON a car!!! Claim it now, call 09061701461 or text WIN to 80085. 150p per msg"],
        "ham",
    )
    page = signed_in.get("/models")
    assert "1 more contradicts a verdict that was at least 99 % sure: look once more before it teaches" in words(page)
    id_ = re.search(r'name="id" value="([^"]+)"', page.text)[1]
    answer = signed_in.post("/models/confirm", data={"id": id_}, follow_redirects=True)
    assert "1 of 1 confirmed" in words(answer)
    assert "contradict" not in words(answer)


def test_one_job_at_a_time_over_files_and_retraining(app, signed_in, models):
    review(app, [text for _, text in messages(50)])
    with running_job(app, "batch", {"name": "first.csv"}):
        assert "first.csv is being worked on" in look(signed_in)
        answer = press(signed_in, "retrain")
    assert (answer.status_code, "Another job is running" in words(answer)) == (409, True)
    with running_job(app, "retrain") as job_id:
        assert "A new one is being trained." in look(signed_in)
        assert 'http-equiv="refresh"' in signed_in.get("/models").text  # for those without JavaScript
        assert signed_in.get(f"/models/retrain/{job_id}/status").json["state"] == "running"
        assert "The training of a new version is being worked on" in look(signed_in, "/batch")
        assert signed_in.get(f"/batch/{job_id}").status_code == 404


def test_why_there_is_no_new_version_is_said(app, signed_in, models):
    make_job(app, "retrain", "failed", message="Only 12 reviews are new.")
    assert "failed, and nothing was saved. Only 12 reviews are new." in look(signed_in)

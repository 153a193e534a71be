"""The models pages: which version is served, what to do next, and every switch by a button."""

import datetime as dt
import html
import json
import re
import shutil

import pytest
from conftest import PASSWORD, make_job, make_version, messages, running_job, use_models

from webapp.config import PROJECT_SET, ROOT
from webapp.extras.lifecycle import switching
from webapp.extras.review import samples
from webapp.extras.review.reviews import give_review
from webapp.model import artifact
from webapp.model import registry as registry_module
from webapp.model.data import read_labelled

SCRIPT = "<script>alert(1)</script> call me"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry_module, "REFRESH_S", 0)  # notice a switch at the next request


@pytest.fixture
def signed_in(client):
    client.post("/login", data={"password": PASSWORD})
    return client


@pytest.fixture(scope="module")
def two_more(tmp_path_factory):
    """A folder with the shipped version, one that calls nothing spam, and one that is surer; made once."""
    folder = tmp_path_factory.mktemp("models") / "saved_models"
    shutil.copytree(ROOT / "saved_models", folder)
    return folder, make_version(folder, 0.01), make_version(folder, 2)


@pytest.fixture
def versions(models, two_more):
    """The names of these three, of which a test has copies of its own."""
    folder, *names = two_more
    for name in names:
        shutil.copytree(folder / name, models / name)
    return (models / "current").read_text().strip(), *names


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


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
    for text in texts:
        row = app.extensions["inference"].predict([text], "api")[0]
        give_review(app.extensions["engine"], row["id"], "web:ann", label or row["label"], queue)


def test_the_page_says_first_which_version_is_served_and_what_to_do_next(app, signed_in, versions):
    page = look(signed_in)
    assert "v1 is served. 0 new reviews: 50 more and you can retrain." in page
    assert "Retrain now" not in page
    review(app, [text for _, text in messages(50)])
    page = look(signed_in)
    assert "v1 is served. 50 new reviews: enough to retrain." in page
    assert "Retrain now" in page


def test_each_version_shows_its_card_and_how_it_did_so_far(app, signed_in, versions):
    review(app, ["see you at lunch"])
    page = look(signed_in)
    for name in versions:
        assert name in page
    assert len(re.findall(r"\d\d\.\d % \(\d\d\.\d to \d\d\.\d\)", page)) >= 3
    assert page.count(" MB") >= 3
    assert page.count("verified") == 3
    assert page.count("trained on 22,315 messages") == 3
    assert [name in page for name in ("v1 , ", "v2 , ", "v3 , ", "v4")] == [True, True, True, False]
    assert "not known yet 1 message" in page
    assert page.count("has not served") == 2


def test_serve_try_stop_and_roll_back_by_buttons(app, signed_in, registry, versions):
    first, second, third = versions
    assert "No version is being tried" in look(signed_in)
    answer = words(press(signed_in, "challenge", second, "it knows the new scam"))
    assert f"Version {second} is tried from now on" in answer
    assert "Another one is in the shadow test" in answer
    assert registry.named("challenger") == second

    answer = words(press(signed_in, "use", second, "it  is\nbetter"))
    assert "v2 is served. " in answer
    assert "by you: “it is better”" in answer
    assert registry.named("challenger") is None
    assert f"Serve v1 {first} again, as before this one?" in answer

    press(signed_in, "challenge", third)
    assert "The shadow test is over" in words(press(signed_in, "stop", third))
    answer = words(press(signed_in, "rollback", first))
    assert f"Rolled back: version {first} is served again" in answer
    assert "Roll back" not in answer  # there is none before it

    happened = answer.split(" History ", 1)[1]
    found = re.findall(r"Rolled back to|Shadow test ended|Shadow test of|Served ", happened)
    assert found == ["Rolled back to", "Shadow test ended", "Shadow test of", "Served ", "Shadow test of"]
    assert "it knows the new scam" in happened


def test_what_others_did_is_told_apart(signed_in, engine, registry, versions):
    registry.use(versions[1], "command:root", "<b>a night job</b>")
    page = signed_in.get("/models")
    assert "root, by a command" in page.text
    assert "&lt;b&gt;a night job&lt;/b&gt;" in page.text
    registry.use(versions[2], "web:0a1b2c3d")
    assert "somebody else (0a1b2c3d)" in look(signed_in)


def test_a_version_that_does_not_verify_is_refused_on_the_same_page_and_the_old_one_stays(
    app, signed_in, models, engine, versions
):
    first, second, _ = versions
    (models / second / "model.joblib").write_bytes(b"changed")
    page = look(signed_in)
    assert f"It cannot be used: The file model.joblib of model {second} was changed" in page
    for action in ("use", "challenge"):
        answer = press(signed_in, action, second)
        assert answer.status_code == 503
        assert "was changed after it was saved (SHA-256 differs)" in words(answer)
        assert f"Nothing has changed: version {first} is still served." in words(answer)
        assert press(signed_in, action, "20990101-000000-abcdef0").status_code == 404
    assert switching.history(engine) == []
    assert signed_in.post("/api/v1/predict", json={"text": "hello"}).json["model_version"] == first


def test_the_served_version_cannot_be_its_own_challenger(signed_in, registry, versions):
    answer = press(signed_in, "challenge", versions[0])
    assert answer.status_code == 422
    assert "there is nothing to try it beside" in words(answer)
    assert registry.named("challenger") is None


def test_a_rollback_goes_where_it_said_or_nowhere(signed_in, engine, registry, versions):
    first, second, third = versions
    registry.use(second, "web:ann")
    assert f"Serve v1 {first} again" in look(signed_in)
    registry.use(third, "web:ben")  # while the page was open
    answer = press(signed_in, "rollback", first)
    assert answer.status_code == 422
    assert "Somebody has switched versions meanwhile" in words(answer)
    assert registry.current_version() == third


def test_where_no_version_can_be_used_the_page_says_what_to_do(app, signed_in, models, versions):
    for name in versions:
        (models / name / "model.joblib").write_bytes(b"changed")
    use_models(app, models)  # a server that has not loaded one before
    page = look(signed_in)
    assert "No version is served" in page
    assert "Take another version" in page


def test_a_folder_without_versions(signed_in, models):
    for path in models.glob("*"):
        path.rename(models.parent / path.name)
    page = look(signed_in)
    assert "There is none yet" in page
    assert "train FILE" in page


def test_a_current_version_that_is_damaged_while_it_is_served_is_told(signed_in, models, versions):
    look(signed_in)
    (models / versions[0] / "model.joblib").write_bytes(b"changed")
    page = look(signed_in)
    assert "v1 is served." in page  # from memory
    assert "SHA-256 differs" in page


# --- The trial ---


def test_the_record_of_a_challenger_grows_with_reviews(app, signed_in, engine, registry, versions):
    first, second, _ = versions
    switching.challenge(engine, registry, second, "web:ann", "fewer false alarms")
    look(signed_in)
    assert "It waits for the next message to score" in look(signed_in)
    texts = [text for label, text in messages(40) if label == "spam"]
    rows = [app.extensions["inference"].predict([text], "api")[0] for text in texts]
    differing = [row for row in rows if row["challenger_label"] != row["label"]]
    assert len(differing) >= 10
    page = look(signed_in)
    assert f"The two differ on {len(differing)} of the 20 messages" in page
    assert "None of these that neither has learnt was reviewed yet" in page
    assert "Review where they differ" in page

    queue = signed_in.get("/review?queue=challenger")
    assert re.search(rf"Challenger differs\s*<span class=\"count\">{len(differing)}<", queue.text)
    assert "Which of the two says what?" in queue.text
    for row in differing:
        give_review(engine, row["id"], "web:ann", "spam", "challenger")
    page = look(signed_in)
    assert "The one in the shadow test is worse: stop the test." in page
    assert f"0 of {len(differing)}" in page
    assert "Nothing waits here" in look(signed_in, "/review?queue=challenger")


def test_the_better_challenger_is_to_be_served(app, signed_in, engine, registry, versions):
    switching.challenge(engine, registry, versions[1], "web:ann")
    texts = [text for label, text in messages(40) if label == "spam"]
    for row in [app.extensions["inference"].predict([text], "api")[0] for text in texts]:
        give_review(engine, row["id"], "web:ann", "ham", "challenger")
    assert "The one in the shadow test is better: serve it." in look(signed_in)


def test_there_is_no_queue_of_a_challenger_where_there_is_none(app, signed_in, engine, registry, versions):
    assert "Challenger differs" not in look(signed_in, "/review")
    switching.challenge(engine, registry, versions[1], "web:ann")
    assert "Challenger differs" in look(signed_in, "/review")
    row = app.extensions["inference"].predict(["see you at lunch"], "api")[0]
    assert signed_in.get(f"/review?queue=challenger&id={row['id']}").status_code == 200
    switching.challenge(engine, registry, None, "web:ann")
    assert "Challenger differs" not in look(signed_in, "/review")


# --- Two side by side ---


def test_two_versions_are_compared_on_a_reviewed_sample(app, signed_in, engine, versions):
    first, second, _ = versions
    now = dt.datetime.now(dt.UTC)
    review(app, [f"{SCRIPT} you won a {prize}, claim at http://x.top" for prize in ("car", "phone")], "spam", "random")
    review(app, [text for _, text in messages(40)], queue="random")
    samples.draw(engine, now, dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=1), 100, 1)
    answer = signed_in.get(f"/models/compare?first={first}&second={second}")
    page = words(answer)
    assert "On 42 messages that were drawn at random" in page
    assert re.search(
        r"The first one is better: where just one of the two is right, that is the first one \d+ times", page
    )
    assert "Terms whose weight changed most" in page
    assert "<script>alert" not in answer.text
    assert '<mark class="spam s' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)| style=\"", answer.text)


def test_without_reviews_which_is_better_is_not_known(app, signed_in, engine, versions):
    address = f"/models/compare?first={versions[0]}&second={versions[2]}"
    assert "Which one is better is not known yet" in look(signed_in, address)
    now = dt.datetime.now(dt.UTC)  # messages that both have learnt do not change that
    learnt = [example.text for example in read_labelled(PROJECT_SET).examples[:5]]
    review(app, learnt, queue="random")
    samples.draw(engine, now, dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=1), 100, 1)
    assert "Which one is better is not known yet" in look(signed_in, address)


def test_a_comparison_is_worked_out_once_for_two_versions(signed_in, versions, monkeypatch):
    address, loaded = f"/models/compare?first={versions[0]}&second={versions[2]}", []
    load = artifact.load
    monkeypatch.setattr(artifact, "load", lambda *names: loaded.append(names) or load(*names))
    assert look(signed_in, address) == look(signed_in, address)
    assert len(loaded) == 2


def test_near_the_threshold_a_probability_has_a_decimal(app):
    likely = app.jinja_env.get_template("lifecycle/model_macros.html").module.likely
    for probability, words in (
        (0.3996, "40.0 %"),
        (0.4004, "40.0 %"),
        (0.391, "39.1 %"),
        (0.7, "70 %"),
        (0.997, "99.7 %"),
    ):
        assert likely({"spam_probability": probability, "threshold": 0.4}).strip() == words


def test_reviews_that_contradict_a_sure_verdict_are_confirmed_on_the_page(app, signed_in, models):
    text = "WIN a free car!!! Claim your prize now, call 09061701461 or text WIN to 80085"
    review(app, [text], "ham")
    row = app.extensions["inference"].score([text], "api")[0]
    assert row["spam_probability"] > 0.99
    page = look(signed_in)
    assert "1 more contradicts a verdict that was at least 99 % sure: look once more before it teaches" in page
    id_ = re.search(r'name="id" value="([^"]+)"', signed_in.get("/models").text)[1]
    answer = signed_in.post("/models/confirm", data={"id": id_}, follow_redirects=True)
    assert "1 of 1 confirmed" in words(answer)
    assert "contradict" not in words(answer)


def test_the_same_version_twice_and_versions_that_cannot_be_compared(signed_in, models, versions):
    first, second, _ = versions
    assert "It is the same version twice" in look(signed_in, f"/models/compare?first={first}&second={first}")
    assert signed_in.get("/models/compare?first=../../etc&second=x").status_code == 404
    (models / second / "model.joblib").write_bytes(b"changed")
    answer = signed_in.get(f"/models/compare?first={first}&second={second}")
    assert answer.status_code == 503
    assert "SHA-256 differs" in words(answer)


# --- Retraining ---


def test_one_job_at_a_time_over_files_and_retraining(app, signed_in, engine, models):
    review(app, [text for _, text in messages(50)])
    with running_job(app, "batch", {"name": "first.csv"}):
        assert "first.csv is being worked on" in look(signed_in)
        answer = signed_in.post("/models/retrain")
    assert answer.status_code == 409
    assert "Another job is running, and one is allowed at a time" in words(answer)


def test_a_retraining_is_watched_and_can_be_cancelled(app, signed_in, models):
    with running_job(app, "retrain") as job_id:
        assert "A new one is being trained." in look(signed_in)
        answer = signed_in.get(f"/models/retrain/{job_id}")
        assert 'http-equiv="refresh"' in answer.text  # for those without JavaScript
        folder = app.extensions["runner"].folder(job_id)
        (folder / "output.log").write_text("fitting <on> everything\n")
        status = signed_in.get(f"/models/retrain/{job_id}/status").json
        assert (status["state"], status["log"]) == ("running", "fitting <on> everything\n")
        assert "fitting &lt;on&gt; everything" in signed_in.get(f"/models/retrain/{job_id}").text
        assert "The training of a new version is being worked on" in look(signed_in, "/batch")
        assert signed_in.get(f"/batch/{job_id}").status_code == 404
        cancelled = signed_in.post(f"/models/retrain/{job_id}/cancel", follow_redirects=True)
        assert "It stops in a moment" in words(cancelled)
    (folder / "state.json").write_text(json.dumps({"state": "cancelled", "message": ""}))
    assert "Somebody cancelled it. Nothing was saved." in look(signed_in, f"/models/retrain/{job_id}")


def test_why_there_is_no_new_version_is_said(app, signed_in, models):
    job_id, _ = make_job(app, "retrain", "failed", message="Only 12 reviews are new.")
    assert "Only 12 reviews are new." in look(signed_in, f"/models/retrain/{job_id}")
    assert "Failed" in look(signed_in)


def test_what_came_out_is_shown_with_the_next_step(app, signed_in, registry, versions):
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    result = {
        "version": versions[1],
        "told": "The served version was corrected with 52 reviews. Of 13 that were kept apart, ...",
        "accuracy": {**figure, "n": 13},
        "better": None,
        "unconfirmed": 2,
    }
    job_id, _ = make_job(app, "retrain", "done", result=result)
    page = look(signed_in, f"/models/retrain/{job_id}")
    assert f"Version {versions[1]} is saved, and waits for you" in page
    assert "corrected with 52 reviews" in page
    assert "It is right on 90.0 % (80.0 to 95.0)" in page
    assert "2 of the reviews contradict a verdict" in page
    assert "Try it in the shadow test" in page
    assert f"second={versions[1]}" in signed_in.get(f"/models/retrain/{job_id}").text
    assert "Done : v2" in look(signed_in)


def test_only_the_signed_in_see_and_switch(client, registry, versions):
    for path in ("/models", "/models/compare", "/models/retrain/x", "/models/retrain/x/status"):
        assert client.get(path).status_code == 303
    for path in ("use", "challenge", "stop", "rollback", "retrain", "retrain/x/cancel"):
        assert client.post(f"/models/{path}", data={"version": versions[1]}).status_code == 403
    assert registry.current_version() == versions[0]

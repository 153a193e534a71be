"""The models pages: which version is served, what to do next, and every switch by a button."""

import datetime as dt
import html
import re
import shutil

import pytest
from conftest import PASSWORD, make_version, messages

from webapp.config import ROOT
from webapp.extras.batch import jobs as store
from webapp.extras.lifecycle import switching
from webapp.extras.review import samples
from webapp.extras.review.reviews import give_review
from webapp.log.ids import new_id
from webapp.model import registry as registry_module

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
    assert f"Version {versions[0]} is served. 0 new reviews: 50 more and you can retrain." in page
    assert "Retrain now" not in page
    review(app, [text for _, text in messages(50)])
    page = look(signed_in)
    assert f"Version {versions[0]} is served. 50 new reviews: enough to retrain." in page
    assert "Retrain now" in page


def test_each_version_shows_its_card_and_how_it_did_so_far(app, signed_in, versions):
    review(app, ["see you at lunch"])
    page = look(signed_in)
    for name in versions:
        assert name in page
    assert page.count("98.0 % (97.6 to 98.5)") == 3
    assert page.count("1.7 MB") == 3
    assert page.count("verified") == 3
    assert page.count("Trained on 21,552 messages") == 3
    assert "Right so far" in page
    assert "not known yet 1 messages" in page
    assert page.count("has not served") == 2


def test_serve_try_stop_and_roll_back_by_buttons(app, signed_in, registry, versions):
    first, second, third = versions
    assert "No version is being tried" in look(signed_in)
    answer = words(press(signed_in, "challenge", second, "it knows the new scam"))
    assert f"Version {second} is tried from now on" in answer
    assert "Another one is tried in its shadow" in answer
    assert registry.challenger_version() == second

    answer = words(press(signed_in, "use", second, "it  is\nbetter"))
    assert f"Version {second} is served. " in answer
    assert "by you: “it is better”" in answer
    assert registry.challenger_version() is None
    assert f"Serve version {first} again, as before this one?" in answer

    press(signed_in, "challenge", third)
    assert "The trial is over" in words(press(signed_in, "stop", third))
    answer = words(press(signed_in, "rollback", first))
    assert f"Rolled back: version {first} is served again" in answer
    assert "Roll back to" not in answer  # there is none before it

    happened = answer.split("What happened", 1)[1]
    found = re.findall(r"Rolled back to|Stopped trying|Tried in the shadow|Served ", happened)
    assert found == ["Rolled back to", "Stopped trying", "Tried in the shadow", "Served ", "Tried in the shadow"]
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
    assert registry.challenger_version() is None


def test_a_rollback_goes_where_it_said_or_nowhere(signed_in, engine, registry, versions):
    first, second, third = versions
    registry.use(second, "web:ann")
    assert f"Roll back to {first}" in look(signed_in)
    registry.use(third, "web:ben")  # while the page was open
    answer = press(signed_in, "rollback", first)
    assert answer.status_code == 422
    assert "Somebody has switched versions meanwhile" in words(answer)
    assert registry.current_version() == third


def test_where_no_version_can_be_used_the_page_says_what_to_do(signed_in, models, versions):
    for name in versions:
        (models / name / "model.joblib").write_bytes(b"changed")
    page = look(signed_in)
    assert "No version is served" in page
    assert "Take another version" in page


def test_a_folder_without_versions(signed_in, models):
    for path in models.glob("*"):
        path.rename(models.parent / path.name)
    page = look(signed_in)
    assert "There is none yet" in page
    assert "flask --app wsgi train FILE" in page


def test_a_current_version_that_is_damaged_while_it_is_served_is_told(signed_in, models, versions):
    look(signed_in)
    (models / versions[0] / "model.joblib").write_bytes(b"changed")
    page = look(signed_in)
    assert f"Version {versions[0]} is served." in page  # from memory
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
    assert re.search(r"it needs about \d+ reviews to tell which one is better", page)
    assert "Review where they differ" in page

    queue = signed_in.get("/review?queue=challenger")
    assert re.search(rf"Challenger differs\s*<span class=\"count\">{len(differing)}<", queue.text)
    assert "Which of the two says what?" in queue.text
    for row in differing:
        give_review(engine, row["id"], "web:ann", "spam", "challenger")
    page = look(signed_in)
    assert "The one in its shadow is worse: stop the trial." in page
    assert f"0 of {len(differing)}" in page
    assert "Nothing waits here" in look(signed_in, "/review?queue=challenger")


def test_the_better_challenger_is_to_be_served(app, signed_in, engine, registry, versions):
    switching.challenge(engine, registry, versions[1], "web:ann")
    texts = [text for label, text in messages(40) if label == "spam"]
    for row in [app.extensions["inference"].predict([text], "api")[0] for text in texts]:
        give_review(engine, row["id"], "web:ann", "ham", "challenger")
    assert "The one in its shadow is better: serve it." in look(signed_in)


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
    samples.draw(engine, now, dt.datetime.now(dt.UTC), 100, 1)
    answer = signed_in.get(f"/models/compare?first={first}&second={second}")
    page = words(answer)
    assert "reviewed messages (42)" in page
    assert "The first one is better on these messages." in page
    assert re.search(r"Of 42 messages, the first alone is right on \d+ and the second alone on 0\.", page)
    assert "less than 1 of 100 such comparisons" in page
    assert "Terms whose weight changed most" in page
    assert "<script>alert" not in answer.text
    assert '<mark class="spam s' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)| style=\"", answer.text)


def test_without_reviews_they_are_compared_on_the_projects_own_messages(signed_in, versions):
    page = look(signed_in, f"/models/compare?first={versions[0]}&second={versions[2]}")
    assert "Most versions have learnt from these messages" in page
    assert re.search(r"Of 9,\d{3} messages", page)
    page = look(signed_in, f"/models/compare?first={versions[0]}&second={versions[2]}&on=reviews")
    assert "No message of a random sample has been reviewed that neither of them has learnt from" in page


def test_the_same_version_twice_and_versions_that_cannot_be_compared(signed_in, models, versions):
    first, second, _ = versions
    assert "It is the same version twice" in look(signed_in, f"/models/compare?first={first}&second={first}")
    assert signed_in.get("/models/compare?first=../../etc&second=x").status_code == 404
    (models / second / "model.joblib").write_bytes(b"changed")
    answer = signed_in.get(f"/models/compare?first={first}&second={second}")
    assert answer.status_code == 503
    assert "SHA-256 differs" in words(answer)


# --- Retraining ---


def begin(engine, **more):
    job_id = new_id()
    store.begin(engine, job_id, "retrain", {"anyway": False}, "web:ann")
    return job_id


def end(engine, job_id, state, message="", result=None):
    store.end(engine, store.get_job(engine, job_id), state, message, result)


def test_one_job_at_a_time_over_files_and_retraining(app, signed_in, engine, models):
    review(app, [text for _, text in messages(50)])
    store.begin(engine, new_id(), "batch", {"name": "first.csv"}, "web:ann")
    assert "first.csv is being worked on" in look(signed_in)
    answer = signed_in.post("/models/retrain")
    assert answer.status_code == 409
    assert "Another job is running, and one is allowed at a time" in words(answer)


def test_a_retraining_is_watched_and_can_be_cancelled(app, signed_in, engine, models):
    job_id = begin(engine)
    assert "A new one is being trained." in look(signed_in)
    answer = signed_in.get(f"/models/retrain/{job_id}")
    assert 'http-equiv="refresh"' in answer.text  # for those without JavaScript
    folder = models.parent / "instance" / "jobs" / job_id
    folder.mkdir(parents=True)
    (folder / "output.log").write_text("fitting <on> everything\n")
    status = signed_in.get(f"/models/retrain/{job_id}/status").json
    assert (status["state"], status["log"]) == ("running", "fitting <on> everything\n")
    assert "fitting &lt;on&gt; everything" in signed_in.get(f"/models/retrain/{job_id}").text
    assert "The training of a new version is being worked on" in look(signed_in, "/batch")
    assert signed_in.get(f"/batch/{job_id}").status_code == 404
    assert "It stops in a moment" in words(signed_in.post(f"/models/retrain/{job_id}/cancel", follow_redirects=True))
    end(engine, job_id, "cancelled")
    assert "Somebody cancelled it. Nothing was saved." in look(signed_in, f"/models/retrain/{job_id}")


def test_why_there_is_no_new_version_is_said(signed_in, engine, models):
    job_id = begin(engine)
    end(engine, job_id, "failed", "Only 12 reviews are new.")
    assert "Only 12 reviews are new." in look(signed_in, f"/models/retrain/{job_id}")
    assert "Failed" in look(signed_in)


def test_what_came_out_is_shown_with_the_next_step(signed_in, engine, registry, versions):
    job_id, figure = begin(engine), {"value": 0.9, "low": 0.8, "high": 0.95}
    result = {
        "version": versions[1],
        "how": "correction",
        "new_reviews": 61,
        "held_out": {"messages": 20, "accuracy": figure},
        "random_sample": {"messages": 0},
        "worse": False,
        "messages": 13,
        "only_current_right": 1,
        "only_new_right": 3,
        "p_value": 0.625,
    }
    end(engine, job_id, "done", result=result)
    page = look(signed_in, f"/models/retrain/{job_id}")
    assert f"Version {versions[1]} is saved, and waits for you" in page
    assert "Of 13 reviewed messages that neither has learnt, 3 are right with the new version only" in page
    assert "That may be chance." in page
    assert "90.0 % (80.0 to 95.0)" in page
    assert "corrected" in page
    assert f"second={versions[1]}" in signed_in.get(f"/models/retrain/{job_id}").text
    assert f"Done : {versions[1]}" in look(signed_in)


def test_only_the_signed_in_see_and_switch(client, registry, versions):
    for path in ("/models", "/models/compare", "/models/retrain/x", "/models/retrain/x/status"):
        assert client.get(path).status_code == 303
    for path in ("use", "challenge", "stop", "rollback", "retrain", "retrain/x/cancel"):
        assert client.post(f"/models/{path}", data={"version": versions[1]}).status_code == 403
    assert registry.current_version() == versions[0]

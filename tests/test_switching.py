"""Which version is served, and which is tried beside it: each change is verified, written down, and can be undone."""

from functools import partial

import pytest
import sqlalchemy as sa
from conftest import HAM, SPAM, make_version

from webapp.errors import ModelUnusable, NotFound
from webapp.extras.lifecycle import switching
from webapp.extras.lifecycle.challenger import challenger
from webapp.log.tables import predictions
from webapp.model import registry as registry_module

pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(registry_module, "REFRESH_S", 0)  # notice a switch at the next request


@pytest.fixture
def versions(models):
    """The shipped version and two more."""
    shipped = (models / "current").read_text().strip()
    return shipped, make_version(models, 0.5), make_version(models, 2)


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture
def registry(app, models):
    return app.extensions["inference"].registry


def ask(client, text=HAM):
    return client.post("/api/v1/predict", json={"text": text}).json


def rows(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(predictions).order_by(predictions.c.id)).mappings().all()


def test_every_switch_is_written_down_with_who_and_why(engine, registry, versions):
    first, second, _ = versions
    registry.use(second, "web:ann", "it catches more")
    switching.rollback(engine, registry, "command:root", "it blocks too much")
    found = [(one.kind, one.from_version, one.to_version, one.who, one.why) for one in switching.history(engine)]
    assert found == [
        ("rollback", second, first, "command:root", "it blocks too much"),
        ("use", first, second, "web:ann", "it catches more"),
    ]


def test_to_serve_what_is_served_is_no_switch(engine, registry, versions):
    registry.use(versions[0], "web:ann")
    assert switching.history(engine) == []


def test_each_rollback_goes_one_further_back(client, engine, registry, versions):
    first, second, third = versions
    registry.use(second, "web:ann")
    registry.use(third, "web:ann")
    assert ask(client)["model_version"] == third
    assert switching.rollback(engine, registry, "web:ann") == second
    assert ask(client)["model_version"] == second
    assert switching.rollback(engine, registry, "web:ann") == first
    with pytest.raises(NotFound, match="none to go back to"):
        switching.rollback(engine, registry, "web:ann")
    registry.use(third, "web:ann")
    assert switching.rollback(engine, registry, "web:ann") == first


def test_what_cannot_be_verified_is_refused_and_nothing_is_written_down(client, engine, registry, models, versions):
    first, second, third = versions
    (models / second / "model.joblib").write_bytes(b"changed")
    for change in (registry.use, partial(switching.challenge, engine, registry)):
        with pytest.raises(ModelUnusable, match="SHA-256"):
            change(second, "web:ann")
        with pytest.raises(NotFound, match="no model 20990101"):
            change("20990101-000000-abcdef0", "web:ann")
    assert switching.history(engine) == []
    assert ask(client)["model_version"] == first
    registry.use(third, "web:ann")
    (models / first / "model.joblib").write_bytes(b"changed")
    with pytest.raises(ModelUnusable):
        switching.rollback(engine, registry, "web:ann")
    assert ask(client)["model_version"] == third


def test_a_challenger_is_stored_with_each_prediction_and_never_shown(client, engine, registry, versions):
    first, second, _ = versions
    plain = ask(client, SPAM)
    switching.challenge(engine, registry, second, "web:ann")
    tried = ask(client, SPAM)
    assert {**tried, "id": 0, "latency_ms": 0} == {**plain, "id": 0, "latency_ms": 0}
    shown = client.get(f"/api/v1/predictions/{tried['id']}").json
    assert second not in str(shown)
    before, after = rows(engine)
    assert (before["challenger_version"], after["challenger_version"]) == (None, second)
    assert 0.5 < after["challenger_probability"] < after["spam_probability"]
    assert after["challenger_label"] == "spam"
    switching.challenge(engine, registry, None, "web:ann", "seen enough")
    ask(client)
    assert rows(engine)[-1]["challenger_version"] is None


def test_a_challenger_that_is_served_is_tried_no_longer(client, engine, registry, versions):
    second = versions[1]
    switching.challenge(engine, registry, second, "web:ann")
    registry.use(second, "web:ann")
    assert registry.named("challenger") is None
    assert ask(client)["model_version"] == second
    assert rows(engine)[-1]["challenger_version"] is None


def test_a_challenger_that_was_damaged_stops_no_verdict(client, engine, registry, models, versions):
    second = versions[1]
    switching.challenge(engine, registry, second, "web:ann")
    (models / second / "model_card.json").write_text("{")
    assert ask(client)["model_version"] == versions[0]
    assert rows(engine)[-1]["challenger_version"] is None


def test_a_challenger_that_cannot_score_stops_no_verdict_and_is_reported_once(
    client, engine, registry, versions, monkeypatch, caplog
):
    switching.challenge(engine, registry, versions[1], "web:ann")
    tried = challenger(registry)

    def fail(text):
        raise ZeroDivisionError(text)

    monkeypatch.setattr(tried, "spam_probabilities", fail)
    for _ in range(3):
        assert ask(client)["model_version"] == versions[0]
    assert [row["challenger_version"] for row in rows(engine)] == [None] * 3
    complaints = [record for record in caplog.records if versions[1] in record.getMessage()]
    assert len(complaints) == 1
    assert complaints[0].exc_info[0] is ZeroDivisionError


def test_a_challenger_that_is_promoted_is_not_loaded_again(client, engine, registry, versions, models):
    switching.challenge(engine, registry, versions[1], "web:ann")
    ask(client)
    tried = challenger(registry)
    registry.use(versions[1], "web:ann")
    assert registry.current() is tried
    (models / versions[0] / "model.joblib").write_bytes(b"changed")
    with pytest.raises(ModelUnusable, match="SHA-256"):
        switching.rollback(engine, registry, "web:ann")

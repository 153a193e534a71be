"""Which version is served: each change is verified, written down, and can be undone."""

import errno
import shutil
from pathlib import Path

import pytest
from conftest import HAM

from webapp.errors import ModelUnusable, NotFound
from webapp.extras.lifecycle import switching
from webapp.model import registry as registry_module

pytestmark = pytest.mark.databases("sqlite", "postgresql")


@pytest.fixture
def registry(app, models, monkeypatch):
    monkeypatch.setattr(registry_module, "REFRESH_S", 0)  # notice a switch at the next request
    return app.extensions["inference"].registry


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def served(client):
    return client.post("/api/v1/predict", json={"text": HAM}).json["model_version"]


def test_each_rollback_goes_one_further_back_and_every_switch_is_written_down(
    client, engine, registry, models, versions
):
    first, second, third = versions
    registry.use(first, "web:ann")  # to serve what is served is no switch
    registry.use(second, "web:ann", "it catches more")
    registry.use(third, "web:ann")
    assert served(client) == third
    assert switching.rollback(engine, registry, "command:root", "it blocks too much") == second
    assert served(client) == second
    assert switching.rollback(engine, registry, "web:ann") == first
    with pytest.raises(NotFound, match="none to go back to"):
        switching.rollback(engine, registry, "web:ann")
    registry.use(third, "web:ann")
    assert switching.rollback(engine, registry, "web:ann") == first
    found = [(one.kind, one.from_version, one.to_version, one.who, one.why) for one in switching.history(engine)]
    assert found[-3:] == [
        ("rollback", third, second, "command:root", "it blocks too much"),
        ("use", second, third, "web:ann", ""),
        ("use", first, second, "web:ann", "it catches more"),
    ]
    assert len(found) == 6
    registry.use(second)
    registry.use(third)
    shutil.rmtree(models / second)  # what it would go to: pruned meanwhile, or not yet on this host
    assert switching.rollback(engine, registry, "web:ann") == first
    with pytest.raises(NotFound, match="none to go back to"):
        switching.rollback(engine, registry, "web:ann")


def test_what_cannot_be_written_or_verified_is_refused_and_not_written_down(client, engine, registry, models, versions):
    first, _, third = versions
    registry.use(third, "web:ann")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        for switch in (lambda: registry.use(first), lambda: switching.challenge(engine, registry, first, "web:ann")):
            with pytest.raises(ModelUnusable, match="cannot be written"):
                switch()
    assert len(switching.history(engine)) == 1
    (models / first / "model.joblib").write_bytes(b"changed")
    with pytest.raises(ModelUnusable):
        switching.rollback(engine, registry, "web:ann")
    assert served(client) == third

"""Which version is served, and which is tried: every change is verified, written down, and can be taken back."""

import datetime as dt
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from webapp.errors import BadData, InvalidInput
from webapp.extras.lifecycle.comparison import OTHER_QUESTION
from webapp.log.database import write_transaction
from webapp.log.tables import new_id, switches
from webapp.model.card import read_card
from webapp.model.registry import ModelRegistry


@contextmanager
def record_use(
    engine: sa.Engine, registry: ModelRegistry, kind: str, version: str | None, who: str, why: str
) -> Iterator[None]:
    """Write a switch into the history, unless it changes nothing, then let it happen.

    A switch ends the shadow test of the version that is served then, or of one with other labels. Such a shadow test
    cannot begin either: raises InvalidInput, BadData.
    """
    with write_transaction(engine) as connection:  # two switches at a time take turns
        served, tried = registry.served.read(), registry.challenger.read()
        others = registry.with_other_labels(read_card(registry.folder, version).labels) if version else set()
        before = tried if kind == "challenge" else served
        if kind == "challenge" and version == served:
            raise InvalidInput(f"{version} is served: there is nothing to try it beside.")
        if kind == "challenge" and served in others:
            raise BadData(OTHER_QUESTION)
        if before != (version or ""):
            switch = {"id": new_id(), "created_at": dt.datetime.now(dt.UTC), "kind": kind, "who": who}
            switch |= {"from_version": before or None, "to_version": version, "why": " ".join(why.split())}
            connection.execute(sa.insert(switches), switch)
        yield  # last: what cannot be written down does not happen
        if kind != "challenge" and (tried == version or tried in others):
            registry.challenger.write("")


def history(engine: sa.Engine) -> Sequence[sa.Row[Any]]:
    """Return all rows of the table of switches, newest first."""
    with engine.connect() as connection:
        return connection.execute(sa.select(switches).order_by(switches.c.id.desc())).all()


def rollback_target(engine: sa.Engine, registry: ModelRegistry) -> str | None:
    """Return the version that a rollback goes to: each use goes one step on, each rollback back to one still there."""
    behind: list[str | None] = []
    served = None
    for switch in history(engine)[::-1]:
        served = served if switch.kind == "challenge" else switch.to_version
        if switch.kind == "use":
            behind.append(switch.from_version)
        elif switch.kind == "rollback":
            while behind and behind.pop() != switch.to_version:
                pass  # it was pruned by then
    there = set(registry.versions()) - {served}
    return next((version for version in reversed(behind) if version in there), None)


def prunable_versions(engine: sa.Engine, registry: ModelRegistry, keep: int) -> list[str]:
    """Return the versions beside the newest `keep`, without those that are served, tried, or what rollback goes to.

    Oldest first. A folder without a card of its own is somebody's, and stays. Raises ModelUnusable where no version can
    be served, as it may be any of them that is wanted.
    """
    served = registry.current_version()
    read_card(registry.folder, served)
    needed = {served, registry.challenger.read(), rollback_target(engine, registry)}
    needed |= {version for ask in registry.in_use for version in ask()}
    versions = list(registry.cards())
    return [version for version in versions[: max(len(versions) - keep, 0)] if version not in needed]


def prune(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> set[str]:
    """Delete those of the versions that are still prunable; return them."""
    with write_transaction(engine):  # no switch meanwhile
        still = set(versions) & set(prunable_versions(engine, registry, keep=0))
        for version in still:
            gone = registry.folder / f".{version}.deleted"
            (registry.folder / version).rename(gone)  # at once, so that no process finds half of a version
            shutil.rmtree(gone)
    return still

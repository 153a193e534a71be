"""The models page's contents: the state of things in a sentence, the versions, and what happened."""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.errors import HamletError, ModelUnusable
from webapp.extras.batch.runner import Job, Runner
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.challenging import Record
from webapp.extras.lifecycle.switching import Switch
from webapp.extras.monitor.report import live_accuracy
from webapp.extras.monitor.rollups import PREDICTIONS, count
from webapp.extras.review.accuracy import Share
from webapp.model import artifact
from webapp.model.registry import ModelRegistry

RETRAININGS = 3  # that are shown


class Event(NamedTuple):
    """One line of the audit table as people read it."""

    at: dt.datetime
    what: str
    version: str | None
    instead_of: str | None
    who: str
    why: str


class State(NamedTuple):
    """Which version is served and tried, and how far it is to the next one."""

    served: str | None
    problem: str  # why the version that is to be served cannot be, if so
    since: Event | None  # None: it was so before anything was written down
    challenger: str | None
    challenged: Event | None
    before: str | None  # where a rollback goes to
    new_reviews: int  # that the served version was not fitted on
    missing_reviews: int  # until there are enough to retrain


class Version(NamedTuple):
    """One version: its card, or why it cannot be used, and how it did so far."""

    name: str
    role: str  # served, challenger or ""
    card: dict[str, Any]
    fault: str
    trained_at: dt.datetime | None
    predictions: int
    live: Share | None  # None if it never served


def state_of(engine: sa.Engine, registry: ModelRegistry, newest_first: Sequence[Switch], me: str) -> State:
    """Return the state of things; raises LogUnavailable."""
    problem = ""
    try:
        registry.check()
        served: str | None = registry.current_version()  # this process may be half a second behind: see registry.py
    except HamletError as error:
        problem = str(error)
        served = _served_all_the_same(registry)
    challenger = registry.challenger_version()
    new_reviews = 0
    with suppress(ModelUnusable):  # its card may be what is damaged; the page has to show all the same
        new_reviews = retraining.new_reviews(engine, registry, served) if served else 0
    return State(
        served=served,
        problem=problem,
        since=_last(newest_first, served, me, "use", "rollback"),
        challenger=challenger,
        challenged=_last(newest_first, challenger, me, "challenge"),
        before=switching.before_this(newest_first[::-1]),
        new_reviews=new_reviews,
        missing_reviews=max(0, retraining.FEWEST_NEW - new_reviews),
    )


def advice(state: State, record: Record | None, is_training: bool) -> tuple[str, int]:
    """Return how things stand beside the served version, in a sentence, and which of the page's four steps is next."""
    new, missing = state.new_reviews, state.missing_reviews
    reviews = f"{new:,} new review{'' if new == 1 else 's'}"
    if is_training:
        return "A new one is being trained.", 1
    if record and record.reviews_needed is None:
        if record.only_challenger_right > record.only_current_right:
            return "The one in its shadow is better: serve it.", 3
        return "The one in its shadow is worse: stop the trial.", 2
    if record:
        return "Another one is tried in its shadow.", 2
    if missing:
        return f"{reviews}: {missing} more and you can retrain.", 0
    return f"{reviews}: enough to retrain.", 1


def _served_all_the_same(registry: ModelRegistry) -> str | None:
    """Return the version with which this process goes on, if there is one."""
    try:
        return registry.current().version
    except HamletError:
        return None


def _last(newest_first: Sequence[Switch], version: str | None, me: str, *kinds: str) -> Event | None:
    """Return the switch that brought a version to where it is, unless something else came after it."""
    newest = next((switch for switch in newest_first if switch.kind in kinds), None)
    return _event(newest, me) if newest and version and newest.to_version == version else None


def saved_versions(engine: sa.Engine, registry: ModelRegistry, state: State) -> list[Version]:
    """Return all versions, the served one first, then the challenger, then the newest; raises LogUnavailable."""
    roles = {state.challenger: "challenger", state.served: "served"}
    counts = count(engine, PREDICTIONS, ("model_version",))
    found = []
    for name in reversed(registry.versions()):
        card, fault = {}, ""
        try:
            card = artifact.verify(registry.folder, name)
        except HamletError as error:
            fault = str(error)
        predictions = counts[(name,)]
        live = live_accuracy(engine, name) if predictions else None
        found.append(Version(name, roles.get(name, ""), card, fault, _moment(card), predictions, live))
    return sorted(found, key=lambda version: ("served", "challenger", "").index(version.role))


def _moment(card: dict[str, Any]) -> dt.datetime | None:
    try:
        return dt.datetime.fromisoformat(card["created_at"])
    except (KeyError, TypeError, ValueError):  # a card may have been written by hand
        return None


def retrainings(runner: Runner) -> list[Job]:
    """Return the newest jobs that trained a new version."""
    return [job for job in runner.list_jobs() if job.kind == "retrain"][:RETRAININGS]


def what_happened(newest_first: Sequence[Switch], me: str) -> list[Event]:
    """Return the audit table as people read it."""
    return [_event(switch, me) for switch in newest_first]


def _event(switch: Switch, me: str) -> Event:
    version, instead_of = switch.to_version, switch.from_version
    if switch.kind == "challenge" and version is None:
        what, version, instead_of = "Stopped trying", instead_of, None
    else:
        what = {"use": "Served", "rollback": "Rolled back to", "challenge": "Tried in the shadow"}[switch.kind]
    return Event(switch.created_at, what, version, instead_of, _who(switch, me), switch.why)


def _who(switch: Switch, me: str) -> str:
    """Return who switched; everybody on the pages has one password, so each sign-in is somebody."""
    kind, _, name = switch.who.partition(":")
    if switch.who == me:
        return "you"
    return f"{name}, by a command" if kind == "command" else f"somebody else ({name})"

"""The models page's contents: the state of things in a sentence, the versions, and their history."""

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import sqlalchemy as sa

from webapp.errors import HamletError, ModelUnusable
from webapp.extras.lifecycle import retraining, switching
from webapp.extras.lifecycle.retraining import Reviews
from webapp.extras.lifecycle.switching import Switch
from webapp.extras.lifecycle.trial import ShadowReport
from webapp.extras.monitor.report import live_accuracy
from webapp.extras.monitor.rollups import PREDICTIONS, count
from webapp.model import artifact
from webapp.model.card import Card
from webapp.model.evaluation import Proportion
from webapp.model.registry import ModelRegistry

NO_REVIEWS = Reviews([], [], [], 0, 0, "")
STEPS = ("Review messages", "Retrain", "Shadow test", "Serve it")


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
    rollback_target: str | None
    retrained: str | None  # the newest version that was retrained from the served one and was not tried or served yet
    reviews: Reviews
    missing_reviews: int  # until there are enough to retrain


class Version(NamedTuple):
    """One version: its card, or why it cannot be used, and how it did so far."""

    name: str
    number: str  # what people call it: v1, v2 ...
    role: str  # served, challenger or ""
    card: Card | None
    fault: str
    trained_at: dt.datetime | None
    made: str  # what it was made of, in words
    predictions: int
    live: Proportion | None  # None if it never served


def state_of(engine: sa.Engine, registry: ModelRegistry, newest_first: Sequence[Switch], me: str) -> State:
    """Return the state of things; raises LogUnavailable."""
    problem = ""
    try:
        registry.check()
        served: str | None = registry.current_version()  # this process may be half a second behind: see registry.py
    except HamletError as error:
        problem = str(error)
        served = _served_all_the_same(registry)
    challenger, reviews, child = registry.named("challenger"), NO_REVIEWS, None
    with suppress(ModelUnusable):  # its card may be what is damaged; the page has to show all the same
        if served:
            reviews = retraining.gather(engine, registry, served)
            child = retraining.newest_child(registry, served)
    switched = {switch.to_version for switch in newest_first}
    return State(
        served=served,
        problem=problem,
        since=_last(newest_first, served, me, "use", "rollback"),
        challenger=challenger,
        challenged=_last(newest_first, challenger, me, "challenge"),
        rollback_target=switching.rollback_target(newest_first),
        retrained=child if child not in switched else None,
        reviews=reviews,
        missing_reviews=max(0, retraining.FEWEST_NEW - reviews.new),
    )


def advice(state: State, report: ShadowReport | None, is_training: bool) -> tuple[str, int]:
    """Return how things stand beside the served version, in a sentence, and which of STEPS is next."""
    new, missing = state.reviews.new, state.missing_reviews
    reviews = f"{new:,} new review{'' if new == 1 else 's'}"
    if is_training:
        return "A new one is being trained.", 1
    if report and report.duel.better:
        if report.duel.better == "second":
            return "The one in the shadow test is better: serve it.", 3
        return "The one in the shadow test is worse: stop the test.", 2
    if report:
        return "Another one is in the shadow test.", 2
    if state.retrained:
        return "A retrained one waits: try it in the shadow test.", 2
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


def numbers(registry: ModelRegistry, history: Sequence[Switch]) -> dict[str, str]:
    """Return what people call each version: v1 for the oldest, and so on, with those that were switched and pruned."""
    names = {*registry.versions(), *(name for switch in history for name in (switch.from_version, switch.to_version))}
    return {name: f"v{at}" for at, name in enumerate(sorted(filter(None, names)), 1)}


def saved_versions(engine: sa.Engine, registry: ModelRegistry, state: State, named: dict[str, str]) -> list[Version]:
    """Return all versions, the served one first, then the challenger, then the newest; raises LogUnavailable."""
    roles = {state.challenger: "challenger", state.served: "served"}
    counts = count(engine, PREDICTIONS, ("model_version",))
    found = []
    for name in reversed(registry.versions()):
        card, fault = None, ""
        try:
            card = artifact.verify(registry.folder, name)
        except HamletError as error:
            fault = str(error)
        predictions = counts[(name,)]
        live = live_accuracy(engine, name) if predictions else None
        role = roles.get(name, "")
        made = made_of(card, named) if card else ""
        trained_at = card.created_at if card else None
        found.append(Version(name, named[name], role, card, fault, trained_at, made, predictions, live))
    return sorted(found, key=lambda version: ("served", "challenger", "").index(version.role))


def made_of(card: Card, named: dict[str, str]) -> str:
    """Return what a version was made of, in words."""
    if retraining := card.retraining:
        return f"{named.get(retraining.parent, retraining.parent)}, corrected with {retraining.reviews:,} reviews"
    if card.imported:
        return f"imported from {card.imported.file}"
    return f"trained on {card.messages.messages:,} messages"


def events_of(newest_first: Sequence[Switch], me: str) -> list[Event]:
    """Return the audit table as people read it."""
    return [_event(switch, me) for switch in newest_first]


def _event(switch: Switch, me: str) -> Event:
    version, instead_of = switch.to_version, switch.from_version
    if switch.kind == "challenge" and version is None:
        what, version, instead_of = "Shadow test ended", instead_of, None
    else:
        what = {"use": "Served", "rollback": "Rolled back to", "challenge": "Shadow test of"}[switch.kind]
    return Event(switch.created_at, what, version, instead_of, _who(switch, me), switch.why)


def _who(switch: Switch, me: str) -> str:
    """Return who switched; everybody on the pages has one password, so each sign-in is somebody."""
    kind, _, name = switch.who.partition(":")
    if switch.who == me:
        return "you"
    return f"{name}, by a command" if kind == "command" else f"somebody else ({name})"

"""The versions in saved_models/, and which one is served.

`saved_models/current` is a small file with the name of a version. It is replaced atomically, and every worker looks at
it twice a second, so a switch needs no restart.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

from webapp.config import FLASK
from webapp.errors import ModelUnusable, NotFound
from webapp.model import artifact
from webapp.model.artifact import try_load
from webapp.model.card import Card, read_card
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.scoring import SpamModel
from webapp.waiting import before_waiting

REFRESH_S = 0.5
NONE_CHOSEN = (
    f"No model has been chosen yet. Train one ({FLASK} train FILE), "
    f"or choose one ({FLASK} models list, then {FLASK} models use VERSION)."
)

logger = logging.getLogger(__name__)


class Slot:
    """A small file that names a version, and that version as this process has loaded it.

    `mark` is how lists show it, `if_missing` what to do where there is no file; None if there need not be one.
    """

    def __init__(self, file: Path, load: Callable[[str], SpamModel], mark: str, if_missing: str | None = None):
        self.file, self.mark, self._load, self._if_missing = file, mark, load, if_missing
        self.model: SpamModel | None = None
        self.error: ModelUnusable | None = None
        self._seen: str | None = None  # what the file said when it was read last
        self._refresh_at = 0.0
        self._refreshing = threading.Lock()

    def read(self) -> str | None:
        """Return the name in the file, None if there is none and need not be; raises ModelUnusable."""
        version = ""
        try:
            version = self.file.read_text().strip()
        except (PermissionError, ValueError) as error:
            raise ModelUnusable(f"{self.file} cannot be read ({error}).") from error
        except OSError:  # it is not there, which is the same as empty
            pass
        if not version and self._if_missing:
            raise ModelUnusable(self._if_missing)
        return version or None

    def write(self, version: str | None) -> None:
        """Write another version into the file, or remove it; raises ModelUnusable when the disk is full, say."""
        new = self.file.with_name(f".{self.file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if version is None:
                self.file.unlink(missing_ok=True)
            else:
                new.write_text(version + "\n")
                new.replace(self.file)
        except OSError as error:
            raise ModelUnusable(f"{self.file} cannot be written ({error.strerror or error}).") from error
        self._refresh_at = 0.0

    def refresh(self, wait: bool) -> None:
        """Load another version if the file names one; does nothing for half a second after the last time.

        One thread does it, while the others go on with the old one, or wait. A version that cannot be loaded is
        refused, loudly, and the old one stays.
        """
        if time.monotonic() >= self._refresh_at and self._refreshing.acquire(blocking=wait):
            try:
                if time.monotonic() >= self._refresh_at:  # else another thread did while this one waited
                    self._refresh()
                    self._refresh_at = time.monotonic() + REFRESH_S
            finally:
                self._refreshing.release()

    def _refresh(self) -> None:
        try:
            version = self.read()
            if version == self._seen and self.error is None:
                return
            before_waiting()
            self.model = self._load(version) if version else None
            self._seen, self.error = version, None
        except ModelUnusable as error:
            if str(error) != str(self.error):
                logger.error("%s %s", error, f"Version {self.model.version} stays." if self.model else "")
            self.error = error


class ModelRegistry:
    """Knows the saved versions, and holds the current model, loaded once per process. Extras may add slots."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.around_use: list[Callable[[str, str, str, str], AbstractContextManager[None]]] = []
        self.in_use: list[Callable[[], Iterable[str]]] = []  # each names versions that must not go, for its work
        self.slots: list[Slot] = []
        self._current = self.add_slot("current", "*", NONE_CHOSEN)

    def add_slot(self, name: str, mark: str, if_missing: str | None = None) -> Slot:
        """Hold one more version: that which the file `name` names."""
        slot = Slot(self.folder / name, self._load, mark, if_missing)
        self.slots.append(slot)
        return slot

    def named(self, name: str) -> str | None:
        """Return the version that the slot `name` names; None where it names none, or no extra has added it."""
        return next((slot.read() for slot in self.slots if slot.file.name == name), None)

    def mark(self, version: str) -> str:
        """Return how lists show what a version is chosen for, a blank for nothing."""
        for slot in self.slots:
            with suppress(ModelUnusable):
                if slot.read() == version:
                    return slot.mark
        return " "

    def versions(self) -> list[str]:
        """Return the names of all versions, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def cards(self) -> dict[str, Card]:
        """Return the cards of all versions, oldest first, without those that are damaged."""
        cards = {}
        for version in self.versions():
            with suppress(ModelUnusable):
                cards[version] = read_card(self.folder, version)
        return cards

    def with_other_labels(self, labels: Labels) -> set[str]:
        """Return the versions that have other labels: they answer another question."""
        return {version for version, card in self.cards().items() if card.labels != labels}

    def current_version(self) -> str:
        """Return the name in `current`; raises ModelUnusable."""
        return self._current.read() or ""

    def use(self, version: str, who: str = "", why: str = "", kind: str = "use") -> None:
        """Serve a version from now on; raises NotFound, ModelUnusable or what a hook raises: then nothing changes.

        Each hook of `around_use` is called with kind, version, who and why, and gives a context manager: the switch
        happens inside, and not if it cannot be entered.
        """
        self.check_loadable(version)
        with ExitStack() as stack:
            for hook in self.around_use:
                stack.enter_context(hook(kind, version, who, why))
            self._current.write(version)

    def current(self) -> SpamModel:
        """Return the served model; raises ModelUnusable.

        A new version is loaded by one thread while the others go on with the old one. One that cannot be loaded is
        refused, loudly, and the old one stays; `check` says so.
        """
        slot = self._current
        slot.refresh(wait=slot.model is None)
        if slot.model is None:
            raise slot.error or ModelUnusable("The model is being loaded. Please try again in a moment.")
        return slot.model

    def labels(self) -> Labels:
        """Return the served model's words for the labels; ham and spam where none can be served."""
        try:
            return self.current().labels
        except ModelUnusable:
            return SPAM_OR_HAM

    def check(self) -> None:
        """Raise ModelUnusable unless the current version is the one that is served, and its files are as its card says.

        Where several hosts share or synchronise their models, one may not have got the current version yet, or only a
        part of it. It goes on with the version before, and each answer names that version, but it is not ready.
        """
        self.current()
        if self._current.error:
            raise self._current.error
        artifact.verify(self.folder, self.current_version())

    def _load(self, version: str) -> SpamModel:
        """Load a version, or take it over where this process has it already, as when a challenger is promoted."""
        for model in (slot.model for slot in self.slots):
            if model and model.version == version:
                artifact.verify(self.folder, version)
                return model
        return artifact.load(self.folder, version)

    def must_exist(self, version: str) -> None:
        """Raise NotFound unless there is such a version."""
        if version not in self.versions():
            raise NotFound(f"There is no model {version}. See them with: {FLASK} models list")

    def check_loadable(self, version: str) -> None:
        """Raise NotFound or ModelUnusable unless a server that starts now could serve a version."""
        self.must_exist(version)
        artifact.verify(self.folder, version)
        try_load(self.folder, version)

"""The versions in saved_models/, and which one is served.

`saved_models/current` is a small file with the name of a version. It is replaced atomically, and every worker looks at
it twice a second, so a switch needs no restart.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
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

# With the registry, the kind of switch, the version, who switches, and why.
AroundUse = Callable[["ModelRegistry", str, str | None, str, str], AbstractContextManager[None]]

logger = logging.getLogger(__name__)


class Slot:
    """A small file that names a version, and that version as this process has loaded it.

    `if_missing` says what to do where the file names no version; "" if it need not name one.
    """

    def __init__(self, file: Path, if_missing: str = ""):
        self.file, self._if_missing = file, if_missing
        self.model: SpamModel | None = None
        self.error: ModelUnusable | None = None
        self._refresh_at = 0.0
        self._refreshing = threading.Lock()

    def read(self) -> str:
        """Return the name in the file, "" where there is none; raises ModelUnusable where it cannot be read."""
        try:
            return self.file.read_text("utf-8-sig", errors="replace").strip()
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except OSError as error:
            raise ModelUnusable(f"{self.file} cannot be read ({error.strerror}).") from error

    def version(self) -> str:
        """Return the name in the file; raises ModelUnusable where it has to name a version and does not."""
        version = self.read()
        if not version and self._if_missing:
            raise ModelUnusable(self._if_missing)
        return version

    def write(self, version: str) -> None:
        """Write another version into the file, or remove it for ""; raises ModelUnusable when the disk is full, say."""
        new = self.file.with_name(f".{self.file.name}.{os.getpid()}.{threading.get_ident()}")
        try:
            if version:
                new.write_text(version + "\n")
                new.replace(self.file)
            else:
                self.file.unlink(missing_ok=True)
        except OSError as error:
            raise ModelUnusable(f"{self.file} cannot be written ({error.strerror or error}).") from error
        self._refresh_at = 0.0

    def refresh(self, wait: bool) -> None:
        """Load another version if the file names one; does nothing for half a second after the last time.

        One thread loads, while the others go on with the old version, or wait. A version that cannot be loaded is
        logged as an error, and the old version stays.
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
            version = self.version()
            if self.error is None and version == (self.model.version if self.model else ""):
                return
            before_waiting()
            self.model = artifact.load(self.file.parent, version) if version else None
            self.error = None
        except ModelUnusable as error:
            is_answered = self._if_missing and not self.model  # each request is refused, and says why
            if str(error) != str(self.error) and not is_answered:
                logger.error("%s%s", error, f" Version {self.model.version} stays." if self.model else "")
            self.error = error


class ModelRegistry:
    """Knows the saved versions, and holds two of them, loaded once per process: the served one, and the
    challenger that is tried in its shadow.

    `around_use` is called with each switch before it happens, and gives a context manager that it happens in: the extra
    that writes switches down sets it.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.served, self.challenger = Slot(folder / "current", NONE_CHOSEN), Slot(folder / "challenger")
        self.around_use: AroundUse = lambda *switch: nullcontext()
        self.in_use: list[Callable[[], Iterable[str]]] = []  # each names versions that must not go, for its work

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

    def inspect(self, version: str) -> tuple[Card | None, str]:
        """Return the card of a version whose files are as it says, or None and why the version cannot be used."""
        try:
            return artifact.verify(self.folder, version).card, ""
        except ModelUnusable as error:
            return None, str(error)

    def with_other_labels(self, labels: Labels) -> set[str]:
        """Return the versions that have other labels: they answer another question."""
        return {version for version, card in self.cards().items() if card.labels != labels}

    def current_version(self) -> str:
        """Return the name in `current`, loaded yet or not; raises ModelUnusable."""
        return self.served.version()

    def use(self, version: str | None, who: str = "", why: str = "", kind: str = "use") -> None:
        """Serve a version from now on or, where the kind of switch is "challenge", try it; None for none.

        Raises NotFound, ModelUnusable or what `around_use` raises: then nothing changes.
        """
        if version is not None:  # a server that starts now has to be able to load it
            self.must_exist(version)
            artifact.verify(self.folder, version)
            try_load(self.folder, version)
        with self.around_use(self, kind, version, who, why):
            (self.challenger if kind == "challenge" else self.served).write(version or "")

    def current(self) -> SpamModel:
        """Return the served model; raises ModelUnusable. Where a new version cannot be loaded, it is the old one."""
        self.served.refresh(wait=self.served.model is None)
        if self.served.model is None:
            raise self.served.error or ModelUnusable(NONE_CHOSEN)
        return self.served.model

    def labels(self) -> Labels:
        """Return the served model's words for the labels; ham and spam where none can be served."""
        try:
            return self.current().labels
        except ModelUnusable:
            return SPAM_OR_HAM

    def check(self) -> None:
        """Raise ModelUnusable unless the current version is the one that is served, and its files are as its card says.

        Where several hosts synchronise their models, a host may not have all files of the current version yet. It goes
        on with the version before, and each answer names that version, but the host is not ready.
        """
        self.current()
        if self.served.error:
            raise self.served.error
        artifact.verify(self.folder, self.current_version())

    def must_exist(self, version: str) -> None:
        """Raise NotFound unless there is such a version."""
        if version not in self.versions():
            raise NotFound(f"There is no model {version}. See them with: {FLASK} models list")

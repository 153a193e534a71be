"""Step 3, serve: the versions in saved_models/, and which one is served.

`saved_models/current` is a small file with the name of a version. It is replaced atomically, and every worker looks at
it twice a second, so a switch needs no restart. `saved_models/challenger` names the version that is tried beside it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from weakref import WeakValueDictionary

from webapp.errors import ModelUnusable, NotFound
from webapp.model import artifact
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.scoring import SpamModel

REFRESH_S = 0.5
NONE_CHOSEN = (
    "No model has been chosen yet. Train one (flask --app wsgi train FILE), "
    "or choose one (flask --app wsgi models list, then models use VERSION)."
)

logger = logging.getLogger(__name__)


class VersionFile:
    """A file that names a version, and that version as this process has loaded it.

    `if_missing` says what to do where there is no file; None if there need not be one.
    """

    def __init__(self, path: Path, load: Callable[[str], SpamModel], if_missing: str | None = None):
        self.path = path
        self.model: SpamModel | None = None
        self.error: ModelUnusable | None = None
        self._load = load
        self._if_missing = if_missing
        self._seen: str | None = None  # what the file said when it was read last
        self._refresh_at = 0.0
        self._refreshing = threading.Lock()

    def read(self) -> str | None:
        """Return the name in the file, None if there is none and need not be; raises ModelUnusable."""
        try:
            return self.path.read_text().strip()
        except (PermissionError, ValueError) as error:
            raise ModelUnusable(f"{self.path} cannot be read ({error}).") from error
        except OSError as error:
            if self._if_missing:
                raise ModelUnusable(self._if_missing) from error
            return None

    def write(self, version: str | None) -> None:
        """Write another version into the file, or remove it."""
        if version is None:
            self.path.unlink(missing_ok=True)
        else:
            new = self.path.with_name(f".{self.path.name}.{os.getpid()}.{threading.get_ident()}")
            new.write_text(version + "\n")
            new.replace(self.path)
        self._refresh_at = 0.0

    def refresh(self, wait: bool) -> None:
        """Load another version if the file names one; does nothing for half a second after the last time.

        One thread does it, while the others go on with the old version, or wait. A version that cannot be loaded is
        refused, loudly, and the old one stays.
        """
        if time.monotonic() >= self._refresh_at and self._refreshing.acquire(blocking=wait):
            try:
                if time.monotonic() >= self._refresh_at:  # else another thread did while this one waited
                    self._refresh()
            finally:
                self._refresh_at = time.monotonic() + REFRESH_S
                self._refreshing.release()

    def _refresh(self) -> None:
        try:
            version = self.read()
            if version == self._seen and self.error is None:
                return
            self.model = self._load(version) if version else None
            self._seen, self.error = version, None
        except ModelUnusable as error:
            if str(error) != str(self.error):
                logger.error("%s %s", error, f"Version {self.model.version} stays." if self.model else "")
            self.error = error


class ModelRegistry:
    """Knows the saved versions, and holds the current model and its challenger, loaded once per process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.around_use: list[Callable[[str, str, str, str], AbstractContextManager[None]]] = []
        self._labels: dict[str, Labels] = {}  # of each version that was ever loaded
        self._loaded: WeakValueDictionary[str, SpamModel] = WeakValueDictionary()
        self._current = VersionFile(folder / "current", self.load, NONE_CHOSEN)
        self._challenger = VersionFile(folder / "challenger", self.load)

    def versions(self) -> list[str]:
        """Return the names of all versions, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def must_exist(self, version: str) -> None:
        """Raise NotFound unless there is such a version."""
        if version not in self.versions():
            raise NotFound(f"There is no model {version}. See them with: flask --app wsgi models list")

    def load(self, version: str) -> SpamModel:
        """Load a version, or take the one that this process has in use already; raises ModelUnusable."""
        model = self._loaded.get(version)
        if model:
            artifact.verify(self.folder, version)
        else:
            model = self._loaded[version] = artifact.load(self.folder, version)
            self._labels[version] = model.labels
        return model

    # --- The version that is served ---

    def current_version(self) -> str:
        """Return the name in `current`; raises ModelUnusable."""
        return self._current.read() or ""

    def current(self) -> SpamModel:
        """Return the served model; raises ModelUnusable where there is none yet."""
        served = self._current
        served.refresh(wait=served.model is None)
        if served.model is None:
            raise served.error or ModelUnusable("The model is being loaded. Please try again in a moment.")
        return served.model

    def labels(self, version: str = "") -> Labels:
        """Return a version's words for the labels; without one those of the served model, else ham and spam."""
        try:
            served = self.current().labels
        except ModelUnusable:
            served = SPAM_OR_HAM
        return self._labels.get(version, served)

    def use(self, version: str, who: str = "", why: str = "", kind: str = "use") -> None:
        """Serve a version from now on; raises NotFound, ModelUnusable or what a hook raises: then nothing changes.

        Each hook of `around_use` is called with kind, version, who and why, and gives a context manager: the switch
        happens inside, and not if it cannot be entered.
        """
        self._check_version(version)
        with ExitStack() as stack:
            for hook in self.around_use:
                stack.enter_context(hook(kind, version, who, why))
            self._current.write(version)

    def check(self) -> None:
        """Raise ModelUnusable unless the current version is the one that is served, and its files are as its card says.

        Where several hosts share or synchronise their models, one may not have got the current version yet, or only a
        part of it. It goes on with the version before, and each answer names that version, but it is not ready.
        """
        self.current()
        if self._current.error:
            raise self._current.error
        artifact.verify(self.folder, self.current_version())

    # --- The version that is tried beside it ---

    def challenger_version(self) -> str | None:
        """Return the name in `challenger`, None where no version is being tried; raises ModelUnusable."""
        return self._challenger.read()

    def challenger(self) -> SpamModel | None:
        """Return the model that is tried, None if there is none or it cannot be loaded: no verdict waits for it."""
        self._challenger.refresh(wait=False)
        return None if self._challenger.error else self._challenger.model

    def challenge(self, version: str | None) -> None:
        """Try a version in the shadow of the current one from now on, or none; raises NotFound or ModelUnusable."""
        if version is not None:
            self._check_version(version)
        self._challenger.write(version)

    def _check_version(self, version: str) -> None:
        self.must_exist(version)
        artifact.verify(self.folder, version)

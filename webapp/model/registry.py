"""The versions in saved_models/, and which one is served.

`saved_models/current` is a small file with the name of the served version. It is replaced atomically, and every
worker looks at it twice a second, so a switch needs no restart.
"""

import logging
import os
import threading
import time
from pathlib import Path

from webapp.errors import ModelUnusable, NotFound
from webapp.model import artifact
from webapp.model.spam_model import SpamModel

LOOK_EVERY_S = 0.5

logger = logging.getLogger(__name__)


class ModelRegistry:
    """Knows the saved versions and holds the current model, loaded once per process."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._model: SpamModel | None = None
        self._seen: str | None = None  # what `current` said when we looked last
        self._error: ModelUnusable | None = None
        self._look_again_at = 0.0
        self._looking = threading.Lock()

    def versions(self) -> list[str]:
        """Return the names of all versions, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def current_version(self) -> str:
        """Return the name in `current`; raises ModelUnusable."""
        try:
            return (self.folder / "current").read_text().strip()
        except (PermissionError, ValueError) as error:
            raise ModelUnusable(f"{self.folder / 'current'} cannot be read ({error}).") from error
        except OSError as error:
            raise ModelUnusable(
                "No model has been chosen yet. Train one (flask --app wsgi train FILE), "
                "or choose one (flask --app wsgi models list, then models use VERSION)."
            ) from error

    def use(self, version: str) -> None:
        """Serve a version from now on; raises NotFound or ModelUnusable and changes nothing then."""
        if version not in self.versions():
            raise NotFound(f"There is no model {version}. See them with: flask --app wsgi models list")
        artifact.verify(self.folder, version)
        new = self.folder / f".current.{os.getpid()}"
        new.write_text(version + "\n")
        new.replace(self.folder / "current")
        self._look_again_at = 0.0

    def current(self) -> SpamModel:
        """Return the served model; raises ModelUnusable.

        When `current` changes, one thread loads the new version while the others go on with the old one. A version
        that cannot be loaded is refused, loudly, and the old one stays; `check` says so.
        """
        if time.monotonic() >= self._look_again_at and self._looking.acquire(blocking=self._model is None):
            try:
                self._look()
            finally:
                self._look_again_at = time.monotonic() + LOOK_EVERY_S
                self._looking.release()
        if self._model is None:
            raise self._error or ModelUnusable("The model is being loaded. Please try again in a moment.")
        return self._model

    def check(self) -> None:
        """Raise ModelUnusable unless the current version is the one that is served, and its files are as its card says.

        Where several hosts share or synchronise their models, one may not have got the current version yet, or only a
        part of it. It goes on with the version before, and each answer names that version, but it is not ready.
        """
        self.current()
        if self._error:
            raise self._error
        artifact.verify(self.folder, self.current_version())

    def _look(self) -> None:
        if time.monotonic() < self._look_again_at:
            return  # another thread looked while this one waited for its turn
        try:
            version = self.current_version()
            if version == self._seen and self._error is None:
                return
            self._model = artifact.load(self.folder, version)
            self._seen, self._error = version, None
        except ModelUnusable as error:
            if str(error) != str(self._error):
                logger.error("%s %s", error, f"Version {self._model.version} stays." if self._model else "")
            self._error = error

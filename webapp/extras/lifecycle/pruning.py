"""Old versions go, but for those that are needed."""

import shutil
from collections.abc import Sequence

import sqlalchemy as sa

from webapp.errors import InvalidInput
from webapp.extras.lifecycle.switching import before_this, history
from webapp.log.database import write_transaction
from webapp.model.registry import ModelRegistry


def superfluous(engine: sa.Engine, registry: ModelRegistry, keep: int) -> list[str]:
    """Return the versions beside the newest `keep`, without those that are served, tried, in use, or what rollback
    goes to.

    Oldest first. Raises InvalidInput (keep below 0), LogUnavailable; ModelUnusable or NotFound where it is not known
    which version is served.
    """
    if keep < 0:
        raise InvalidInput("The number of versions to keep is 0 or more.")
    served = registry.current_version()
    registry.must_exist(served)
    needed = {served, registry.challenger_version(), before_this(history(engine)[::-1])}
    needed |= {version for ask in registry.in_use for version in ask()}
    versions = registry.versions()
    return [version for version in versions[: max(len(versions) - keep, 0)] if version not in needed]


def prune(engine: sa.Engine, registry: ModelRegistry, versions: Sequence[str]) -> list[str]:
    """Delete those of the versions that are still superfluous; return them. Raises as `superfluous`."""
    deleted = []
    with write_transaction(engine):  # no switch meanwhile
        for version in superfluous(engine, registry, keep=0):
            if version in versions:
                gone = registry.folder / f".{version}.deleted"
                (registry.folder / version).rename(gone)  # at once: nobody ever sees half of a version
                shutil.rmtree(gone)
                deleted.append(version)
    return deleted

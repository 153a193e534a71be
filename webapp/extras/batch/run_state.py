"""How far a run came: a small file beside the output, so that it can go on exactly where it stopped.

While a run works there are OUT.partial and OUT.partial.json. After each chunk the output reaches the disk first, then
this file, which replaces the one before at once. So whatever happened in between, OUT.partial holds at least what this
file says; what is behind that is cut off and made again. OUT appears, complete, by a rename.
"""

import hashlib
import json
import os
import uuid
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from webapp.errors import BadData

HEAD = 64 * 1024  # bytes of the input that are compared


@dataclass
class State:
    """What must be the same to go on, and how far the run came."""

    input: dict[str, Any]
    options: dict[str, Any]
    model_version: str
    overwrite: bool
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    position: int = 0  # in the input, where the next chunk begins
    output_size: int = 0  # bytes
    rows: int = 0
    spam: int = 0
    errors: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * 10)  # of spam_probability, by tenths
    finished: bool = False

    def restart(self) -> None:
        """Go back to the first row, but as the same run: the log knows which rows it has already."""
        self.position = self.output_size = self.rows = self.spam = self.errors = 0
        self.histogram = [0] * 10


def partial(target: Path) -> Path:
    """Return where the output grows."""
    return target.with_name(target.name + ".partial")


def state_file(target: Path) -> Path:
    """Return where it is written how far a run came."""
    return target.with_name(target.name + ".partial.json")


def save(target: Path, state: State) -> None:
    """Replace the state file; raises OSError, and the one before stays."""
    new = target.with_name(target.name + ".partial.json.new")
    with new.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(state_file(target))


def load(target: Path) -> State | None:
    """Return the state of an interrupted run; raises BadData."""
    try:
        return State(**json.loads(state_file(target).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BadData(f"{state_file(target)} cannot be read ({error}). Start anew with --overwrite.") from error


def identity(source: Path) -> dict[str, Any]:
    """Return what tells an input from another one, or from itself after a change."""
    with source.open("rb") as file:
        about = os.fstat(file.fileno())
        return {
            "size": about.st_size,
            "modified_ns": about.st_mtime_ns,
            "head_sha256": hashlib.sha256(file.read(HEAD)).hexdigest(),
        }


def begin(target: Path, new: State, resume: bool) -> State:
    """Return the state to start from: the new one, or with `resume` that of the interrupted run if there is one.

    Raises BadData rather than touch a file that somebody may still want.
    """
    old = load(target) if resume or not new.overwrite else None
    if resume and old:
        _check_same(old, new)
        if old.finished and not partial(target).exists() and target.exists():
            return old
        if _size(partial(target)) < old.output_size:
            raise BadData(f"{partial(target)} is shorter than it was. Start anew with --overwrite.")
        new = old
    elif resume and target.exists() and not partial(target).exists():
        return replace(new, finished=True)
    elif not new.overwrite and (old or _size(partial(target))):
        raise BadData(
            f"An interrupted run left {partial(target)}. Go on with --resume, or start anew with --overwrite."
            if old
            else f"{partial(target)} is there already, and nothing says what it is. Start anew with --overwrite."
        )
    if target.exists() and not new.overwrite:
        raise BadData(f"{target} is there already. Replace it with --overwrite, or name another.")
    return new


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_same(old: State, new: State) -> None:
    if old.input != new.input:
        raise BadData("The input has changed since the interrupted run. Start anew with --overwrite.")
    for name, value in old.options.items():
        if new.options[name] != value:
            raise BadData(
                f"The interrupted run had {name} = {value}, this one has {new.options[name]}. "
                "Give the same options, or start anew with --overwrite."
            )

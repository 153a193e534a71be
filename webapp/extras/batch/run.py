"""One run: read a chunk, score and log it, write it, note how far it came; again.

While a run works there are OUT.partial and OUT.partial.json, the state. After each chunk the output reaches the disk
first, then the state, which replaces the one before at once. So whatever happened in between, OUT.partial holds at
least what the state says; what is behind that is cut off and made again. OUT appears, complete, by a rename. To go on,
the rows that are done are read and skipped; the log knows them by their numbers.
"""

import hashlib
import json
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from webapp.errors import BadData, ModelUnusable
from webapp.extras.batch.output import Answer, Output, open_output, partial
from webapp.extras.batch.scoring import Scored, Scorer, cores, score_chunks
from webapp.inference import Inference
from webapp.model import artifact
from webapp.model.files import ENDINGS, Row, Table, ending_format, open_table
from webapp.model.labels import Labels
from webapp.model.scoring import SpamModel

CHUNK_ROWS = 2_000  # scored, logged and written together; an interrupted run goes on from the last whole chunk
CHUNK_SIZE = 1024 * 1024  # characters that are written, with fewer rows where they are long: it bounds the memory
HEAD = 64 * 1024  # bytes of the input that are compared


class Progress(NamedTuple):
    """How far a run came."""

    done_rows: int
    done_share: float | None  # of the input's bytes, 0 to 1; None if unknown


@dataclass(frozen=True)
class Summary:
    """What a finished run found."""

    rows: int
    spam: int
    errors: int  # rows that could not be scored
    histogram: list[int]  # how many have a spam_probability of 0 to 0.1, of 0.1 to 0.2, ...
    notices: list[str]  # what was taken for the header, and of the encoding
    was_complete: bool = False  # there was nothing left to resume; its figures may not be known any more, and are 0


@dataclass
class State:
    """What must be the same to go on, and how far the run came."""

    input: dict[str, Any]
    options: dict[str, Any]
    model_version: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    output_size: int = 0  # bytes
    rows: int = 0
    spam: int = 0
    errors: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * 10)  # of spam_probability, by tenths
    finished: bool = False

    def restart(self) -> None:
        """Go back to the first row, but as the same run: the log knows which rows it has already."""
        self.output_size = self.rows = self.spam = self.errors = 0
        self.histogram = [0] * 10


def run_batch(
    inference: Inference,
    source: Path | BinaryIO,
    target: Path | BinaryIO,
    *,
    text_column: str | None,
    log: bool,
    resume: bool,
    progress: Callable[[Progress], None],
    overwrite: bool = False,
    workers: int | None = None,
) -> Summary:
    """Score each row of a file or pipe and write it, with what was found, to another.

    Raises BadData where the files or options cannot be used, NotReady when the disk is full or a worker died,
    ModelUnusable, LogUnavailable. Whatever ends a run from file to file, `resume` goes on where it stopped, with the
    model version that it began with: no row is twice, and none is missing, in the output or in the log.
    """
    keep = isinstance(source, Path) and isinstance(target, Path)
    if resume and not keep:
        raise BadData("--resume needs files: what went through a pipe is gone")
    if isinstance(source, Path) and isinstance(target, Path) and target.exists() and target.samefile(source):
        raise BadData(f"{target} is the input itself: name another output")
    with closing(open_table(source, text_column)) as table:
        text_at = table.find_text(text_column)
        state = State(
            input=_identity(source) if isinstance(source, Path) else {},
            options={"text column": table.columns[text_at], "log": log, "format": table.format},
            model_version=inference.registry.current_version(),
        )
        was_complete = False
        if isinstance(target, Path):
            _check_ending(target, table.format, ending_format(source) if isinstance(source, Path) else None)
            state = _begin(target, state, resume, overwrite)
            was_complete = state.finished and not partial(target).exists()
        elif not table.can_append:
            raise BadData(f"{table.format} cannot be written to a pipe: name an output file")
        if not was_complete:
            with open_output(target, table, keep) as output:
                noted_beside = target if isinstance(source, Path) and isinstance(target, Path) else None
                _work(inference, table, text_at, state, output, noted_beside, progress, workers or cores())
        if isinstance(target, Path):
            state_file(target).unlink(missing_ok=True)
        notices = [table.about(text_at), *table.notices()]
        return Summary(state.rows, state.spam, state.errors, state.histogram, notices, was_complete)


def _work(
    inference: Inference,
    table: Table,
    text_at: int,
    state: State,
    output: Output,
    target: Path | None,
    progress: Callable[[Progress], None],
    workers: int,
) -> None:
    """Do what is left to do, and after each chunk note beside the output how far it came."""
    if state.finished:
        return
    if not table.can_append:
        state.restart()
    if target:
        _save(target, state)
    scorer = Scorer(inference, _model(inference, state.model_version), state.run if state.options["log"] else None)
    output.start(state.output_size)
    inference.log.engine.dispose()  # the workers are forked from this process, and a connection must not be shared
    rows_left = islice(table.read([text_at]), state.rows, None)
    chunks = _chunks(rows_left, state.rows, table, table.columns[text_at])
    for (rows, faults, done), scored in score_chunks(chunks, scorer, workers):
        answers = _answers(faults, scored)
        output.write(rows, answers)
        _count(state, answers, scorer.model.labels)
        if target and table.can_append:
            state.output_size = output.sync()
            _save(target, state)
        progress(Progress(state.rows, done))
    output.finish()
    state.finished, state.output_size = True, output.sync()
    if target:
        _save(target, state)


def _chunks(
    rows: Iterator[Row], number: int, table: Table, column: str
) -> Iterator[tuple[tuple[list[Row], list[str], float | None], int, list[str | None]]]:
    """Gather rows; yield (rows, what is wrong with each, how much of the file was read), first number, texts."""
    gathered: list[Row] = []
    faults: list[str] = []
    texts: list[str | None] = []
    size = 0
    for row in rows:
        text = None if row.error else row.values[0]
        missing = "is missing" if text is None else "" if isinstance(text, str) else "is not a string"
        gathered.append(row)
        faults.append(row.error or (missing and f"The {column} {missing}."))
        texts.append(None if missing else text)
        size += row.size
        if len(gathered) == CHUNK_ROWS or size >= CHUNK_SIZE:
            yield (gathered, faults, table.done()), number, texts
            number += len(gathered)
            gathered, faults, texts, size = [], [], [], 0
    if gathered:
        yield (gathered, faults, table.done()), number, texts


def _model(inference: Inference, version: str) -> SpamModel:
    """Return the version that the run began with, which need not be the current one any more; raises ModelUnusable."""
    model = inference.registry.current()
    if model.version == version:
        return model
    try:
        return artifact.load(inference.registry.folder, version)
    except ModelUnusable as error:
        raise ModelUnusable(
            f"The run began with model {version}, which cannot be used any more ({error}). Put it back, or start anew "
            "with --overwrite: the whole file is then scored by the current one."
        ) from error


def _answers(faults: Sequence[str], scored: Scored) -> list[Answer]:
    """Return an answer for each row of a chunk, from what is wrong with it or what the model says."""
    return [
        Answer(error=fault or outcome) if isinstance(outcome, str) else Answer(*outcome)
        for fault, outcome in zip(faults, scored, strict=True)
    ]


def _count(state: State, answers: list[Answer], labels: Labels) -> None:
    state.rows += len(answers)
    for answer in answers:
        state.errors += bool(answer.error)
        state.spam += answer.label == labels.spam
        if answer.spam_probability is not None:
            state.histogram[min(int(answer.spam_probability * 10), 9)] += 1


# --- The state -----------------------------------------------------------------------------------------------


def state_file(target: Path) -> Path:
    """Return where it is written how far a run came."""
    return target.with_name(target.name + ".partial.json")


def read_state(target: Path) -> State | None:
    """Return the state of an interrupted run; raises BadData."""
    try:
        return State(**json.loads(state_file(target).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise BadData(f"{state_file(target)} cannot be read ({error}). Start anew with --overwrite.") from error


def _save(target: Path, state: State) -> None:
    new = target.with_name(target.name + ".partial.json.new")
    with new.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(state_file(target))


def _identity(source: Path) -> dict[str, Any]:
    """Return what tells an input from another one, or from itself after a change."""
    with source.open("rb") as file:
        about = os.fstat(file.fileno())
        head = hashlib.sha256(file.read(HEAD)).hexdigest()
    return {"size": about.st_size, "modified_ns": about.st_mtime_ns, "head_sha256": head}


def _begin(target: Path, new: State, resume: bool, overwrite: bool) -> State:
    """Return the state to start from: the new one, or with `resume` that of the interrupted run if there is one.

    Raises BadData rather than touch a file that somebody may still want.
    """
    old = None if overwrite else read_state(target)
    if resume and old:
        _check_same(old, new)
        if old.finished and not partial(target).exists() and target.exists():
            return old
        if _size(partial(target)) < old.output_size:
            raise BadData(f"{partial(target)} is shorter than it was. Start anew with --overwrite.")
        new = old
    elif resume and target.exists() and not partial(target).exists():
        return replace(new, finished=True)
    elif not overwrite and (old or _size(partial(target))):
        raise BadData(
            f"An interrupted run left {partial(target)}. Go on with --resume, or start anew with --overwrite."
            if old
            else f"{partial(target)} is there already, and nothing says what it is. Start anew with --overwrite."
        )
    if target.exists() and not overwrite:
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


def _check_ending(target: Path, found: str, source_ending: str | None) -> None:
    """Raise BadData where OUT's name promises another format than the input's, which is kept."""
    promised = ending_format(target)
    if promised not in (None, found, source_ending):
        ending = next(ending for ending, name in ENDINGS.items() if name == found)
        raise BadData(f"{target.name} would be {promised}, but the input is {found}, which is kept: name it {ending}")

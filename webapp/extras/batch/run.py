"""One run: read a chunk, score and log it, write it, note how far it came; again.

While a run works there are OUT.partial and OUT.partial.json, the state. After each chunk the output reaches the disk
first, then the state, which replaces the one before in one step. So OUT.partial always holds at least what the state
says; what is behind that is cut off and made again. OUT appears, complete, by a rename. A resumed run reads and skips
the rows that are done; the log knows them by their lines.
"""

import datetime as dt
import functools
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path

from joblib import cpu_count

from webapp.errors import BadData, InvalidInput, ModelUnusable, NotReady, counted
from webapp.extras.batch.output import Answer, open_output, partial, read_json, write_json
from webapp.inference import Inference, check_text
from webapp.model import artifact
from webapp.model.files import PIPE, ending_format, open_table
from webapp.model.labels import SPAM_OR_HAM, read_meanings
from webapp.model.scoring import SpamModel
from webapp.model.table import Row, Table

CHUNK_ROWS = 2_000  # scored, logged and written together; an interrupted run goes on from the last whole chunk
CHUNK_SIZE = 1024 * 1024  # characters that are read, with fewer rows where they are long: it bounds the memory
PREVIEW_ROWS, PREVIEW_LENGTH = 20, 300  # rows and characters of a text that the page shows of a result

Report = Callable[[float | None, str], None]  # takes the progress, 0 to 1 or None, and words for it
Text = tuple[int, str, str]  # a row's line and text, and what is wrong with it
Scorer = Callable[[Sequence[Text]], list[Answer]]


@dataclass
class State:
    """What must be the same to go on, how far the run came, and what it found."""

    began_with: str  # input and options
    model_version: str
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    output_size: int = 0  # bytes
    rows: int = 0
    spam: int = 0
    errors: int = 0  # rows that could not be scored
    preview: list[tuple[str, Answer]] = field(default_factory=list)  # the first texts and their answers
    notices: list[str] = field(default_factory=list)  # what was taken for the header, and of the encoding
    words: Sequence[str] = SPAM_OR_HAM  # the model's, for ham and spam
    was_complete: bool = False  # nothing was left to do
    rate: float = 0.0  # rows per second, since the run began or went on

    @property
    def summary(self) -> str:
        """Return what was found, in words: the same by the command and on the page."""
        ham = self.rows - self.spam - self.errors
        called = f"{self.spam:,} {self.words[1]}, {ham:,} {self.words[0]}"
        return f"{counted(self.rows, 'row')}: {called}, {self.errors:,} with an error"

    def add(self, rows: list[Row], answers: list[Answer]) -> None:
        """Count a chunk."""
        self.rows += len(answers)
        self.spam += sum(answer.label == self.words[1] for answer in answers)
        self.errors += sum(answer.error is not None for answer in answers)
        if not self.preview:
            texts = (_text(row)[1][:PREVIEW_LENGTH].encode(errors="replace").decode() for row in rows[:PREVIEW_ROWS])
            self.preview = list(zip(texts, answers, strict=False))


def run_batch(
    inference: Inference,
    source: Path,
    target: Path,
    report: Report,
    *,
    text_column: str | None = None,
    log: bool = True,
    resume: bool = False,
    overwrite: bool = False,
) -> State:
    """Score each row of a file or PIPE and write it, with what was found, to another.

    Raises BadData where the files or options cannot be used, NotReady when the disk is full or a worker died,
    ModelUnusable, LogUnavailable.

    `resume` continues an interrupted run from file to file with the model version that it began with: no row is twice,
    and none is missing, in the output or in the log. The state stays beside the output: the caller deletes it once its
    user knows the result.
    """
    if target.exists() and not target.is_file():
        raise BadData(f"{target} is no file: name another output")
    if PIPE not in (source, target):
        if any(path.exists() and path.samefile(source) for path in (target, partial(target), state_file(target))):
            raise BadData(f"{target} is the input itself, or would grow in it: name another output")
    elif resume:
        raise BadData("--resume needs files: what went through a pipe is gone")
    with open_table(source, text_column, read_meanings(inference.registry.labels())) as table:
        text_at = table.find_column(text_column)
        began_with = f"text column {table.columns[text_at]}, log {log}"
        if source != PIPE:
            about = source.stat()
            began_with += f", {about.st_size:,} bytes of {dt.datetime.fromtimestamp(about.st_mtime, dt.UTC)}"
        state = State(began_with, inference.registry.current_version())
        if target != PIPE:
            if ending_format(target) not in (None, table.format, ending_format(source)):
                raise BadData(f"{target.name} is not the name of {table.format}, which the input is, and which is kept")
            state = _find_state(target, state, resume, overwrite, table.can_append)
        elif not table.can_append:
            raise BadData(f"{table.format} cannot be written to a pipe: name an output file")
        if not state.was_complete:
            model = _model(inference, state.model_version)
            state.words = model.labels
            scorer = functools.partial(score, inference, model, state.run if log else None)
            with open_output(target, table, state.output_size) as write:
                _store(state, target)
                inference.log.engine.dispose()  # workers are forked, and a connection must not be shared
                began, rows_before = time.monotonic(), state.rows
                for rows, answers in score_chunks(_chunks(table, text_at, state.rows), scorer):
                    state.output_size = write(rows, answers)
                    state.add(rows, answers)
                    state.rate = (state.rows - rows_before) / (time.monotonic() - began)
                    _store(state, target)
                    report(table.done(), f"{counted(state.rows, 'row')} done, {state.rate:,.0f} rows/s")
        state.notices = table.notices(text_at)
        return state


def _chunks(table: Table, text_at: int, done: int) -> Iterator[list[Row]]:
    """Gather the rows behind those that are done."""
    rows: list[Row] = []
    before = 0
    for row in islice(table.read([text_at]), done, None):
        rows.append(row)
        if len(rows) == CHUNK_ROWS or table.lines.taken - before >= CHUNK_SIZE:
            yield rows
            rows, before = [], table.lines.taken
    if rows:
        yield rows


def _text(row: Row) -> Text:
    """Return a row's line and text, and what is wrong with it."""
    text = None if row.error else row.values[0]
    if not isinstance(text, str):
        return row.line, "", row.error or f"The text is {'missing' if text is None else 'not a string'}."
    try:
        check_text(text)
    except InvalidInput as error:
        return row.line, text, str(error)
    return row.line, text, ""


def score(inference: Inference, model: SpamModel, run: str | None, texts: Sequence[Text]) -> list[Answer]:
    """Return for each text the model's answer, or what is wrong with it; log them as rows of a run, if one is given."""
    answers = [Answer(error=" ".join(fault.split()) or None) for _, _, fault in texts]
    usable = [number for number, (_, _, fault) in enumerate(texts) if not fault]
    good = [texts[number][1] for number in usable]
    if run is None:
        rows = inference.score(good, "batch", model)
    else:
        keys = [f"batch {run}/line {texts[number][0]}" for number in usable]
        rows = inference.predict(good, "batch", keys, model=model)
    for number, row in zip(usable, rows, strict=True):
        word = model.labels.word(row["label"])
        answers[number] = Answer(word, row["spam_probability"], row["model_version"], row.get("id"))
    return answers


def score_chunks(chunks: Iterator[list[Row]], scorer: Scorer) -> Iterator[tuple[list[Row], list[Answer]]]:
    """Yield each chunk with its answers, which are logged. Raises NotReady when a worker process died.

    On Linux all cores work. The workers are forked: they share the model's memory, and every connection that is open
    now: to a database none may be. Elsewhere a fork is not safe or not possible.
    """
    beginning, workers = list(islice(chunks, 2)), cpu_count() if sys.platform == "linux" else 1
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        for rows in chain(beginning, chunks):
            yield rows, scorer(list(map(_text, rows)))
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("fork"), initializer=_start_worker, initargs=(scorer,)
    )
    waiting: deque[tuple[list[Row], Future[list[Answer]]]] = deque()
    try:
        for rows in chain(beginning, chunks):
            waiting.append((rows, pool.submit(_score_in_worker, list(map(_text, rows)))))
            if len(waiting) > workers + 2:  # enough for none to wait, and no more: it bounds the memory
                scored, future = waiting.popleft()
                yield scored, future.result()
        for rows, future in waiting:
            yield rows, future.result()
    except BrokenProcessPool as error:
        raise NotReady("A worker process died; was the memory full?") from error
    finally:
        pool.shutdown(cancel_futures=True)


_scorer: Scorer  # of a worker process


def _start_worker(scorer: Scorer) -> None:
    global _scorer
    _scorer = scorer
    gc.freeze()  # what the workers share is not to be copied because a garbage collector walks over it
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes: the parent stops its workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End a worker whose parent was killed: it would wait for ever."""
    if parent := multiprocessing.parent_process():  # always, in a worker
        parent.join()
    os._exit(1)


def _score_in_worker(texts: Sequence[Text]) -> list[Answer]:
    return _scorer(texts)


def _model(inference: Inference, version: str) -> SpamModel:
    """Return the version that the run began with, which may be another than the current one; raises ModelUnusable."""
    model = inference.registry.current()
    try:
        return model if model.version == version else artifact.load(inference.registry.folder, version)
    except ModelUnusable as error:
        words = f"The run began with model {version}, which cannot be used any more ({error})."
        raise ModelUnusable(f"{words} Put it back, or start again with --overwrite.") from error


def result_of(source: Path) -> Path:
    """Return where the output goes if no place is named: messages.csv becomes messages.predictions.csv."""
    first, dot, endings = source.name.partition(".")
    return source.with_name(f"{first}.predictions{dot}{endings}")


def state_file(target: Path) -> Path:
    """Return where it is written how far a run came."""
    return target.with_name(target.name + ".partial.json")


def _store(state: State, target: Path) -> None:
    """Write how far a run came; one through a pipe cannot go on."""
    if target != PIPE:
        write_json(state_file(target), asdict(state))


def read_state(target: Path) -> State | None:
    """Return the state of an interrupted run, None where there is none."""
    with suppress(TypeError):
        return State(**read_json(state_file(target)))
    return None


def _find_state(target: Path, new: State, resume: bool, overwrite: bool, can_append: bool) -> State:
    """Return the state to start from: the new one, or with `resume` that of the interrupted run, if there was one.

    Raises BadData rather than replace a file unasked.
    """
    if overwrite:
        return new
    is_there, is_partial = target.exists(), partial(target).exists()
    if not resume and (is_there or is_partial):
        whole = "already" if is_there else "in part, left by an interrupted run: go on with --resume"
        raise BadData(f"{target} is there {whole}. Replace it with --overwrite, or name another.")
    old = read_state(target) if resume else None
    if is_there and not is_partial:
        return replace(old or new, was_complete=True)
    if resume and not old and is_partial and partial(target).stat().st_size:
        why = f"{state_file(target)}, which says how far the run came, is gone or broken"
        raise BadData(f"{why}. Start again with --overwrite.")
    if not old:
        return new
    if old.began_with != new.began_with:
        raise BadData(
            f"The interrupted run began with {old.began_with}, this one with {new.began_with}. "
            "Give the same, or start again with --overwrite."
        )
    return old if can_append else replace(new, model_version=old.model_version, run=old.run)

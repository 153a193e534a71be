"""Scores chunks, on as many cores as there are, and gives them back in their order."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path

from webapp.batch.rows import Chunk
from webapp.errors import InvalidInput, NotReady
from webapp.inference import check_text, score_text
from webapp.log.tables import PredictionRow
from webapp.model import artifact
from webapp.model.spam_model import SpamModel

Scored = list[PredictionRow | str]  # a string says why a text cannot be scored

_model: SpamModel  # of a worker process


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_chunks(
    chunks: Iterator[Chunk], models_folder: Path, version: str, workers: int
) -> Iterator[tuple[Chunk, Scored]]:
    """Yield each chunk with what a version of the model says of its texts.

    Raises ModelUnusable, and NotReady when a worker process died.
    """
    beginning = list(islice(chunks, 2))
    everything = chain(beginning, chunks)
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        model = artifact.load(models_folder, version)
        for chunk in everything:
            yield chunk, score_texts(model, _texts(chunk))
        return
    artifact.verify(models_folder, version)
    # Processes of their own, not copies of this one: they must not share its connection to the database.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(models_folder, version)
    )
    waiting: deque[tuple[Chunk, Future[Scored]]] = deque()
    try:
        with _children_ignore_interrupts():
            for chunk in islice(everything, workers):
                waiting.append((chunk, pool.submit(_score_in_worker, _texts(chunk))))
        for chunk in everything:
            waiting.append((chunk, pool.submit(_score_in_worker, _texts(chunk))))
            if len(waiting) > workers + 2:  # enough for none to wait, and no more: it bounds the memory
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except BrokenProcessPool as error:
        raise NotReady("A worker process died; was the memory full?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def score_texts(model: SpamModel, texts: Iterable[str]) -> Scored:
    """Return the prediction for each text, or what is wrong with it."""
    scored: Scored = []
    for text in texts:
        try:
            check_text(text)
            scored.append(score_text(model, text, "batch"))
        except InvalidInput as error:
            scored.append(str(error))
    return scored


def _texts(chunk: Chunk) -> list[str]:
    return [record.text for record in chunk.records if record.text is not None]


def _first(waiting: deque[tuple[Chunk, Future[Scored]]]) -> tuple[Chunk, Scored]:
    chunk, scored = waiting.popleft()
    return chunk, scored.result()


@contextmanager
def _children_ignore_interrupts() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal, but it is this one that stops the others, in good order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _start_worker(models_folder: Path, version: str) -> None:
    global _model
    threading.Thread(target=_die_with_parent, daemon=True).start()
    _model = artifact.load(models_folder, version)


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


def _score_in_worker(texts: Sequence[str]) -> Scored:
    return score_texts(_model, texts)

"""Scores chunks, on as many cores as there are, and gives them back in their order."""

import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from typing import NamedTuple

from webapp.errors import InvalidInput, NotReady
from webapp.extras.batch.rows import Chunk
from webapp.inference import Inference, check_text
from webapp.log.tables import Row
from webapp.model.scoring import SpamModel

Scored = list[Row | str]  # a string says why a text cannot be scored


class Scorer(NamedTuple):
    """What scores a run's texts: the model that the run began with, and the name under which its rows are logged."""

    inference: Inference
    model: SpamModel
    run: str | None  # None: nothing is logged

    def score(self, texts: Sequence[str], numbers: Sequence[int]) -> Scored:
        """Return the prediction for each text of the rows with these numbers, or what is wrong with it."""
        faults = [_fault(text) for text in texts]
        good = [text for text, fault in zip(texts, faults, strict=True) if not fault]
        if self.run is None:
            rows = [{**row, "id": ""} for row in self.inference.score(good, "batch", model=self.model)]
        else:
            keys = [f"batch {self.run}/{row}" for row, fault in zip(numbers, faults, strict=True) if not fault]
            rows = self.inference.predict(good, "batch", keys, model=self.model)
        found = iter(rows)
        return [fault or next(found) for fault in faults]


_scorer: Scorer  # of a worker process


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_chunks(
    chunks: Iterator[Chunk], scorer: Scorer, first_row: int, workers: int
) -> Iterator[tuple[Chunk, Scored]]:
    """Yield each chunk with what the model says of its texts, logged; raises NotReady when a worker process died.

    Where workers are forked, they share the model's memory, and every connection that is open now: to a database none
    may be.
    """
    numbered = _number(chunks, first_row)
    beginning = list(islice(numbered, 2))
    everything = chain(beginning, numbered)
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        for chunk, numbers in everything:
            yield chunk, scorer.score(_texts(chunk), numbers)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(scorer,))
    waiting: deque[tuple[Chunk, Future[Scored]]] = deque()
    try:
        with _starting_workers():
            for chunk, numbers in islice(everything, workers):
                waiting.append((chunk, pool.submit(_score_in_worker, _texts(chunk), numbers)))
        for chunk, numbers in everything:
            waiting.append((chunk, pool.submit(_score_in_worker, _texts(chunk), numbers)))
            if len(waiting) > workers + 2:  # enough for none to wait, and no more: it bounds the memory
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    except BrokenProcessPool as error:
        raise NotReady("A worker process died; was the memory full?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _fault(text: str) -> str | None:
    try:
        check_text(text)
    except InvalidInput as error:
        return str(error)
    return None


def _number(chunks: Iterable[Chunk], first_row: int) -> Iterator[tuple[Chunk, list[int]]]:
    """Yield each chunk with the numbers of its rows that have a text."""
    for chunk in chunks:
        rows = [record for record in chunk.records if record.is_row]
        yield chunk, [number for number, record in enumerate(rows, start=first_row) if record.text is not None]
        first_row += len(rows)


def _texts(chunk: Chunk) -> list[str]:
    return [record.text for record in chunk.records if record.text is not None]


def _first(waiting: deque[tuple[Chunk, Future[Scored]]]) -> tuple[Chunk, Scored]:
    chunk, scored = waiting.popleft()
    return chunk, scored.result()


@contextmanager
def _starting_workers() -> Iterator[None]:
    with warnings.catch_warnings():
        # Newer Pythons warn that a thread may hold a lock during the fork. Only numpy has threads here, and they idle.
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        gc.freeze()  # what the workers share is not to be copied because a garbage collector walks over it
        if hasattr(signal, "pthread_sigmask"):  # Ctrl-C waits until it cannot hit a worker that is being born
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            gc.unfreeze()
            if hasattr(signal, "pthread_sigmask"):
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _start_worker(scorer: Scorer) -> None:
    global _scorer
    _scorer = scorer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the parent stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:  # always, in a worker
        parent.join()
    os._exit(1)


def _score_in_worker(texts: Sequence[str], numbers: Sequence[int]) -> Scored:
    return _scorer.score(texts, numbers)

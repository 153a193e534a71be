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

from webapp.batch.rows import Chunk
from webapp.errors import InvalidInput, NotReady
from webapp.inference import Models, check_text, score_text
from webapp.log.tables import PredictionRow

Scored = list[PredictionRow | str]  # a string says why a text cannot be scored

_models: Models  # of a worker process


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_chunks(chunks: Iterator[Chunk], models: Models, workers: int) -> Iterator[tuple[Chunk, Scored]]:
    """Yield each chunk with what the models say of its texts; raises NotReady when a worker process died.

    Where workers are forked, they share the models' memory, and every connection that is open now: to a database none
    may be.
    """
    beginning = list(islice(chunks, 2))
    everything = chain(beginning, chunks)
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        for chunk in everything:
            yield chunk, score_texts(models, _texts(chunk))
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(models,))
    waiting: deque[tuple[Chunk, Future[Scored]]] = deque()
    try:
        with _starting_workers():
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


def score_texts(models: Models, texts: Iterable[str]) -> Scored:
    """Return the prediction for each text, or what is wrong with it."""
    scored: Scored = []
    for text in texts:
        try:
            check_text(text)
            scored.append(score_text(models, text, "batch"))
        except InvalidInput as error:
            scored.append(str(error))
    return scored


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


def _start_worker(models: Models) -> None:
    global _models
    _models = models
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of a terminal's processes; the parent stops us
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:  # always, in a worker
        parent.join()
    os._exit(1)


def _score_in_worker(texts: Sequence[str]) -> Scored:
    return score_texts(_models, texts)

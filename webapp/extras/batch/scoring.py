"""Scores chunks of texts, on as many cores as there are, and gives them back in their order."""

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
from typing import NamedTuple, TypeVar

from webapp.errors import InvalidInput, NotReady
from webapp.inference import Inference, check_text
from webapp.model.labels import Labels
from webapp.model.scoring import SpamModel

Scored = list[tuple[str, float, str, str] | str]  # label, spam probability, version, id; or what is wrong with a text
Chunk = TypeVar("Chunk")


class Scorer(NamedTuple):
    """What scores a run's texts: the model that the run began with, and the name under which its rows are logged."""

    inference: Inference
    model: SpamModel
    run: str | None  # None: nothing is logged

    def score(self, first_row: int, texts: Sequence[str | None]) -> Scored:
        """Return what the model says of each text, in the model's words, or what is wrong with it; "" for none."""
        labels: Labels = self.model.labels
        faults = ["" if text is None else _fault(text) for text in texts]
        usable = [
            (f"batch {self.run}/{number}", text)
            for number, (text, fault) in enumerate(zip(texts, faults, strict=True), start=first_row)
            if text is not None and not fault
        ]
        good = [text for _, text in usable]
        if self.run is None:
            rows = self.inference.score(good, "batch", model=self.model)
        else:
            rows = self.inference.predict(good, "batch", [key for key, _ in usable], model=self.model)
        found = iter(rows)
        answers: Scored = []
        for text, fault in zip(texts, faults, strict=True):
            if text is None or fault:
                answers.append(fault)
            else:
                row = next(found)
                word = labels.word(row["label"])
                answers.append((word, row["spam_probability"], row["model_version"], row.get("id", "")))
        return answers


_scorer: Scorer  # of a worker process


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def score_chunks(
    chunks: Iterator[tuple[Chunk, int, Sequence[str | None]]], scorer: Scorer, workers: int
) -> Iterator[tuple[Chunk, Scored]]:
    """Yield each (chunk, its first row's number, its texts) as the chunk with what the model says, logged.

    Where workers are forked, they share the model's memory, and every connection that is open now: to a database none
    may be. Raises NotReady when a worker process died.
    """
    beginning = list(islice(chunks, 2))
    everything = chain(beginning, chunks)
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        for chunk, first_row, texts in everything:
            yield chunk, scorer.score(first_row, texts)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(scorer,))
    waiting: deque[tuple[Chunk, Future[Scored]]] = deque()

    def submit(some: Iterable[tuple[Chunk, int, Sequence[str | None]]]) -> Iterator[None]:
        for chunk, first_row, texts in some:
            waiting.append((chunk, pool.submit(_score_in_worker, first_row, texts)))
            yield

    def first() -> tuple[Chunk, Scored]:
        chunk, scored = waiting.popleft()
        return chunk, scored.result()

    try:
        with _starting_workers():
            list(submit(islice(everything, workers)))
        for _ in submit(everything):
            if len(waiting) > workers + 2:  # enough for none to wait, and no more: it bounds the memory
                yield first()
        while waiting:
            yield first()
    except BrokenProcessPool as error:
        raise NotReady("A worker process died; was the memory full?") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _fault(text: str) -> str:
    try:
        check_text(text)
    except InvalidInput as error:
        return str(error)
    return ""


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
    # Ctrl-C reaches all of a terminal's processes, SIGTERM maybe a whole group; the parent stops us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent:  # always, in a worker
        parent.join()
    os._exit(1)


def _score_in_worker(first_row: int, texts: Sequence[str | None]) -> Scored:
    return _scorer.score(first_row, texts)

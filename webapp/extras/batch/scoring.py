"""Scores chunks of rows, on as many cores as there are, and gives them back in their order."""

import gc
import multiprocessing
import os
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import chain, islice
from typing import NamedTuple

from joblib import cpu_count

from webapp.errors import InvalidInput, NotReady
from webapp.extras.batch.output import Answer
from webapp.inference import Inference, check_text
from webapp.model.files import Row
from webapp.model.scoring import SpamModel


class Chunk(NamedTuple):
    """Rows that are scored, logged and written together."""

    first: int  # number of its first row, from 0
    rows: list[Row]
    texts: list[tuple[str, str]]  # each row's text, and what is wrong with it
    share: float | None  # of the file that was read by then, 0 to 1; None if unknown


class Scorer(NamedTuple):
    """What scores a run's texts: the model that the run began with, and the name under which its rows are logged."""

    inference: Inference
    model: SpamModel
    run: str | None  # None: nothing is logged

    def score(self, first: int, texts: list[tuple[str, str]]) -> list[Answer]:
        """Return for each text what the model says, in the model's words, or what is wrong with it."""
        answers, usable = [], []
        for number, (text, fault) in enumerate(texts):
            try:
                if not fault:
                    check_text(text)
                    usable.append(number)
            except InvalidInput as error:
                fault = str(error)
            answers.append(Answer(error=" ".join(fault.split()) or None))
        good = [texts[number][0] for number in usable]
        if self.run is None:
            rows = self.inference.score(good, "batch", model=self.model)
        else:
            keys = [f"batch {self.run}/{first + number}" for number in usable]
            rows = self.inference.predict(good, "batch", keys, model=self.model)
        for number, row in zip(usable, rows, strict=True):
            word = self.model.labels.word(row["label"])
            answers[number] = Answer(word, row["spam_probability"], row["model_version"], row.get("id"))
        return answers


def score_chunks(chunks: Iterator[Chunk], scorer: Scorer) -> Iterator[tuple[Chunk, list[Answer]]]:
    """Yield each chunk with its answers, which are logged. Raises NotReady when a worker process died.

    Where workers are forked, they share the model's memory, and every connection that is open now: to a database none
    may be.
    """
    beginning, workers = list(islice(chunks, 2)), cpu_count()
    if workers == 1 or len(beginning) < 2:  # one chunk is scored before a worker has started
        for chunk in chain(beginning, chunks):
            yield chunk, scorer.score(chunk.first, chunk.texts)
        return
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(scorer,))
    waiting: deque[tuple[Chunk, Future[list[Answer]]]] = deque()
    try:
        for chunk in chain(beginning, chunks):
            waiting.append((chunk, pool.submit(_score_in_worker, chunk.first, chunk.texts)))
            if len(waiting) > workers + 2:  # enough for none to wait, and no more: it bounds the memory
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()
    except BrokenProcessPool as error:
        raise NotReady("A worker process died; was the memory full?") from error
    finally:
        pool.shutdown(cancel_futures=True)


_scorer: Scorer  # of a worker process


def _start_worker(scorer: Scorer) -> None:
    global _scorer
    _scorer = scorer
    gc.freeze()  # what the workers share is not to be copied because a garbage collector walks over it
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches all of a terminal's group: it is for the parent, which stops the workers
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """End a worker whose parent was killed: it would wait for ever."""
    if parent := multiprocessing.parent_process():  # always, in a worker
        parent.join()
    os._exit(1)


def _score_in_worker(first: int, texts: list[tuple[str, str]]) -> list[Answer]:
    return _scorer.score(first, texts)

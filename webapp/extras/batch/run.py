"""One run: read a chunk, score it, log it, write it, note how far it came."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from webapp.errors import BadData
from webapp.extras.batch import run_state
from webapp.extras.batch.formats import check_ending, open_rows
from webapp.extras.batch.output import Output, file_output, pipe_output
from webapp.extras.batch.rows import Answer, Chunk, Rows
from webapp.extras.batch.run_state import State
from webapp.extras.batch.scorers import Scored, Scorer, cores, score_chunks
from webapp.inference import Inference
from webapp.model import artifact
from webapp.model.labels import Labels
from webapp.model.scoring import SpamModel


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
    was_complete: bool = False  # there was nothing left to resume; its figures may not be known any more, and are 0


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
    from_file, to_file = isinstance(source, Path), isinstance(target, Path)
    if resume and not (from_file and to_file):
        raise BadData("--resume needs files: what went through a pipe is gone")
    if isinstance(source, Path) and isinstance(target, Path) and target.exists() and target.samefile(source):
        raise BadData(f"{target} is the input itself: name another output")
    found, rows = open_rows(source, text_column)
    with closing(rows):
        state = State(
            input=run_state.identity(source) if isinstance(source, Path) else {},
            options={"text column": rows.text_column, "log": log, "format": found},
            model_version=inference.registry.current_version(),
            overwrite=overwrite,
        )
        if not isinstance(target, Path):
            if not rows.resumable:
                raise BadData(f"{found} cannot be written to a pipe: name an output file")
            with pipe_output(target) as output:
                _work(inference, rows, state, output, None, progress, workers)
            return _summary(state)
        check_ending(target, found)
        state = run_state.begin(target, state, resume)
        was_complete = state.finished and not run_state.partial(target).exists()
        if not was_complete:
            with file_output(target, rows, keep=from_file) as output:
                _work(inference, rows, state, output, target if from_file else None, progress, workers)
        run_state.state_file(target).unlink(missing_ok=True)
        return _summary(state, was_complete)


def _summary(state: State, was_complete: bool = False) -> Summary:
    return Summary(state.rows, state.spam, state.errors, state.histogram, was_complete)


def _work(
    inference: Inference,
    rows: Rows,
    state: State,
    output: Output,
    noted_beside: Path | None,
    progress: Callable[[Progress], None],
    workers: int | None,
) -> None:
    """Do what is left to do, and after each chunk note beside the output how far it came."""
    if state.finished:
        return
    if not rows.resumable:
        state.restart()
    if noted_beside:
        run_state.save(noted_beside, state)
    output.cut(state.output_size)
    if state.position:
        rows.seek(state.position)
    elif rows.head:
        output.write(rows.head)
    scorer = Scorer(inference, _model(inference, state.model_version), state.run if state.options["log"] else None)
    labels = scorer.model.labels
    inference.log.engine.dispose()  # the workers are forked from this process, and a connection must not be shared
    for chunk, scored in score_chunks(rows.chunks(), scorer, state.rows, workers or cores()):
        answers = _answers(chunk, scored, labels)
        output.write(rows.render(chunk, answers))
        _count(state, answers, labels)
        state.position = chunk.position
        if noted_beside and rows.resumable:
            state.output_size = output.safe()
            run_state.save(noted_beside, state)
        progress(Progress(state.rows, chunk.share))
    output.finish()
    state.finished, state.output_size = True, output.safe()
    if noted_beside:
        run_state.save(noted_beside, state)


def _model(inference: Inference, version: str) -> SpamModel:
    """Return the version that the run began with, which need not be the current one any more; raises ModelUnusable."""
    model = inference.registry.current()
    return model if model.version == version else artifact.load(inference.registry.folder, version)


def _answers(chunk: Chunk, scored: Scored, labels: Labels) -> list[Answer]:
    """Return an answer for each row of a chunk."""
    outcomes, answers = iter(scored), []
    for record in chunk.records:
        if not record.is_row:
            continue
        outcome = record.error or next(outcomes)  # what is wrong with it, or its prediction
        if isinstance(outcome, str):
            answers.append(Answer(error=outcome))
        else:
            label = labels.word(outcome["label"])
            answers.append(Answer(label, outcome["spam_probability"], outcome["model_version"], outcome["id"]))
    return answers


def _count(state: State, answers: list[Answer], labels: Labels) -> None:
    state.rows += len(answers)
    for answer in answers:
        state.errors += bool(answer.error)
        state.spam += answer.label == labels.spam
        if answer.spam_probability is not None:
            state.histogram[min(int(answer.spam_probability * 10), 9)] += 1

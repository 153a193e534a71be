"""flask batch, and flask job: the same for the server, in a process of its own."""

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand, current_inference
from webapp.extras.batch.run import Report, result_of, run_batch, state_file
from webapp.extras.batch.runner import Job, Runner
from webapp.model.files import PIPE

ROWS_WITH_ERRORS = 1  # exit code
SAY_EVERY_S = 10


@click.command(cls=FriendlyCommand)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="[OUT]", required=False, type=click.Path(path_type=Path))
@click.option("--text-column", help="The column with the messages, where its name is not a usual one such as text.")
@click.option("--no-log", is_flag=True, help="Log nothing; prediction_id stays empty.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped, or begin if none did.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and forget an interrupted run.")
@with_appcontext
def batch(
    source: Path, target: Path | None, text_column: str | None, no_log: bool, resume: bool, overwrite: bool
) -> None:
    """Score each row of the file IN and write it to OUT, with label, spam_probability, model_version, prediction_id
    and error added.

    CSV, TSV, JSON Lines, plain or gzip'd, or Parquet; - is standard input or output. Without OUT, messages.csv becomes
    messages.predictions.csv. All other values in a row stay as they are; the text is written as UTF-8. On Linux all
    cores are used.

    Exit code: 0 all rows scored, 1 some could not be (see their column error), 2 not finished, 130 interrupted.
    """
    target = target or (PIPE if source == PIPE else result_of(source))
    said_at = time.monotonic()

    def say_now_and_then(share: float | None, words: str) -> None:
        nonlocal said_at
        if time.monotonic() > said_at + SAY_EVERY_S:
            said_at = time.monotonic()
            click.echo(words if share is None else f"{words}, {share:.0%}", err=True)

    state = run_batch(
        current_inference(),
        source,
        target,
        say_now_and_then,
        text_column=text_column,
        log=not no_log,
        resume=resume,
        overwrite=overwrite,
    )
    state_file(target).unlink(missing_ok=True)
    summary = f"{target} is complete already." if state.was_complete else f"{state.summary}, {state.rate:,.0f} rows/s."
    state.notices.append(summary)
    click.echo("\n".join(state.notices), err=True)
    click.get_current_context().exit(ROWS_WITH_ERRORS if state.errors else 0)


@click.command(cls=FriendlyCommand, hidden=True)
@click.argument("job_id", metavar="ID")
@with_appcontext
def job(job_id: str) -> None:
    """Run the job ID; the server calls this by itself."""
    os.nice(10)  # requests to the server come first
    click.echo(f"Job {job_id}: {current_runner().run(job_id)}")


def current_runner() -> Runner:
    """Return the app's runner."""
    runner: Runner = current_app.extensions["runner"]
    return runner


def uploaded(folder: Path, name: str) -> Path:
    """Return where a job keeps the uploaded file, and its result beside it."""
    return folder / "files" / name


def batch_job(job: Job, folder: Path, report: Report) -> dict[str, Any]:
    """Score an uploaded file; go on where an earlier try stopped."""
    source, text_column = uploaded(folder, job.arguments["name"]), job.arguments["text_column"]
    # Where there is nothing to go on from, it begins.
    state = run_batch(current_inference(), source, result_of(source), report, text_column=text_column, resume=True)
    return asdict(state) | {"summary": state.summary}

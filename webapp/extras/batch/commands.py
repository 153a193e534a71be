"""flask batch, and flask job: the same for the server, in a process of its own."""

import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import INTERRUPTED, Clear, current_inference
from webapp.errors import BadData

if TYPE_CHECKING:
    from webapp.extras.batch.run import Progress
    from webapp.extras.batch.runner import Job, Report, Runner

STEPS = 1000  # of the progress bar
ROWS_WITH_ERRORS = 1


@click.command(cls=Clear)
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.argument("target", metavar="[OUT]", required=False, type=click.Path(path_type=Path))
@click.option("--text-column", help="The column with the messages, where its name is not a usual one such as text.")
@click.option("--no-log", is_flag=True, help="Log nothing; prediction_id stays empty.")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped, or begin if none did.")
@click.option("--overwrite", is_flag=True, help="Replace OUT, and forget an interrupted run.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that score; by default one per core.")
@with_appcontext
def batch(
    source: Path,
    target: Path | None,
    text_column: str | None,
    no_log: bool,
    resume: bool,
    overwrite: bool,
    workers: int | None,
) -> None:
    """Score each row of the file IN and write it to OUT, with label, spam_probability, model_version, prediction_id
    and error added.

    CSV, TSV, JSON Lines, plain or gzip'd, or Parquet; - is standard input or output. Without OUT, messages.csv becomes
    messages.predictions.csv. All other values in a row stay as they are; the text is written as UTF-8.

    Exit code: 0 all rows scored, 1 some could not be (see their column error), 2 not finished, 130 interrupted.
    """
    from webapp.extras.batch.run import run_batch

    if resume and overwrite:
        raise BadData("--resume goes on and --overwrite starts anew: choose one")
    is_pipe = str(source) == "-"
    target = target or (Path("-") if is_pipe else _default_target(source))
    to_pipe = str(target) == "-"
    show = _Show()
    try:
        summary = run_batch(
            current_inference(),
            sys.stdin.buffer if is_pipe else source,
            sys.stdout.buffer if to_pipe else target,
            text_column=text_column,
            log=not no_log,
            resume=resume,
            progress=show,
            overwrite=overwrite,
            workers=workers,
        )
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressed again, it must not end this with another exit code
        show.end()
        how = "" if is_pipe or to_pipe else " Go on with --resume."
        click.echo(f"Interrupted after {show.rows:,} rows.{how}", err=True)
        click.get_current_context().exit(INTERRUPTED)
    show.end()
    for notice in summary.notices:
        click.echo(notice, err=True)
    if summary.was_complete:
        click.echo(f"{target} is complete already.", err=True)
    else:
        ham = summary.rows - summary.spam - summary.errors
        words = current_inference().registry.labels()
        called = f"{summary.spam:,} {words.spam}, {ham:,} {words.ham}"
        click.echo(f"{summary.rows:,} rows: {called}, {summary.errors:,} with an error.", err=True)
        if not to_pipe:
            click.echo(f"Written to {target}{show.rate()}.", err=True)
    if summary.errors:
        click.echo("Rows with an error were not scored: their column error says why.", err=True)
        click.get_current_context().exit(ROWS_WITH_ERRORS)


def _default_target(source: Path) -> Path:
    first, dot, endings = source.name.partition(".")
    return source.with_name(f"{first}.predictions{dot}{endings}")


class _Show:
    """Shows how far a run is: a progress bar where there is a terminal, and the rate at the end."""

    def __init__(self) -> None:
        self.rows = 0
        self._first: tuple[float, int] | None = None  # when the first news came, and how many rows were done then
        self._last = 0.0
        self._bar: Any = None

    def __call__(self, progress: "Progress") -> None:
        self.rows, share = progress
        self._last = time.monotonic()
        if self._first is None:
            self._first = (self._last, self.rows)
            if sys.stderr.isatty():
                length = None if share is None else STEPS
                self._bar = click.progressbar(
                    length=length, label="Scoring", file=sys.stderr, item_show_func=lambda shown: shown
                )
                self._bar.__enter__()
        if self._bar:
            shown = f"{self.rows:,} rows{self.rate()}"
            self._bar.update(1 if share is None else int(share * STEPS) - self._bar.pos, shown)

    def rate(self) -> str:
        """Return the rate since the first news, if there was more."""
        began, before = self._first or (0.0, 0)
        return f", {(self.rows - before) / (self._last - began):,.0f} rows/s" if self.rows > before else ""

    def end(self) -> None:
        """Leave the line of the bar."""
        if self._bar:
            self._bar.__exit__(None, None, None)


@click.command(cls=Clear, hidden=True)
@click.argument("job_id", metavar="ID")
@with_appcontext
def job(job_id: str) -> None:
    """Run the job ID; the server calls this by itself."""
    runner: Runner = current_app.extensions["runner"]
    if hasattr(os, "nice"):
        os.nice(10)  # people who wait for an answer come first
    click.echo(f"Job {job_id}: {runner.run(job_id)}")


def batch_job(job: "Job", folder: Path, report: "Report") -> dict[str, Any]:
    """Score the file that somebody uploaded; go on where an earlier try stopped."""
    from webapp.extras.batch.run import run_batch

    first: tuple[float, float] | None = None  # when the first chunk was done, and how much of the file it was

    def progress(now: "Progress") -> None:
        nonlocal first
        words = f"{now.done_rows:,} rows done"
        if now.done_share is not None:
            first = first or (time.monotonic(), now.done_share)
            if (seen := now.done_share - first[1]) > 0:
                words += f", {_duration((time.monotonic() - first[0]) / seen * (1 - now.done_share))} left"
        report(now.done_share, words)

    source, name = folder / job.arguments["source"], job.arguments["name"]
    try:
        summary = run_batch(
            current_inference(),
            source,
            folder / job.arguments["target"],
            text_column=job.arguments["text_column"],
            log=True,
            resume=True,  # begins where there is nothing to go on from
            progress=progress,
        )
    except BadData as error:  # for people who know their file, not ours
        raise BadData(str(error).replace(str(source), name)) from error
    result = asdict(summary)
    result["notices"] = [notice.replace(str(source), name) for notice in summary.notices]
    return result


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes else f"about {max(1, round(seconds))} s"

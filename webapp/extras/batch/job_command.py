"""flask job: what each kind of job does. The server starts this command, in a process of its own."""

import os
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from flask import current_app

from webapp.cli.command import ClearGroup, current_inference
from webapp.extras.batch import runner
from webapp.extras.batch.folders import job_folder
from webapp.extras.batch.jobs import Job, get_job
from webapp.extras.batch.run import Progress, run_batch
from webapp.extras.batch.runner import Report, Work
from webapp.extras.lifecycle.commands import retrain_job

job = ClearGroup("job", help="Run what the server put off to a process of its own.")


@job.command("run")
@click.argument("job_id", metavar="ID")
def run_job(job_id: str) -> None:
    """Run the job ID; the server calls this by itself."""
    engine = current_app.extensions["engine"]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, which leaves everything so that it can go on
    if hasattr(os, "nice"):
        os.nice(10)  # people who wait for an answer come first
    state = runner.run(engine, job_id, KINDS[get_job(engine, job_id).kind])
    click.echo(f"Job {job_id}: {state}")


def _batch(job: Job, report: Report) -> dict[str, Any]:
    """Score the file that somebody uploaded; go on where an earlier try stopped."""
    folder = job_folder(Path(current_app.instance_path), job.id)
    first: tuple[float, float] | None = None  # when the first chunk was done, and which share of the file it was

    def progress(now: Progress) -> None:
        nonlocal first
        words = f"{now.done_rows:,} rows done"
        if now.done_share is not None:
            first = first or (time.monotonic(), now.done_share)
            if (seen := now.done_share - first[1]) > 0:
                words += f", {_duration((time.monotonic() - first[0]) / seen * (1 - now.done_share))} left"
        report(now.done_share, words)

    summary = run_batch(
        current_inference(),
        folder / job.arguments["source"],
        folder / job.arguments["target"],
        text_column=job.arguments["text_column"],
        log=True,
        resume=True,  # begins where there is nothing to go on from
        progress=progress,
    )
    return asdict(summary)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes else f"about {max(1, round(seconds))} s"


KINDS: dict[str, Work] = {"batch": _batch, "retrain": retrain_job}

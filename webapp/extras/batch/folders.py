"""Where a job's files are, and when they go: they hold people's messages."""

import datetime as dt
import shutil
from pathlib import Path

import sqlalchemy as sa

from webapp.config import JOBS_KEPT_DAYS
from webapp.extras.batch import jobs as store
from webapp.log.database import write_transaction
from webapp.log.ids import first_id

BEING_UPLOADED = dt.timedelta(hours=1)  # a folder is made before its job, and no upload takes as long as this


def job_folder(instance_folder: Path, job_id: str) -> Path:
    """Return the folder of a job that is known: never of an id that somebody made up."""
    return instance_folder / "jobs" / job_id


def purge(connection: sa.Connection, instance_folder: Path, before: dt.datetime) -> None:
    """Delete the jobs that were begun before a time, and their files."""
    for job_id in store.delete_older(connection, before):
        remove_folder(instance_folder, job_id)


def remove_old(engine: sa.Engine, instance_folder: Path) -> None:
    """Delete the jobs that are too old to keep, and all folders without a job.

    So a job that was deleted on one host loses its files on another when that does this. Raises LogUnavailable.
    """
    now = dt.datetime.now(dt.UTC)
    oldest = now - dt.timedelta(days=JOBS_KEPT_DAYS)
    with write_transaction(engine) as connection:
        purge(connection, instance_folder, oldest)
    known = {job.id for job in store.list_jobs(engine)}
    for folder in (instance_folder / "jobs").glob("*"):
        if folder.name not in known and folder.name < first_id(now - BEING_UPLOADED):
            remove_folder(instance_folder, folder.name)


def remove_folder(instance_folder: Path, job_id: str) -> None:
    """Delete the files of a job that was deleted, those that are on this host."""
    shutil.rmtree(job_folder(instance_folder, job_id), ignore_errors=True)

"""Jobs: one at a time, each in a process of its own, whose death the kernel tells."""

import datetime as dt
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import Mock

import pytest

from webapp.errors import BadData, JobRunning, NotFound, NotReady
from webapp.extras.batch import output
from webapp.extras.batch import runner as module
from webapp.extras.batch.runner import Runner
from webapp.log.tables import new_id


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A runner whose processes sleep, holding the lock as real ones do, until they are told to stop."""
    real, started = subprocess.Popen, []

    def sleep(command, **options):
        return started.append(real(["sleep", "60"], pass_fds=options["pass_fds"])) or started[-1]

    monkeypatch.setattr(module.subprocess, "Popen", sleep)
    monkeypatch.setattr(output, "LOCK_PATIENCE_S", 0.2)
    runner = Runner(tmp_path, dict)
    runner.started = started
    yield runner
    for process in started:
        process.kill()
        process.wait()


def kill(runner):
    """Kill the process of the job that runs."""
    runner.started[-1].kill()
    runner.started[-1].wait()


def begin(runner):
    return runner.start("test", lambda folder: {"name": "messages.csv"})


def work_on(runner, job_id, work):
    """Do a job's work in this process, in place of the one that only sleeps, and end that."""
    runner.kinds["test"] = work
    state = runner.run(job_id)
    kill(runner)
    return state


def test_of_many_that_start_or_resume_a_job_at_once_one_may(runner):
    def try_to_begin(_):
        with suppress(JobRunning):
            return begin(runner)

    with ThreadPoolExecutor(8) as pool:
        [job_id] = filter(None, pool.map(try_to_begin, range(8)))
        job = runner.running()
        assert (job.id, job.state, job.kind, job.arguments) == (job_id, "running", "test", {"name": "messages.csv"})
        assert runner.list_jobs() == [job]  # those that were refused have left nothing
        kill(runner)
        assert runner.get(job_id).state == "interrupted"
        list(pool.map(runner.resume, [job_id] * 6))  # the button is pressed six times
    assert len(runner.started) == 2
    assert runner.get(job_id).state == "running"


def test_a_job_that_fails_says_why_and_can_be_run_again(runner):
    for error, message in ((BadData("No messages."), "No messages."), (ValueError("a secret"), "Something went wrong")):
        job_id = begin(runner)
        assert work_on(runner, job_id, Mock(side_effect=error)) == "failed"
        assert runner.get(job_id).state == "failed"
        assert runner.get(job_id).message.startswith(message)
        runner.resume(job_id)
        assert work_on(runner, job_id, lambda *_: {}) == "done"


def test_nobody_runs_a_job_by_hand_and_made_up_ids_are_none(runner):
    job_id = begin(runner)
    kill(runner)
    with pytest.raises(NotFound):
        runner.run(job_id)
    for made_up in ("..", "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b"):
        with pytest.raises(NotFound):
            runner.get(made_up)


def test_a_process_that_cannot_be_started_leaves_nothing(runner, monkeypatch):
    monkeypatch.setattr(module.subprocess, "Popen", Mock(side_effect=OSError(12, "Cannot allocate memory")))
    with pytest.raises(NotReady, match="Cannot allocate memory"):
        begin(runner)
    assert runner.list_jobs() == []
    assert runner.running() is None


def test_old_jobs_go_and_what_runs_stays(runner):
    long_ago, recent = "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b", new_id()
    for job_id in (long_ago, recent):
        runner.folder(job_id).mkdir(parents=True)
    others = {"backup-of-2026-11-28", f"{long_ago}.bak"}  # which somebody has put there
    for name in others:
        (runner.jobs / name).mkdir()
    running = begin(runner)
    runner.remove_old()
    assert {path.name for path in runner.jobs.glob("*-*")} - others == {recent, running}
    runner.remove_old(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1))
    assert {path.name for path in runner.jobs.glob("*-*")} - others == {running}
    with pytest.raises(JobRunning):
        runner.delete(running)
    kill(runner)
    runner.delete(running)
    assert runner.list_jobs() == []

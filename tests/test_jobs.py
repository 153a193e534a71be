"""Jobs: one at a time, each in a process of its own, whose death the kernel tells."""

import datetime as dt
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import wait_until

from webapp.errors import BadData, JobRunning, NotFound, NotReady
from webapp.extras.batch import runner as module
from webapp.extras.batch.runner import Job, Runner


@pytest.fixture
def runner(tmp_path, monkeypatch):
    """A runner whose processes sleep, holding the lock as real ones do, until they are told to stop."""

    real = subprocess.Popen

    def sleep(command, **options):
        return started.append(real(["sleep", "60"], pass_fds=options["pass_fds"])) or started[-1]

    started = []
    monkeypatch.setattr(module.subprocess, "Popen", sleep)
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


def work_on(runner, job_id, work):
    """Do a job's work in this process, in place of the one that only sleeps."""
    runner.kinds["test"] = work
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return runner.run(job_id)
    finally:
        signal.signal(signal.SIGTERM, handler)


def begin(runner):
    return runner.start("test", {"name": "messages.csv"}, "web:test")


def test_of_many_that_start_a_job_at_once_one_may(runner):
    def try_to_begin(_):
        try:
            return begin(runner)
        except JobRunning:
            return None

    with ThreadPoolExecutor(8) as pool:
        begun = [job_id for job_id in pool.map(try_to_begin, range(16)) if job_id]
    assert len(begun) == len(runner.started) == 1
    assert runner.running_id() == begun[0]
    job = runner.get(begun[0])
    assert (job.state, job.kind, job.arguments) == ("running", "test", {"name": "messages.csv"})


def test_a_killed_job_is_interrupted_and_goes_on_once(runner):
    job_id = begin(runner)
    kill(runner)
    assert runner.get(job_id).state == "interrupted"
    with ThreadPoolExecutor(6) as pool:  # the button is pressed six times
        list(pool.map(runner.resume, [job_id] * 6))
    assert len(runner.started) == 2
    assert runner.get(job_id).state == "running"


def test_a_job_tells_how_far_it_is_and_what_it_found(runner, monkeypatch):
    monkeypatch.setattr(module, "REPORT_EVERY_S", -1)
    job_id = begin(runner)

    def work(job: Job, folder, report):
        report(0.25, "a quarter done")
        now = runner.get(job_id)
        return {"seen": [now.state, now.progress, now.message, folder.name]}

    assert work_on(runner, job_id, work) == "done"
    kill(runner)
    job = runner.get(job_id)
    assert (job.state, job.progress) == ("done", 1.0)
    assert job.result == {"seen": ["running", 0.25, "a quarter done", job_id]}
    runner.resume(job_id)  # it is done: nothing to go on with
    assert len(runner.started) == 1


def test_sigterm_cancels(runner):
    job_id = begin(runner)

    def work(job, folder, report):
        report(0.5, "half done")
        runner.cancel(job_id)
        for _ in range(1000):
            time.sleep(0.01)
        raise AssertionError("nobody stopped it")

    assert work_on(runner, job_id, work) == "cancelled"
    with pytest.raises(JobRunning):
        begin(runner)  # until its process is gone
    kill(runner)
    assert runner.get(job_id).message == "half done"
    runner.resume(job_id)
    assert not runner.get(job_id).cancel_asked
    os.kill(os.getpid(), 0)


def test_sigterm_by_another_than_the_page_is_an_interruption(runner):
    job_id = begin(runner)
    assert work_on(runner, job_id, lambda *_: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5)) == "interrupted"


def test_a_job_that_is_cancelled_before_its_process_has_begun_does_nothing(runner):
    job_id = begin(runner)
    runner.cancel(job_id)
    assert runner.get(job_id).cancel_asked
    assert work_on(runner, job_id, lambda *_: pytest.fail("it worked")) == "cancelled"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BadData("The file has no column with messages."), "The file has no column with messages."),
        (OSError(28, "No space left on device"), "The server says: No space left on device"),
        (ValueError("somebody's message"), "Something went wrong that should not. The log of the job says what."),
    ],
)
def test_a_job_that_fails_says_why_and_can_be_run_again(runner, error, message):
    def work(*_):
        raise error

    job_id = begin(runner)
    assert work_on(runner, job_id, work) == "failed"
    kill(runner)
    assert (runner.get(job_id).state, runner.get(job_id).message) == ("failed", message)
    runner.resume(job_id)
    assert work_on(runner, job_id, lambda *_: {}) == "done"


def test_nobody_runs_a_job_by_hand(runner):
    job_id = begin(runner)
    kill(runner)
    with pytest.raises(NotFound):
        runner.run(job_id)
    for made_up in ("..", "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b"):
        with pytest.raises(NotFound):
            runner.get(made_up)


def test_a_process_that_cannot_be_started_leaves_no_running_job(runner, monkeypatch):
    def broken(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(module.subprocess, "Popen", broken)
    with pytest.raises(NotReady, match="Cannot allocate memory"):
        begin(runner)
    assert [job.state for job in runner.list_jobs()] == ["interrupted"]
    assert runner.running() is None


def test_to_ask_whether_a_job_runs_stands_in_nobodys_way(runner):
    over = threading.Event()
    (runner.jobs).mkdir()
    (runner.jobs / "lock").touch()

    def ask():
        while not over.is_set():
            runner.running_id()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            begin(runner)
            kill(runner)
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_old_jobs_and_broken_off_uploads_go_and_what_runs_stays(runner):
    now = dt.datetime.now(dt.UTC)
    long_ago, recent = "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b", runner.create()[0]
    runner.folder(long_ago).mkdir()
    ended = begin(runner)
    kill(runner)
    running = begin(runner)
    runner.remove_old()
    assert {path.name for path in runner.jobs.glob("*-*")} == {recent, ended, running}
    runner.remove_old(now + dt.timedelta(seconds=1))
    assert {path.name for path in runner.jobs.glob("*-*")} == {recent, running}
    with pytest.raises(JobRunning):
        runner.delete(running)
    kill(runner)
    runner.delete(running)
    assert runner.list_jobs() == []


def test_the_end_of_what_a_job_printed_is_kept(runner):
    job_id = begin(runner)
    (runner.folder(job_id) / "output.log").write_text("x" * 30_000 + "end")
    assert runner.output(job_id).endswith("xend")
    assert len(runner.output(job_id)) == module.LOG_SHOWN
    assert json.loads((runner.folder(job_id) / "job.json").read_text())["started_by"] == "web:test"


def test_a_purge_takes_the_jobs_of_its_time_along(app, flask):
    runner = app.extensions["runner"]
    job_id, folder = runner.create()
    (folder / "job.json").write_text(json.dumps({"kind": "batch", "arguments": {}, "started_by": ""}))
    assert flask("log", "purge", "--older-than", "0d").exit_code == 0
    wait_until(lambda: not folder.exists())

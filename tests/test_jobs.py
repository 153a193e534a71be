"""Jobs: one at a time whoever asks, none that is dead blocks, none that lost its claim goes on."""

import datetime as dt
import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest
import sqlalchemy as sa

from webapp.errors import BadData, JobRunning, NotFound
from webapp.extras.batch import folders, process, runner
from webapp.extras.batch import jobs as store
from webapp.log.database import open_database
from webapp.log.ids import new_id
from webapp.log.tables import jobs


@pytest.fixture
def engine(app):
    return app.extensions["engine"]


@pytest.fixture(autouse=True)
def _quick_beats(monkeypatch):
    monkeypatch.setattr(runner, "BEAT_S", 0.02)


def begin(engine):
    job_id = new_id()
    store.begin(engine, job_id, "batch", {"name": "messages.csv"}, "web:test")
    return job_id


def state(engine, job_id):
    return store.get_job(engine, job_id).state


def silence(engine, job_id):
    """Make a job look as if its process had not been heard of for a minute."""
    long_ago = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
    with engine.begin() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.id == job_id).values(beat_at=long_ago))


def try_to_begin(url, _):
    engine = open_database(url, None)
    try:
        return begin(engine)
    except JobRunning:
        return None
    finally:
        engine.dispose()


def test_of_many_processes_that_begin_a_job_at_once_one_may(engine):
    url = f"sqlite:///{engine.url.database}"
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        begun = [job_id for job_id in pool.map(try_to_begin, [url] * 40, range(40)) if job_id]
    assert len(begun) == 1
    assert [job.id for job in store.list_jobs(engine)] == begun
    assert runner.run(engine, begun[0], lambda job, report: {}) == "done"
    assert begin(engine) != begun[0]


def test_a_job_is_run_by_one_process_only(engine):
    job_id, results = begin(engine), []

    def compete():
        try:
            results.append(runner.run(engine, job_id, lambda job, report: {"rows": 1}))
        except NotFound:
            results.append("not mine")

    threads = [threading.Thread(target=compete) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["done"] + ["not mine"] * 4
    job = store.get_job(engine, job_id)
    assert (job.state, job.progress, job.result) == ("done", 1.0, {"rows": 1})


def test_what_a_job_reports_can_be_read_while_it_runs(engine):
    job_id = begin(engine)

    def work(job, report):
        report(0.25, "a quarter done")
        for _ in range(500):
            if (now := store.get_job(engine, job_id)).progress == 0.25:
                return {"seen": now.message}
            threading.Event().wait(0.01)
        return {}

    runner.run(engine, job_id, work)
    assert store.get_job(engine, job_id).result == {"seen": "a quarter done"}


def test_a_job_that_is_not_heard_of_is_interrupted_and_blocks_nobody(engine):
    dead = begin(engine)
    with pytest.raises(JobRunning):
        begin(engine)
    silence(engine, dead)
    assert state(engine, dead) == "interrupted"
    other = begin(engine)
    assert (state(engine, dead), state(engine, other)) == ("interrupted", "running")


def until_stopped(started):
    """Return the work of a job that goes on until it is told to stop."""

    def work(job, report):
        started.set()
        for _ in range(1000):
            report(0.5, "half done")
            threading.Event().wait(0.01)
        raise AssertionError("nobody stopped it")

    return work


def run_until_stopped(engine, job_id, disturb):
    started, ended = threading.Event(), []
    thread = threading.Thread(target=lambda: ended.append(runner.run(engine, job_id, until_stopped(started))))
    thread.start()
    started.wait(10)
    disturb()
    thread.join(20)
    return ended[0]


def test_a_process_that_was_taken_for_dead_stops_and_changes_nothing(engine, monkeypatch):
    first = begin(engine)
    others = []

    def others_take_over():
        monkeypatch.setattr(store, "DEAD_AFTER_S", -60)  # it was asleep: all that it said is too long ago
        others.append(begin(engine))
        monkeypatch.setattr(store, "DEAD_AFTER_S", 60)

    assert run_until_stopped(engine, first, others_take_over) == "interrupted"
    assert state(engine, first) == "interrupted"
    assert state(engine, others[0]) == "running"


def test_a_job_that_was_deleted_or_resumed_elsewhere_is_lost_to_the_process_that_had_it(engine):
    job_id = begin(engine)
    had_it = store.claim(engine, job_id)
    silence(engine, job_id)
    store.begin_again(engine, job_id)
    has_it = store.claim(engine, job_id)
    assert store.beat(engine, had_it, None, "still here") == "lost"
    store.end(engine, had_it, "done", "")
    assert store.get_job(engine, job_id) == has_it
    assert store.beat(engine, has_it, None, "here") == "go on"


def test_a_cancelled_job_stops_by_itself_and_keeps_its_place_until_it_has(engine):
    job_id = begin(engine)
    seen = []

    def cancel():
        store.ask_to_cancel(engine, job_id)
        with pytest.raises(JobRunning):
            seen.append(begin(engine))

    assert run_until_stopped(engine, job_id, cancel) == "cancelled"
    assert (state(engine, job_id), store.get_job(engine, job_id).message) == ("cancelled", "half done")
    begin(engine)


def test_a_process_that_cannot_reach_the_database_stops_when_others_take_it_for_dead(engine, monkeypatch):
    from webapp.errors import LogUnavailable

    def unreachable(*_):
        raise LogUnavailable("away")

    def cut_off():
        monkeypatch.setattr(store, "DEAD_AFTER_S", 0.2)
        monkeypatch.setattr(store, "beat", unreachable)

    assert run_until_stopped(engine, begin(engine), cut_off) == "interrupted"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BadData("The file has no column with messages."), "The file has no column with messages."),
        (OSError(28, "No space left on device"), "The server says: No space left on device"),
        (ValueError("somebody's message"), "Something went wrong that should not. The log of the job says what."),
    ],
)
def test_a_job_that_fails_says_why_and_can_be_run_again(engine, error, message):
    job_id = begin(engine)

    def work(job, report):
        raise error

    assert runner.run(engine, job_id, work) == "failed"
    assert store.get_job(engine, job_id).message == message
    store.begin_again(engine, job_id)
    assert runner.run(engine, job_id, lambda job, report: {}) == "done"
    with pytest.raises(NotFound):
        store.begin_again(engine, job_id)


def test_a_process_that_cannot_be_started_leaves_no_running_job(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(process.sys, "executable", str(tmp_path / "nothing"))
    with pytest.raises(Exception, match="could not be started"):
        process.start(engine, tmp_path, {}, new_id(), "batch", {}, "web:test")
    assert [job.state for job in store.list_jobs(engine)] == ["failed"]


def test_old_jobs_and_files_without_a_job_go_and_what_runs_stays(engine, tmp_path, flask):
    instance_folder = tmp_path / "instance"
    ended, deleted, running = begin(engine), "019ab0f2-5b7e-7c3a-9d21-0f6c1f2e3a4b", new_id()
    runner.run(engine, ended, lambda job, report: {})
    store.begin(engine, running, "batch", {}, "web:test")
    for job_id in (ended, deleted, running):
        folders.job_folder(instance_folder, job_id).mkdir(parents=True)
    folders.remove_old(engine, instance_folder)
    assert {path.name for path in (instance_folder / "jobs").iterdir()} == {ended, running}
    assert flask("log", "purge", "--older-than", "0d").exit_code == 0
    assert {path.name for path in (instance_folder / "jobs").iterdir()} == {running}
    assert [job.id for job in store.list_jobs(engine)] == [running]
    with pytest.raises(JobRunning):
        store.delete(engine, running)

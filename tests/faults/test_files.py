"""The log's files deleted, replaced or damaged while Hamlet runs: it says so, and never begins anew over them."""

import os
import shutil
import signal

import pytest
import sqlalchemy as sa
from clients import Load, assert_answered_means_stored, wait_until
from conftest import HAM
from repetitions import of_a_kind


def answers(server, text=HAM):
    return server.call("/api/v1/predict", {"text": text})


def refuses(server):
    """Whether both workers say that they cannot write, and that they are not ready."""
    return {answers(server)[0] for _ in range(10)} == {server.call("/readyz")[0] for _ in range(10)} == {503}


@pytest.fixture
def log(server):
    return server.instance_folder / "log.db"


@pytest.mark.parametrize("lost", of_a_kind(["-wal"], [""], ["-wal", "-shm"], ["", "-wal", "-shm"]), ids=str)
def test_a_deleted_file_is_noticed_at_the_next_request_and_never_begun_anew(server, log, lost):
    with Load(server.port) as load:
        load.wait_for(50)
        kept = log.with_name("kept.db")
        os.link(log, kept)
        for suffix in lost:
            log.with_name(f"log.db{suffix}").unlink()
        wait_until(lambda: refuses(server))
        answered = len(load.answered)
    assert (len(load.answered), set(load.refused), load.cut_off) == (answered, {503}, [])
    assert (answers(server)[1]["title"], server.call("/healthz")[0]) == ("The log cannot be used", 200)
    reason = "was deleted" if "" in lost else "lost its -wal"
    assert f"{log} {reason}" in server.output()
    assert log.exists() == ("" not in lost)
    server.stop()
    if lost == [""]:  # its -wal knows the newest rows, so nothing may begin a log beside it
        with pytest.raises(AssertionError, match=r"Hamlet cannot start: .*log\.db was deleted"):
            server.start()
    if "" in lost:
        kept.rename(log)
    if "" not in lost or lost == [""]:  # what was in the -wal is, as the last process to close the log put it there
        server.start()
        assert_answered_means_stored(server, load)


def test_a_new_worker_begins_no_wal_anew(server, log):
    """Whatever connects after the -wal was deleted: a worker that was started again, a new server, a command."""
    assert answers(server)[0] == 200
    log.with_name("log.db-wal").unlink()
    for worker in server.workers():
        os.kill(worker, signal.SIGKILL)
    wait_until(lambda: refuses(server))
    assert not log.with_name("log.db-wal").exists()
    server.stop(signal.SIGKILL)
    with pytest.raises(AssertionError, match=r"Hamlet cannot start: .*log\.db lost its -wal"):
        server.start()
    log.with_name("log.db-shm").unlink()
    server.start()
    assert answers(server)[0] == 200


def test_a_replaced_file_is_not_written_to(server, log):
    with Load(server.port) as load:
        load.wait_for(50)
        shutil.copy(log, log.with_name("copy.db"))
        log.with_name("copy.db").replace(log)
        before = log.read_bytes()
        wait_until(lambda: refuses(server))
    assert set(load.refused) == {503}
    assert log.read_bytes() == before
    assert f"{log} was deleted, moved, replaced or emptied" in server.output()


@pytest.mark.parametrize("how", of_a_kind("overwritten", "emptied"))
def test_a_damaged_file_is_said_and_not_started_with(server, log, how):
    with Load(server.port) as load:
        load.wait_for(50)
    server.execute(sa.text("PRAGMA wal_checkpoint(TRUNCATE)"))  # all rows are in the file itself
    log.write_bytes(b"something else\n" * 20_000 if how == "overwritten" else b"")
    with Load(server.port) as load:
        wait_until(lambda: server.call("/readyz")[0] == 503)
    assert set(load.refused) <= {503}
    assert load.cut_off == []
    assert " 500 " not in server.output()
    assert "The log cannot be used:" in server.output()
    server.stop(signal.SIGKILL)
    with pytest.raises(AssertionError, match="Hamlet cannot start: .*(malformed|not a database|emptied)"):
        server.start()
    assert "Traceback" not in server.output()

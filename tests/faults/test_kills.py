"""SIGKILL at any moment under load: what was answered is in the log, once, and the next start is clean."""

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from clients import Load, assert_answered_means_stored, wait_until
from repetitions import REPETITIONS, of_a_kind

MASTER_NOTICED_S = 60  # a worker looks every second whether its master lives; a loaded machine takes longer


def kill(pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def strike(server, whom):
    """Kill; return when whoever was killed is replaced, by gunicorn or, where nobody is left to do it, by a start."""
    workers = server.workers()
    match whom:
        case "a worker":
            kill(random.sample(workers, 1))
        case "all workers":
            kill(workers)
        case "the master":
            kill([server.process.pid])
            server.process.wait(30)
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), MASTER_NOTICED_S)
        case "all":
            server.stop(signal.SIGKILL)
    if server.process.poll() is not None:
        server.start()
    else:
        wait_until(lambda: len(set(server.workers()) - set(workers)) > 0)


@pytest.mark.databases(*of_a_kind("sqlite", "postgresql"))
@pytest.mark.parametrize("whom", of_a_kind("all workers", "a worker", "the master", "all"))
def test_sigkill_under_load_loses_nothing_that_was_answered(server, whom):
    answered = cut_off = 0
    for _ in range(REPETITIONS):
        with Load(server.port) as load:
            load.wait_for(random.randint(20, 100))
            strike(server, whom)
            load.wait_for(20)  # it answers again
        assert_answered_means_stored(server, load)
        assert set(load.refused) <= {503}
        answered += len(load.answered)
        cut_off += len(load.cut_off)
    assert "Traceback" not in server.output()
    print(f"{REPETITIONS} times: {answered:,} answered and stored, {cut_off:,} cut off without an answer")

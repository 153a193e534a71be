"""New workers, and a whole new gunicorn, under load: no request fails."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from clients import Load, assert_answered_means_stored, wait_until
from conftest import Server
from repetitions import REPETITIONS, of_a_kind

TIMES = -(-REPETITIONS // 6)  # of each of the six ways below, so as often as the others together
GUNICORN = str(Path(sys.executable).with_name("gunicorn"))


def children(pid):
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


@pytest.fixture(params=of_a_kind("python -m webapp", "gunicorn wsgi:app", "python -m gunicorn"))
def started(request, tmp_path):
    """A server, started in each way that there is."""
    command = {"gunicorn wsgi:app": [GUNICORN, "wsgi:app"], "python -m gunicorn": [sys.executable, "-m", "gunicorn"]}
    server = Server(tmp_path / "instance", command=command.get(request.param), HAMLET_WORKERS="2")
    server.start()
    masters = [server.process.pid]
    yield server, masters
    for master in masters:
        for pid in [*children(master), master]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    server.process.wait(30)


def replace_workers(masters):
    """SIGHUP: the same gunicorn begins new workers, and the old ones finish."""
    old = set(children(masters[-1]))
    os.kill(masters[-1], signal.SIGHUP)
    wait_until(lambda: len(children(masters[-1])) == 2 and not old & set(children(masters[-1])), 120)


def replace_master(masters):
    """SIGUSR2 begins a second gunicorn with the code as it is now; then the first one is asked to stop."""
    old = masters[-1]
    workers = set(children(old))
    os.kill(old, signal.SIGUSR2)
    wait_until(lambda: [pid for pid in set(children(old)) - workers if len(children(pid)) == 2], 120)
    (new,) = [pid for pid in set(children(old)) - workers if children(pid)]
    masters.append(new)
    os.kill(old, signal.SIGTERM)
    wait_until(lambda: stopped(old), 120)


def stopped(pid):
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("keep_alive", of_a_kind(True, False))
def test_reloads_under_load_fail_no_request(started, keep_alive):
    server, masters = started
    with Load(server.port, keep_alive=keep_alive) as load:
        load.wait_for(20)
        for _ in range(TIMES):
            replace_workers(masters)
            load.wait_for(20)
            replace_master(masters)
            load.wait_for(20)
    assert (load.cut_off, load.refused) == ([], {})
    assert_answered_means_stored(server, load)
    assert masters[-1] != masters[0]
    print(f"{TIMES} times each: {len(load.answered):,} answered and stored, none refused or cut off")

"""A disk that is full or read-only: a clear 503, nothing answered is missing, and all goes on when it is well again."""

import contextlib
import os
import shutil
import signal
import subprocess

import pytest
from clients import Load, assert_answered_means_stored, wait_until
from conftest import HAM, Server, missing, need
from repetitions import REPETITIONS

MIB = 1024 * 1024


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, with a real file system on it."""
    image, folder = tmp_path / "image", tmp_path / "disk"
    folder.mkdir()
    with image.open("wb") as file:
        file.truncate((24 + 2 * REPETITIONS) * MIB)  # with room for what is answered meanwhile
    make = need("mkfs.ext4", "on Debian, apt-get install e2fsprogs")
    subprocess.run([make, "-q", "-m", "0", image], check=True)
    mounted = subprocess.run(["mount", "-o", "loop", image, folder], capture_output=True, text=True)
    if mounted.returncode:
        missing("a disk to fill", f"run this as root, where mount is allowed ({mounted.stderr.strip()})")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def server(disk):
    with Server(disk, HAMLET_WORKERS="2") as server:
        yield server


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for piece in (MIB, 1024):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(bytes(piece))
    assert shutil.disk_usage(disk).free < 4096


def assert_refused_clearly(server):
    """Through each door that logs; and what needs no log goes on.

    Rarely SQLite has room left after all: return the addresses of what was answered, which have to be stored then.
    """
    answered = []
    status, answer = server.call("/api/v1/predict", {"text": HAM})
    if status == 200:
        answered.append(f"/api/v1/predictions/{answer['id']}")
    else:
        assert (status, answer["title"]) == (503, "The log cannot be used")
        assert "try again" in answer["detail"]
        assert "label" not in answer
    status, headers, page = server.send_form(HAM)
    if status == 303:
        answered.append(headers["Location"])
    else:
        assert status == 503
        assert int(headers["Retry-After"]) > 0
        assert "The log cannot be used" in page
    assert (server.call("/readyz")[0], server.call("/healthz")[0], server.call("/")[0]) == (503, 200, 200)
    return answered


def test_a_full_disk(server, disk):
    with Load(server.port) as load:
        for _ in range(REPETITIONS):
            load.wait_for(20)
            refused = sum(load.refused.values())
            fill(disk)
            wait_until(lambda before=refused: sum(load.refused.values()) > before + 20)
            answered = assert_refused_clearly(server)
            os.unlink(disk / "ballast")
            wait_until(lambda: {server.call("/readyz")[0] for _ in range(10)} == {200})
            assert server.send_form(HAM)[0] == 303
            assert [server.call(address)[0] for address in answered] == [200] * len(answered)
            load.wait_for(20)
    assert load.cut_off == [], server.output()[-3000:]
    assert set(load.refused) == {503}
    assert_answered_means_stored(server, load)
    assert " 500 " not in server.output()
    assert "Traceback" not in server.output()
    assert "database or disk is full" in server.output()
    print(f"{REPETITIONS} times full: {len(load.answered):,} answered and stored, {load.refused[503]:,} refused")


def test_a_file_system_that_turns_read_only(server, disk):
    with Load(server.port) as before:
        before.wait_for(20)
    subprocess.run(["sync", "--file-system", disk], check=True)  # as after a power cut, what follows may be gone
    with Load(server.port) as load:
        load.wait_for(20)
        subprocess.run(["mount", "-o", "remount,abort", disk], check=True)  # as the kernel does when a disk fails
        wait_until(lambda: load.refused[503] > 20)
        assert_refused_clearly(server)
    assert load.cut_off + before.cut_off == []
    assert set(load.refused) == {503}
    assert " 500 " not in server.output()
    assert "Traceback" not in server.output()
    server.stop(signal.SIGKILL)
    image = disk.with_name("image")
    wait_until(lambda: subprocess.run(["umount", disk]).returncode == 0)  # once the processes are gone
    subprocess.run(["fsck.ext4", "-p", image], check=False)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    server.start()
    assert_answered_means_stored(server, before)

"""Switches under load and under SIGKILL, on a real gunicorn; benchmarks/switching.py does the same for longer."""

import random
import signal

import pytest
from conftest import HAM, Server

from benchmarks.switching import KILLED, faults, kill_after, review_some, switch_under_load

PATIENT_S = 15  # on a quiet machine it is below one, which the benchmark insists on; here the tests take the cores


@pytest.fixture
def switched_server(tmp_path, models, versions):
    with Server(tmp_path / "instance", HAMLET_MODELS_FOLDER=str(models), HAMLET_WORKERS="2") as server:
        yield server


def test_switches_under_load_lose_no_request_and_mix_no_versions(switched_server, models, versions):
    seen = switch_under_load(switched_server.url, switched_server.instance_folder, models, versions, [2.0] * 2)
    assert seen["answers"] > 50
    assert (seen["failed"], seen["mixed"]) == (0, 0), seen["failures"]
    assert seen["versions"] == sorted(versions)
    assert seen["agree_after_s"] < PATIENT_S


def test_after_a_kill_at_any_moment_the_next_start_serves_a_verified_model(switched_server, models, versions):
    review_some(switched_server.instance_folder, lambda path, body: switched_server.call(path, body)[1])
    words = [str(switched_server.instance_folder), str(models), *versions]
    chance = random.Random(1)
    for code, longest_s in KILLED.values():  # while one switches, saves, retrains
        kill_after(chance.uniform(0, longest_s), code, words, lambda: switched_server.stop(signal.SIGKILL))
        assert faults(models) == []
        switched_server.start()
        status, answer = switched_server.call("/api/v1/predict", {"text": HAM})
        assert status == 200
        assert (models / "current").read_text().strip() == answer["model_version"]

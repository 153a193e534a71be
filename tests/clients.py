"""Clients that keep a server busy and remember every word it said."""

import contextlib
import http.client
import json
import threading
import time
import uuid
from collections import Counter

import sqlalchemy as sa
from conftest import JSON, SPAM
from faults.repetitions import LONG

PAUSE_S = 0 if LONG else 0.005  # of each client after each answer, so that the ordinary run leaves others some time


class Load:
    """Clients that send until told to stop: `with Load(server.port) as load: ...`

    Each request has an id of its own, which the log keeps, so that a row too many shows as well as one too few.
    """

    def __init__(self, port, clients=4, keep_alive=False):
        self.port = port
        self.keep_alive = keep_alive
        self.answered = {}  # request id -> prediction id
        self.refused = Counter()  # statuses other than 200
        self.cut_off = []  # what became of requests without any answer
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._send, daemon=True) for _ in range(clients)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more, timeout=60):
        """Return when so many more requests have been answered."""
        goal = len(self.answered) + more
        wait_until(lambda: len(self.answered) >= goal, timeout, lambda: f"{self.refused} {self.cut_off[-3:]}")

    def _send(self):
        connection = None
        while not self._stop.is_set():
            request_id = uuid.uuid4().hex
            connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                body = json.dumps({"text": f"{SPAM} {request_id}"})
                connection.request("POST", "/api/v1/predict", body, JSON | {"X-Request-ID": request_id})
                answer = connection.getresponse()
                content = json.loads(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.cut_off.append(repr(error))
                connection.close()
                connection = None
                time.sleep(0.05)
                continue
            if answer.status == 200:
                self.answered[request_id] = content["id"]
            else:
                self.refused[answer.status] += 1
            if not self.keep_alive:
                connection.close()
                connection = None
            time.sleep(PAUSE_S)
        if connection:
            connection.close()


def wait_until(condition, timeout=60, what=lambda: "it did not happen in time"):
    """Return what a condition gives as soon as that is true; its errors (of connections) count as no."""
    give_up_at = time.monotonic() + timeout
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if result := condition():
                return result
        assert time.monotonic() < give_up_at, what()
        time.sleep(0.05)


def assert_answered_means_stored(server, load):
    """Every answered request is in the log, none twice, and the file is sound."""
    if server.database_url is None:
        assert server.execute(sa.text("PRAGMA integrity_check")) == ["ok"]
    pairs = server.execute(sa.text("SELECT request_id || ' ' || id FROM predictions WHERE request_id IS NOT NULL"))
    stored = dict(pair.split() for pair in pairs)
    assert load.answered.items() <= stored.items()
    assert len(stored) == len(pairs)

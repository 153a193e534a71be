"""Memory stays flat, however many different messages come."""

import http.client
import json
import random
import re
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from conftest import FORM, JSON, hidden
from repetitions import LONG

PREDICTIONS = 1_000_000 if LONG else 8_000
MEASUREMENTS = 20
# Of the measurements: until the caches have been full. In the long run memory grew by less and less for 300,000
# predictions; a leak would go on. The short run's messages have few words, as the memory of words (REMEMBERED_TOKENS in
# each worker, then it begins anew) would not get full.
WARM_UP = 6 if LONG else 12
WORDS = 2**24 if LONG else 2**10
MOST_GROWTH = 0.05
CLIENTS = 8


def message(number):
    """A message like no other; in the long run most of its words are new too."""
    words = random.Random(number)
    return " ".join(f"w{words.randrange(WORDS):x}" for _ in range(5)) + f" call {number:07}"


def send(port, numbers):
    """Send messages, one of four through the form, over one connection; fail unless each is answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/")
    page = connection.getresponse()
    token = hidden(page.read().decode(), "csrf_token")
    form = FORM | {"Cookie": page.headers["Set-Cookie"].split(";")[0]}
    for number in numbers:
        if number % 4:
            connection.request("POST", "/api/v1/predict", json.dumps({"text": message(number)}), JSON)
        else:
            body = urllib.parse.urlencode({"csrf_token": token, "text": message(number)})
            connection.request("POST", "/", body, form)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (200 if number % 4 else 303)
    connection.close()


def send_all(port, first, end):
    with ThreadPoolExecutor(CLIENTS) as clients:
        for result in [clients.submit(send, port, range(first + i, end, CLIENTS)) for i in range(CLIENTS)]:
            result.result()


def memory_kb(server):
    """Return what all its processes take for themselves, what they share counted once, in kB.

    That is anonymous memory, without programs and libraries, whose share depends on who else on the machine runs them.
    """
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in [server.process.pid, *server.workers()]]
    return sum(int(re.search(r"^Pss_Anon:\s+(\d+) kB", text, re.MULTILINE)[1]) for text in rollups)


def test_memory_is_flat(server):
    workers, step, seen = set(), PREDICTIONS // MEASUREMENTS, []
    for first in range(0, PREDICTIONS, step):
        send_all(server.port, first, first + step)
        seen.append(memory_kb(server))
        workers |= set(server.workers())
        print(f"{first + step:,} predictions: {seen[-1]:,} kB", flush=True)
    warm, later = max(seen[:WARM_UP]), max(seen[WARM_UP:])
    print(f"growth after the first {WARM_UP * step:,}: {later / warm - 1:.1%}")
    assert later < warm * (1 + MOST_GROWTH), seen
    assert len(workers) == len(server.workers())  # nobody died and began anew
    assert len(server.stored()) == PREDICTIONS

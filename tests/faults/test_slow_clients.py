"""10,000 visitors who send nothing, or the beginning of something, through nginx: nobody else notices."""

import resource
import socket
from contextlib import ExitStack

from clients import Load, assert_answered_means_stored
from conftest import missing
from proxy import nginx
from repetitions import REPETITIONS

VISITORS = 10_000
SOURCES = [f"127.0.0.{number}" for number in range(2, 12)]  # as one address has only so many ports
BEGINNINGS = [
    b"",
    b"POST /api/v1/predict HTTP/1.1\r\nHost: hamlet\r\nContent-Ty",
    b"POST /api/v1/predict HTTP/1.1\r\nHost: hamlet\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
    b"GET / HTTP/1.1\r\nHost: hamlet\r\n\r\n",  # and the answer is never read
]


def test_ten_thousand_slow_visitors_keep_nobody_from_an_answer(shared_server, tmp_path):
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # of this process, and of nginx after it
    if most < VISITORS + 100:
        missing("enough open files", f"raise the hard limit of `ulimit -n` over {VISITORS + 100:,}")
    with nginx(tmp_path, shared_server.port) as ports, ExitStack() as visitors:
        for number in range(VISITORS):
            source, address = (SOURCES[number % len(SOURCES)], 0), ("127.0.0.1", ports["http"])
            visitor = visitors.enter_context(socket.create_connection(address, timeout=60, source_address=source))
            visitor.sendall(BEGINNINGS[number % len(BEGINNINGS)])
        with Load(ports["http"], keep_alive=True) as load:
            load.wait_for(100 * REPETITIONS)
    assert (load.cut_off, load.refused) == ([], {})
    assert_answered_means_stored(shared_server, load)
    print(f"{VISITORS:,} slow visitors: {len(load.answered):,} others answered, none refused or cut off")

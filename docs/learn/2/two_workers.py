"""Send three messages to one of two workers, then ask each how many there were.

A visitor who connects and says nothing keeps a worker busy, so that the other one has to answer.
"""

import socket
import sys
import urllib.request

port = int(sys.argv[1].rpartition(":")[2])


def visit():
    return socket.create_connection(("127.0.0.1", port))


def ask(path, body=None):
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    return urllib.request.urlopen(request).read().decode().strip()


first = visit()
for _ in range(3):
    ask("/predict", b'{"text": "See you at dinner"}')
print("one worker:  ", ask("/history"))
second = visit()  # now both are busy
first.close()
print("the other:   ", ask("/history"))
second.close()

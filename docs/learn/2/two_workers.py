"""Send three messages to one of two workers, then ask each how many there were.

A visitor who connects and says nothing yet keeps a worker busy, so that the other one has to answer.
"""

import sys
from http.client import HTTPConnection

address = sys.argv[1].removeprefix("http://")


def ask(connection, method, path, body=None):
    connection.request(method, path, body, {"Content-Type": "application/json"})
    return connection.getresponse().read().decode().strip()


visitor = HTTPConnection(address)
visitor.connect()
for _ in range(3):
    ask(HTTPConnection(address), "POST", "/predict", '{"text": "See you at dinner"}')
print("one worker:  ", ask(HTTPConnection(address), "GET", "/history"))
print("the other:   ", ask(visitor, "GET", "/history"))

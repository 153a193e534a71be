"""Kill the server while four clients send messages, and look for answers that are not in the log."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import log

with socket.create_server(("127.0.0.1", 0)) as probe:
    port = probe.getsockname()[1]  # a free one
gunicorn = [sys.executable, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{port}", "app:app"]
server = subprocess.Popen(gunicorn, stderr=subprocess.DEVNULL, start_new_session=True)
answered = []
killed = threading.Event()


def send():
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", b'{"text": "See you at dinner"}', headers)
    while not killed.is_set():
        try:
            with urllib.request.urlopen(request) as answer:
                answered.append(json.load(answer)["id"])
        except (OSError, http.client.HTTPException):  # not started yet, or dead
            time.sleep(0.1)


clients = [threading.Thread(target=send) for _ in range(4)]
for client in clients:
    client.start()
while len(answered) < 100:
    time.sleep(0.01)
os.killpg(server.pid, signal.SIGKILL)  # kill -9 for all its processes: nobody gets to tidy up
killed.set()
for client in clients:
    client.join()
lost = [prediction_id for prediction_id in answered if log.find(prediction_id) is None]
print(f"{len(answered)} answers, {len(lost)} of them not in the log")

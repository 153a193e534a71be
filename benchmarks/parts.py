"""What do the parts of one request cost, in one process and without a network?

    python benchmarks/parts.py

Each part is run on 2,000 messages of the other benchmarks, one after another, in ROUNDS interleaved rounds; printed
is the median of the means. Under a real server all of them take up to half as long again, since a processor's caches
are then full of other things.
"""

import io
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.peers.flask_empty import app as empty_app  # noqa: E402
from benchmarks.servers import messages  # noqa: E402
from webapp.app import create_app  # noqa: E402
from webapp.inference import Inference, explain  # noqa: E402
from webapp.log.tables import predictions  # noqa: E402
from webapp.model.tokenizer import tokenize  # noqa: E402

ROUNDS = 9


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Path(folder), ADMIN_PASSWORD="benchmark only")
        inference: Inference = app.extensions["inference"]
        model = inference.registry.current()
        texts = messages()[:2000]
        scores = [model.score(text) for text in texts]
        rows = [inference.predict([text], "api")[0] for text in texts]
        parts: dict[str, tuple[Callable[[Any], Any], list[Any]]] = {
            "read the message": (tokenize, texts),
            "score it, reading included": (model.score, texts),
            "choose the explanation": (explain, scores),
            "commit the row": (lambda row: inference.log.add(predictions, [dict(row)]), rows),
            "Inference.predict, all of the above": (lambda text: inference.predict([text], "api")[0], texts),
            "the whole request, from WSGI to WSGI": (lambda text: post(app, "/api/v1/predict", {"text": text}), texts),
            "an empty Flask route": (lambda text: post(empty_app, "/", {"text": text}), texts),
        }
        taken: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(ROUNDS):
            for name, (part, values) in parts.items():
                started = time.perf_counter()
                for value in values:
                    part(value)
                taken[name].append((time.perf_counter() - started) / len(values) * 1e6)
        app.extensions["engine"].dispose()
    for name, times in taken.items():
        print(f"{name:40} {statistics.median(times):6.0f} us")


def post(app: Flask, path: str, body: dict[str, str]) -> None:
    """Send a request to an app as a server would, and read the answer."""
    content = app.json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(content),
        "wsgi.errors": sys.stderr,
    }
    statuses: list[str] = []
    answer: Any = app.wsgi_app(environ, lambda status, headers, error=None: statuses.append(status))
    b"".join(answer)
    answer.close()
    assert statuses == ["200 OK"], statuses


if __name__ == "__main__":
    main()

"""The least that Flask can do and still score, explain and commit: fastapi_async.py's body in one route.

Served with Hamlet's own gunicorn.conf.py, so it is the limit of what Hamlet can reach there. It checks, counts and
refuses nothing.
"""

import os
import time
from pathlib import Path
from typing import Annotated

from _log import add, connect
from flask import Flask, Response, request
from pydantic import BaseModel, Field
from pydantic_core import to_json

from webapp.inference import explain
from webapp.model.registry import ModelRegistry

app = Flask(__name__)
model = ModelRegistry(Path(os.environ["MODELS"])).current()
connections = []


class Message(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=10_000)]


@app.post("/api/v1/predict")
def predict() -> Response:
    if not connections:
        connections.append(connect())  # after the fork; the event loop alone uses it
    started = time.perf_counter()
    text = Message.model_validate_json(request.get_data(cache=False)).text
    score = model.score(text)
    answer = {
        "id": "",
        "label": model.label(score.spam_probability),
        "spam_probability": score.spam_probability,
        "threshold": model.threshold,
        "model_version": model.version,
        "explanation": explain(score),
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    values = [answer[name] for name in ("label", "spam_probability", "threshold", "model_version", "latency_ms")]
    answer["id"] = add(connections[0], text, *values, to_json(answer["explanation"]).decode())
    return Response(to_json(answer), mimetype="application/json")

"""FastAPI with `async def`, given Hamlet's own model: the strongest peer that we could think of.

It gives Hamlet's JSON and commits Hamlet's row, on the event loop: an insert takes less time than another thread would.

After FastAPI's documentation: "Concurrency and async / await" (nothing to await, so `async def`), "Lifespan Events",
"Return a Response Directly" (JSON that pydantic's Rust core has written already: less work than a response model, which
is less than a dict) and "OpenTelemetry" (off: not even looked for).

    MODELS=... DATABASE=... PYTHONPATH=<repository> uvicorn fastapi_async:app --port PORT    # here, after _log.py
"""

import gc
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from _log import add, connect
from fastapi import FastAPI, Response
from pydantic import BaseModel, Field
from pydantic_core import to_json

from webapp.inference import explain
from webapp.model.registry import ModelRegistry

state: dict[str, Any] = {}


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    state["model"] = ModelRegistry(Path(os.environ["MODELS"])).current()
    state["connection"] = connect()
    gc.freeze()  # as Hamlet does: what was loaded is never garbage
    yield
    state["connection"].close()


app = FastAPI(lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False})


class Message(BaseModel):
    text: Annotated[str, Field(min_length=1, max_length=10_000)]


@app.post("/api/v1/predict")
async def predict(message: Message) -> Response:
    started = time.perf_counter()
    model = state["model"]
    score = model.score(message.text)
    answer = {
        "id": "",
        "label": model.label(score.spam_probability),
        "spam_probability": score.spam_probability,
        "threshold": model.threshold,
        "model_version": model.version,
        "explanation": explain(score),
        "latency_ms": round((time.perf_counter() - started) * 1000, 3),
    }
    answer["id"] = add(
        state["connection"],
        message.text,
        answer["label"],
        answer["spam_probability"],
        answer["threshold"],
        answer["model_version"],
        answer["latency_ms"],
        to_json(answer["explanation"]).decode(),
    )
    return Response(to_json(answer), media_type="application/json")

"""FastAPI with `def`, as most would serve a model: predict_proba, and a row in SQLite before the answer.

After FastAPI's documentation: "Request Body", "Concurrency and async / await" (sqlite3 has no await, so `def`, which
runs in a pool of threads) and "Lifespan Events" (load the model before the first request). It returns a plain dict,
as a response model would, with `def`, cost a second trip to another thread.

    MODELS=... DATABASE=... PYTHONPATH=<repository> uvicorn fastapi_def:app --port PORT    # here, after _log.py
"""

import json
import os
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import joblib
from _log import add, connect
from fastapi import FastAPI
from pydantic import BaseModel

MODELS = Path(os.environ["MODELS"])
VERSION = (MODELS / "current").read_text().strip()
THRESHOLD = json.loads((MODELS / VERSION / "model_card.json").read_text())["threshold"]

ml_models: dict[str, Any] = {}
of_thread = threading.local()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    ml_models["spam"] = joblib.load(MODELS / VERSION / "model.joblib")
    yield


app = FastAPI(lifespan=lifespan)


class Message(BaseModel):
    text: str


@app.post("/predict")
def predict(message: Message):
    started = time.perf_counter()
    probability = float(ml_models["spam"].predict_proba([message.text])[0, 1])
    label = "spam" if probability >= THRESHOLD else "ham"
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    if not hasattr(of_thread, "connection"):
        of_thread.connection = connect()
    id_ = add(of_thread.connection, message.text, label, probability, THRESHOLD, VERSION, latency_ms)
    return {"id": id_, "label": label, "spam_probability": probability, "model_version": VERSION}

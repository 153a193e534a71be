"""Flask as the tutorials show it: predict_proba, and a new SQLite connection and a commit for each request.

After Flask's documentation: "Using SQLite 3 with Flask" and "Deploying to Production: Gunicorn". Unlike the tutorials,
it writes to a write-ahead log, as all peers that log do; SQLite's default would be slower.

    MODELS=... DATABASE=... PYTHONPATH=<repository> gunicorn flask_tutorial:app --bind 127.0.0.1:PORT

Start it in this folder, after _log.py: in the repository's, gunicorn would take Hamlet's gunicorn.conf.py.
"""

import json
import os
import sqlite3
import time
from pathlib import Path

import joblib
from _log import add, connect
from flask import Flask, Response, g, jsonify, request

MODELS = Path(os.environ["MODELS"])
VERSION = (MODELS / "current").read_text().strip()
THRESHOLD = json.loads((MODELS / VERSION / "model_card.json").read_text())["threshold"]

app = Flask(__name__)
model = joblib.load(MODELS / VERSION / "model.joblib")


def get_db() -> sqlite3.Connection:
    if "db" not in g:
        g.db = connect()
    return g.db


@app.teardown_appcontext
def close_connection(_error: BaseException | None) -> None:
    db = g.pop("db", None)
    if db is not None:
        db.close()


@app.post("/predict")
def predict() -> Response:
    started = time.perf_counter()
    text = request.get_json()["text"]
    probability = float(model.predict_proba([text])[0, 1])
    label = "spam" if probability >= THRESHOLD else "ham"
    latency_ms = round((time.perf_counter() - started) * 1000, 3)
    id_ = add(get_db(), text, label, probability, THRESHOLD, VERSION, latency_ms)
    return jsonify(id=id_, label=label, spam_probability=probability, model_version=VERSION)

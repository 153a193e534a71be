"""Serve model.pkl, and log every prediction before it is answered."""

import hashlib
import json
import pickle
import sqlite3
import sys
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import log
import sklearn
from flask import Flask, render_template_string, request

PAGE = """<form method="post"><input name="text" size="60"><button>Check</button></form>
{% if result %}<p>"{{ result.text }}" is {{ result.label }}, {{ result.spam_probability }}</p>{% endif %}
"""
COUNTS = """<table><tr><th>day<th>model<th>messages<th>spam<th>ms
{% for row in rows %}<tr><td>{{ row | join("<td>"|safe) }}
{% endfor %}</table>
"""


def load():
    card = json.loads(Path("model.json").read_text())
    content = Path("model.pkl").read_bytes()
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        sys.exit("model.pkl is not the file that train.py saved. Run train.py again.")
    if card["scikit_learn"] != sklearn.__version__:
        sys.exit(f"model.pkl was saved with scikit-learn {card['scikit_learn']}, this is {sklearn.__version__}.")
    return pickle.loads(content), card["sha256"][:8]


app = Flask(__name__)
model, version = load()


def check(text):
    start = time.perf_counter()
    spam_probability = model.predict_proba([text])[0][1]
    row = {
        "id": str(uuid.uuid4()),
        "created_at": datetime.now(UTC).isoformat(),
        "text": text,
        "label": "spam" if spam_probability > 0.5 else "ham",
        "spam_probability": round(spam_probability, 2),
        "model_version": version,
        "latency_ms": round((time.perf_counter() - start) * 1000, 1),
    }
    log.add(row)  # before the answer: answered means stored
    return row


@app.errorhandler(sqlite3.Error)
def log_unavailable(error):
    return {"error": "The log cannot be written, so there is no answer. Try again."}, 503


@app.route("/", methods=["GET", "POST"])
def form():
    result = check(request.form["text"]) if request.method == "POST" else None
    return render_template_string(PAGE, result=result)


@app.post("/predict")
def predict():
    body = request.get_json()
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"error": 'send {"text": "..."} with a text that is not empty'}, 422
    return check(text)


@app.get("/predictions/<prediction_id>")
def show(prediction_id):
    row = log.find(prediction_id)
    return dict(row) if row else ({"error": "no such prediction"}, 404)


@app.get("/counts")
def counts():
    return render_template_string(COUNTS, rows=log.counts())

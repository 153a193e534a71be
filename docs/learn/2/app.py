"""Serve model.pkl, once it is known to be the one that train.py saved."""

import hashlib
import json
import pickle
import sys
from pathlib import Path

import sklearn
from flask import Flask, render_template_string, request

HISTORY = Path("history.jsonl")  # one line of JSON for each message
PAGE = """<form method="post"><input name="text" size="60"><button>Check</button></form>
{% if result %}<p>"{{ result.text }}" is {{ result.label }}, {{ result.spam_probability }}</p>{% endif %}
<p>{{ messages }} messages checked.</p>
"""


def load():
    card = json.loads(Path("model.json").read_text())
    content = Path("model.pkl").read_bytes()
    if hashlib.sha256(content).hexdigest() != card["sha256"]:
        sys.exit("model.pkl is not the file that train.py saved. Run train.py again.")
    if card["scikit_learn"] != sklearn.__version__:
        sys.exit(f"model.pkl was saved with scikit-learn {card['scikit_learn']}, this is {sklearn.__version__}.")
    return pickle.loads(content)


app = Flask(__name__)
model = load()


def check(text):
    spam_probability = model.predict_proba([text])[0][1]
    label = "spam" if spam_probability > 0.5 else "ham"
    result = {"text": text, "label": label, "spam_probability": round(spam_probability, 2)}
    with HISTORY.open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def history():
    return [json.loads(line) for line in HISTORY.open()] if HISTORY.exists() else []


@app.route("/", methods=["GET", "POST"])
def form():
    result = check(request.form["text"]) if request.method == "POST" else None
    return render_template_string(PAGE, result=result, messages=len(history()))


@app.post("/predict")
def predict():
    body = request.get_json()
    text = body.get("text") if isinstance(body, dict) else None
    if not isinstance(text, str) or not text.strip():
        return {"error": 'send {"text": "..."} with a text that is not empty'}, 422
    return check(text)


@app.get("/history")
def show_history():
    return {"messages": len(history())}

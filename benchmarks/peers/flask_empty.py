"""The least that Flask can do: one route that answers "ok". What gunicorn and Flask cost is measured on it.

Served with Hamlet's own gunicorn.conf.py: same worker class, threads and access log.
"""

from flask import Flask

app = Flask(__name__)


@app.post("/")
def answer() -> str:
    return "ok"

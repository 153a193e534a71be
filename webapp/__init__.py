"""Hamlet puts a scikit-learn spam model into production: a form, a JSON API, and a log of every prediction.

The five steps of model deployment, and where they are:
train (model/training.py), save (model/artifact.py), serve (web/, api/), deploy (wsgi.py, gunicorn.conf.py),
monitor (log/, extras/review/, extras/monitor/).

Nothing is imported here: a saved model names webapp.model.features, and loading one must not need Flask.
"""

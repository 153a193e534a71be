"""Run train.py under a scikit-learn that calls itself 1.2.0, as only one version is installed here."""

import runpy

import sklearn.base

sklearn.__version__ = sklearn.base.__version__ = "1.2.0"
runpy.run_path("train.py")

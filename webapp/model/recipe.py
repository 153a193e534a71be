"""One's own recipe: module:name of an unfitted Pipeline, a search for its best parameters, or a function for either."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact, training
from webapp.model.data import Example
from webapp.model.importing import SEARCHES, without_probabilities
from webapp.model.scoring import make_model

ABOUT_Y = "y holds the words 'ham' and 'spam', whatever your file calls them."
ABOUT_X = "X is a list of str, one for each message."


def fit_with(name: str) -> training.Fit:
    """Return what fits the Pipeline of module:name, for training.train; both raise BadData."""
    make = load_recipe(name)

    def fit(examples: Sequence[Example], weights: Mapping[str, float]) -> Pipeline:
        try:
            pipeline = training.fit(examples, weights, make)
            make_model(pipeline, name, training.THRESHOLD)
        except (BadData, ModelUnusable) as error:
            raise BadData(f"--pipeline {name}: {error}") from error
        except Exception as error:  # it is somebody's own code
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise BadData(f"--pipeline {name} cannot be fitted ({reason}). {_hint(reason)}".rstrip()) from error
        return pipeline

    return fit


def load_recipe(name: str) -> Callable[[], Any]:
    """Return what makes the estimator of module:name; raises BadData, also where it could not be saved.

    The module is imported from the working directory, webapp/ or what is installed, which runs it.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute.isidentifier()):
        raise BadData(f"--pipeline {name}: write it as module:function, such as my_recipe:make_pipeline")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
        estimator = clone(found) if isinstance(found, BaseEstimator) else found()
    except Exception as error:  # it is somebody's own code
        where = f" {artifact.WHERE.capitalize()}" if isinstance(error, ImportError) else ""
        raise BadData(f"--pipeline {name} cannot be used ({type(error).__name__}: {error}).{where}") from error
    inner = estimator.estimator if isinstance(estimator, SEARCHES) else estimator
    if not isinstance(inner, Pipeline):
        raise BadData(
            f"--pipeline {name} gives no sklearn.pipeline.Pipeline, but a {type(estimator).__name__}. It takes the "
            "vectoriser and the classifier, as make_pipeline(TfidfVectorizer(), MultinomialNB()) does."
        )
    if not hasattr(estimator, "predict_proba"):
        raise BadData(f"--pipeline {name}: {without_probabilities(inner[-1])}")
    try:
        artifact.to_bytes(estimator, "pickle")
    except Exception as error:  # now, and not after the fit
        raise BadData(
            f"--pipeline {name} cannot be saved ({error}). Write a lambda or a function in a function as a function of "
            "its own in your module."
        ) from error
    return (lambda: clone(found)) if isinstance(found, BaseEstimator) else found


def _hint(reason: str) -> str:
    """Return what X or y is, where that is what failed."""
    if any(words in reason for words in ("'ham'", "'spam'", "pos_label", "classes", "scores are NaN")):
        return ABOUT_Y
    if any(words in reason for words in ("'list' object", "dataframe", "DataFrame", "2D array", "list indices")):
        return ABOUT_X
    return ""

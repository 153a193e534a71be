"""Train a Pipeline of your own: module:name of an unfitted one, of a search for its parameters, or of a function."""

import importlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Binarizer

from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact, training
from webapp.model.data import Example
from webapp.model.scoring import make_model

ABOUT = (
    "X is a list of str, one for each message, so a Pipeline begins with a vectoriser, as make_pipeline("
    "TfidfVectorizer(), MultinomialNB()) does; y holds the words 'ham' and 'spam', whatever your file calls them."
)


def unwrap(pipeline: Any) -> Any:
    """Return a fitted estimator without the search for its best parameters, and no Pipeline in another; raises BadData.

    So each step shows: what the classifier gets are the values of its terms.
    """
    if isinstance(pipeline, Pipeline):
        steps: list[tuple[str, Any]] = []
        for name, step in pipeline.steps:
            plain = unwrap(step)
            is_pipeline = isinstance(plain, Pipeline)
            steps += [(f"{name}_{of}", inner) for of, inner in plain.steps] if is_pipeline else [(name, plain)]
        bayes = steps[-1][1]
        if hasattr(bayes, "feature_count_") and getattr(bayes, "binarize", None) is not None:
            # BernoulliNB asks only which words are there.
            steps.insert(-1, ("there", Binarizer(threshold=bayes.binarize).fit(bayes.feature_count_)))
            bayes.binarize = None
        return Pipeline(steps)
    if isinstance(pipeline, (FixedThresholdClassifier, TunedThresholdClassifierCV)):
        raise BadData(f"{type(pipeline).__name__} has a threshold of its own: give its estimator, and say --threshold")
    if not hasattr(pipeline, "best_estimator_"):
        return pipeline
    if np.isnan(getattr(pipeline, "best_score_", 0)):  # it has none where a function chooses
        raise BadData(
            "no parameters could be scored. With scoring='f1' the class 1 is looked for: take "
            "make_scorer(f1_score, pos_label='spam'), or scoring='accuracy'"
        )
    return unwrap(pipeline.best_estimator_)


def fit_with(name: str) -> training.Fit:
    """Return what fits the Pipeline of module:name, for training.train; both raise BadData."""
    recipe = load_recipe(name)

    def fit(examples: Sequence[Example], weights: Mapping[str, float]) -> Pipeline:
        try:
            with warnings.catch_warnings():
                for scores in ("Scoring failed", "One or more of the test scores"):
                    warnings.filterwarnings("ignore", scores)  # `unwrap` says so in one line
                pipeline = unwrap(training.fit(examples, weights, recipe))
            make_model(pipeline, name, training.THRESHOLD)
        except (BadData, ModelUnusable) as error:
            raise BadData(f"--pipeline {name}: {error}") from error
        except Exception as error:  # it is the user's code
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"  # it may quote all messages
            raise BadData(f"--pipeline {name} cannot be fitted ({reason}). {ABOUT}") from error
        return pipeline

    return fit


def load_recipe(name: str) -> Pipeline:
    """Return the unfitted Pipeline of module:name; raises BadData, also where it could not be saved.

    The module is imported from the working directory, webapp/ or what is installed, which runs it.
    """
    module, _, attribute = name.partition(":")
    if not (module and attribute.isidentifier()):
        raise BadData(f"--pipeline {name}: write it as module:function, such as my_recipe:make_pipeline")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), attribute)
        estimator = clone(found) if isinstance(found, BaseEstimator) else found()  # it may be fitted
    except Exception as error:  # it is the user's code
        where = f" {artifact.WHERE}" if isinstance(error, ImportError) else ""
        raise BadData(f"--pipeline {name} cannot be used ({type(error).__name__}: {error}).{where}") from error
    if not isinstance(estimator, BaseEstimator):
        raise BadData(f"--pipeline {name} gives no sklearn.pipeline.Pipeline, but a {type(estimator).__name__}.")
    try:
        artifact.to_bytes(estimator, "pickle")
    except Exception as error:  # now, and not after the fit
        raise BadData(
            f"--pipeline {name} cannot be saved ({error}). Write a lambda or a function in a function as a function of "
            "its own in your module."
        ) from error
    # A search for parameters, or a vote of several Pipelines, takes texts, too.
    return estimator if isinstance(estimator, Pipeline) else Pipeline([("model", estimator)])

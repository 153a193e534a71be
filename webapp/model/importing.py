"""Bring your own model: what was fitted elsewhere, in a notebook say, becomes a Pipeline that Hamlet can serve."""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from webapp.config import FLASK
from webapp.errors import BadData, ModelUnusable
from webapp.model.artifact import from_bytes
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.scoring import SpamModel, make_model

SEARCHES = (GridSearchCV, RandomizedSearchCV)  # for the best parameters
CLASSES = ({"ham", "spam"}, {"0", "1"}, {"false", "true"})  # that are ham and spam unless other words are given
VERSION_IN_PICKLE = re.compile(rb"_sklearn_version.{1,8}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)


class Source(NamedTuple):
    """A file that somebody brought, as it was read."""

    path: Path
    content: bytes
    sha256: str
    format: str  # pickle, joblib or skops

    @property
    def runs_code(self) -> bool:
        """Return whether to load it is to run what is in it."""
        return self.format != "skops"


def read_source(path: Path) -> Source:
    """Read a file without loading it; raises BadData."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}") from error
    file_format = "skops" if content.startswith(b"PK") else "joblib"  # joblib reads what pickle has written, too
    return Source(path, content, hashlib.sha256(content).hexdigest(), file_format)


def import_model(source: Source, vectorizer: Source | None, labels: Labels | None, threshold: float) -> SpamModel:
    """Load the files and return a model that serves, with what people call its labels.

    Unless they are of skops, loading them runs the code in them. Raises BadData, which says what to do.
    """
    model, own = _load(source), vectorizer and _load(vectorizer)
    if own is not None and not hasattr(model, "predict") and hasattr(own, "predict"):
        raise BadData(f"{source.path} is the vectoriser and {vectorizer and vectorizer.path} the model: swap the two.")
    pipeline = unwrap(_joined(model, own, source))
    try:
        check_is_fitted(pipeline)
        classes = [str(name).lower() for name in pipeline.classes_]
    except (NotFittedError, AttributeError) as error:
        raise BadData(f"{source.path} is not fitted: save the model after model.fit(X, y).") from error
    if not hasattr(pipeline, "predict_proba"):
        raise BadData(without_probabilities(pipeline[-1]))
    try:
        return make_model(pipeline, "imported", threshold, labels or _labels_of(classes, source))
    except ModelUnusable as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise BadData(f"{source.path} cannot be served: {reason}. {_advice(error, own)}".rstrip()) from error


def unwrap(pipeline: Any) -> Any:
    """Return a fitted estimator without the search for its best parameters, around it or at its end; raises BadData."""
    if isinstance(pipeline, Pipeline):
        return Pipeline([*pipeline.steps[:-1], (pipeline.steps[-1][0], unwrap(pipeline[-1]))])
    if not hasattr(pipeline, "best_estimator_"):
        return pipeline
    if np.isnan(pipeline.cv_results_["mean_test_score"]).all():
        raise BadData(
            "no parameters could be scored. With scoring='f1' the class 1 is looked for: take "
            "make_scorer(f1_score, pos_label='spam'), or scoring='accuracy'"
        )
    return unwrap(pipeline.best_estimator_)


def without_probabilities(classifier: Any) -> str:
    """Return what to do with a classifier without predict_proba."""
    return (
        f"{type(classifier).__name__} gives no probabilities (predict_proba). "
        "Wrap it into sklearn.calibration.CalibratedClassifierCV and fit it again."
    )


def _load(source: Source) -> Any:
    saved_with = VERSION_IN_PICKLE.search(source.content)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = from_bytes(source.content, source.format)
    except ModelUnusable as error:
        raise BadData(f"{source.path}: {error}") from error
    except Exception as error:  # unpickling may raise anything
        if saved_with and saved_with[1].decode() != sklearn.__version__:
            raise BadData(_other_version(source, saved_with[1].decode())) from error
        raise BadData(f"{source.path} cannot be loaded ({type(error).__name__}: {error}). {_missing(error)}") from error
    for warning in caught:
        if isinstance(warning.message, InconsistentVersionWarning):
            raise BadData(_other_version(source, warning.message.original_sklearn_version))
    return loaded


def _other_version(source: Source, version: str) -> str:
    return (
        f"{source.path} was saved with scikit-learn {version}, and {sklearn.__version__} is installed: models do not "
        f"carry over. Fit and save it again with scikit-learn {sklearn.__version__} (pip install "
        f"scikit-learn=={sklearn.__version__} where you train), or have Hamlet do it: {FLASK} train FILE."
    )


def _missing(error: Exception) -> str:
    """Return what to do where a part of a pickle is not there."""
    if isinstance(error, ModuleNotFoundError):
        return f"Install {error.name}, or if it is a module of yours, put it beside wsgi.py."
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return (
            "That function or class was defined in the notebook or script itself, so no file has it. Move it into a "
            "module, say my_text.py beside wsgi.py, import it from there in your script, and fit and save again."
        )
    return "Take a file that pickle.dump, joblib.dump or skops.io.dump has written."


def _joined(model: Any, vectorizer: Any, source: Source) -> Any:
    """Return the Pipeline of a model and its vectoriser, or the model itself where it reads texts."""
    if isinstance(model, (Pipeline, *SEARCHES)) and vectorizer is None:
        return model
    if not hasattr(model, "predict"):
        what = (
            "the vectoriser: give it as --vectorizer FILE, and the model first" if hasattr(model, "transform") else ""
        )
        raise BadData(
            f"{source.path} holds a {type(model).__name__}, no classifier. {what and f'It is {what}.'}".rstrip()
        )
    if vectorizer is None:
        raise BadData(
            f"{source.path} holds a {type(model).__name__}, which takes numbers and not texts: give the fitted "
            "vectoriser that it was trained with, too (--vectorizer FILE)."
        )
    if not hasattr(vectorizer, "transform"):
        raise BadData(f"--vectorizer: a {type(vectorizer).__name__} is no vectoriser (it has no transform).")
    return Pipeline([("vectorizer", vectorizer), ("classifier", unwrap(model))])


def _labels_of(classes: list[str], source: Source) -> Labels:
    if len(classes) != 2:
        raise BadData(f"{source.path} tells {len(classes)} classes apart ({', '.join(classes[:5])}); Hamlet takes two.")
    if set(classes) in CLASSES:
        return SPAM_OR_HAM
    one, other = sorted(classes)
    raise BadData(
        f"{source.path} tells {one} and {other} apart. Say which of them is looked for, the second one here: "
        f"--labels {one},{other} or --labels {other},{one}"
    )


def _advice(error: ModelUnusable, vectorizer: Any) -> str:
    if vectorizer is not None and "features" in str(error):
        return "The vectoriser is not the one that the model was trained with: save both after the same fit."
    if "predict_proba fails" in str(error):
        return "It must take a list of str, as a Pipeline with its vectoriser does."
    return ""

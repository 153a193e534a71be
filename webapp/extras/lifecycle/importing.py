"""Import a model that was fitted elsewhere, in a notebook say: a Pipeline, or a classifier and its vectoriser."""

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import sklearn
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from webapp.config import FLASK
from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.own_model import SEARCHES, unwrap
from webapp.model.scoring import SpamModel, make_model

VERSION_IN_PICKLE = re.compile(rb"_sklearn_version.{1,8}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)


class Source(NamedTuple):
    """A file that somebody brought, as it was read."""

    path: Path
    content: bytes
    sha256: str
    format: str  # joblib, which reads what pickle has written, too; or skops, which runs no code


def read_source(path: Path) -> Source:
    """Read a file without loading it; raises BadData."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadData(f"{path}: {error.strerror}") from error
    file_format = "skops" if content.startswith(b"PK") else "joblib"
    return Source(path, content, hashlib.sha256(content).hexdigest(), file_format)


def import_model(source: Source, vectorizer: Source | None, labels: Labels | None, threshold: float) -> SpamModel:
    """Load the files and return a model that serves; raises BadData, which says what to do.

    Unless they are of skops, loading them runs the code in them.
    """
    pipeline = unwrap(_joined(_load(source), vectorizer and _load(vectorizer), source))
    try:
        check_is_fitted(pipeline)
        return make_model(pipeline, "imported", threshold, labels or SPAM_OR_HAM)
    except NotFittedError as error:
        raise BadData(f"{source.path} is not fitted: save the model after model.fit(X, y).") from error
    except ModelUnusable as error:
        advice = ""
        if vectorizer and "features" in str(error):
            advice = " The vectoriser is not the one that the model was trained with: save both after the same fit."
        elif not vectorizer and "predict_proba fails" in str(error):
            advice = " It must take a list of str, as a Pipeline with its vectoriser does."
        raise BadData(f"{source.path} cannot be served: {' '.join(str(error).split()).rstrip('.')}.{advice}") from error


def _load(source: Source) -> Any:
    found = VERSION_IN_PICKLE.search(source.content)
    version = found[1].decode() if found else sklearn.__version__
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return artifact.from_bytes(source.content, source.format)
    except InconsistentVersionWarning as warning:
        version = warning.original_sklearn_version
    except ModelUnusable as error:
        raise BadData(f"{source.path}: {error}") from error
    except Exception as error:  # unpickling may raise anything
        if version == sklearn.__version__:
            reason = f"{source.path} cannot be loaded ({type(error).__name__}: {error})"
            raise BadData(f"{reason}. {_what_is_missing(error)}") from error
    raise BadData(
        f"{source.path} was saved with scikit-learn {version}, and {sklearn.__version__} is installed: models do not "
        f"carry over. Fit and save it again with scikit-learn {sklearn.__version__} (pip install "
        f"scikit-learn=={sklearn.__version__} where you train), or have Hamlet do it: {FLASK} train FILE."
    )


def _what_is_missing(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Install {error.name}, or if it is a module of yours, put it beside wsgi.py."
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return (
            "That function or class was defined in the notebook or script itself, so no file has it. Move it into a "
            "module, say my_text.py beside wsgi.py, import it from there in your script, and fit and save again."
        )
    return "Take a file that pickle.dump, joblib.dump or skops.io.dump has written."


def _joined(model: Any, vectorizer: Any, source: Source) -> Any:
    """Return the Pipeline of a model and its vectoriser, or the model itself where it reads texts; raises BadData."""
    holds = f"{source.path} holds a {type(model).__name__}"
    if not hasattr(model, "predict"):
        if hasattr(vectorizer, "predict"):
            raise BadData(f"{holds}, the vectoriser, and --vectorizer the model: swap the two.")
        if hasattr(model, "transform"):
            raise BadData(f"{holds}. It is the vectoriser: give it as --vectorizer FILE, and the model first.")
        raise BadData(f"{holds}, no classifier.")
    if vectorizer is None:
        if isinstance(model, (Pipeline, *SEARCHES)):
            return model
        raise BadData(
            f"{holds}, which takes numbers and not texts: give the fitted vectoriser that it was trained with, too "
            "(--vectorizer FILE)."
        )
    if not hasattr(vectorizer, "transform"):
        raise BadData(f"--vectorizer: a {type(vectorizer).__name__} is no vectoriser (it has no transform).")
    return Pipeline([("vectorizer", vectorizer), ("classifier", unwrap(model))])

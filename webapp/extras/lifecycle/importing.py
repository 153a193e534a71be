"""Import a model that was fitted elsewhere, in a notebook say: a Pipeline, or a classifier and its vectoriser."""

import hashlib
import re
import warnings
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple

import sklearn
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from webapp.config import FLASK
from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact
from webapp.model.labels import SPAM_OR_HAM, Labels
from webapp.model.own_model import unwrap
from webapp.model.scoring import PROBES, SpamModel, make_model

VERSION_IN_PICKLE = re.compile(rb"_sklearn_version.{1,8}?(\d+\.\d+(?:\.\w+)*)", re.DOTALL)
NEEDS_VECTORIZER = (
    " It must take a list of str. If it takes numbers and not texts, give the fitted vectoriser that it was trained "
    "with, too (--vectorizer FILE)."
)
OTHER_VECTORIZER = (
    " The vectoriser is not the one that the model was trained with (save both after the same fit), or the model reads "
    "texts itself (leave --vectorizer out)."
)


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
    pipeline = _joined(_load(source), vectorizer and _load(vectorizer), source)
    try:
        return make_model(pipeline, "imported", threshold, labels or SPAM_OR_HAM)
    except ModelUnusable as error:
        is_unfitted = hasattr(pipeline, "predict_proba") and not hasattr(pipeline, "classes_")
        if is_unfitted or isinstance(error.__cause__, NotFittedError):
            raise BadData(f"{source.path} or its vectoriser is not fitted: save them after the fit.") from error
        reason = f"{source.path} cannot be served: {' '.join(str(error).split()).rstrip('.')}."
        advice = OTHER_VECTORIZER if "vectorizer" in pipeline.named_steps else NEEDS_VECTORIZER
        raise BadData(f"{reason}{advice if 'predict_proba fails' in reason else ''}") from error


def _load(source: Source) -> Any:
    found = VERSION_IN_PICKLE.search(source.content)
    version = found[1].decode() if found else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return artifact.from_bytes(source.content, source.format)
    except InconsistentVersionWarning as warning:
        version = warning.original_sklearn_version
    except ModelUnusable as error:
        raise BadData(f"{source.path}: {error}") from error
    except Exception as error:  # unpickling may raise anything
        # Of a compressed file the version cannot be read: but if a part of scikit-learn is missing, it is another one.
        is_another = version != sklearn.__version__ if version else "sklearn" in str(error)
        if not is_another:
            reason = f"{source.path} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
            raise BadData(f"{reason}. {_what_is_missing(error)}") from error
    raise BadData(
        f"{source.path} was saved with scikit-learn {version or '(another version)'}, and {sklearn.__version__} is "
        f"installed: models do not carry over. Fit and save it again with scikit-learn {sklearn.__version__} (pip "
        f"install scikit-learn=={sklearn.__version__} where you train), or have Hamlet do it: {FLASK} train FILE."
    )


def _what_is_missing(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"Install {error.name}, or if it is a module of yours, put it beside wsgi.py."
    if isinstance(error, AttributeError) and "__main__" in str(error):
        return (
            "That function or class was defined in the notebook or script itself, so no file has it. Move it into a "
            "module, say my_text.py beside wsgi.py, import it from there in your script, and fit and save again."
        )
    return "Take a file that pickle.dump, joblib.dump or skops.io.dump has written, and unpack a zip first."


def _joined(model: Any, vectorizer: Any, source: Source) -> Any:
    """Return the Pipeline of a model and its vectoriser, or of the model alone; raises BadData."""
    holds = f"{source.path} holds a {type(model).__name__}"
    if isinstance(model, (list, tuple, dict)):  # several things in one file
        parts = list(model.values()) if isinstance(model, dict) else model
        models, vectorizers = ([part for part in parts if _has(part, name)] for name in ("predict", "transform"))
        vectorizers = [part for part in vectorizers if part not in models]
        if len(models) != 1 or len(vectorizers) > 1:
            raise BadData(f"{holds} and not one model: save the model in a file, and its vectoriser in another.")
        model, vectorizer = models[0], vectorizer or next(iter(vectorizers), None)
    if not _has(model, "predict"):
        if _has(vectorizer, "predict"):
            raise BadData(f"{holds}, the vectoriser, and --vectorizer the model: swap the two.")
        if _has(model, "transform"):
            raise BadData(f"{holds}. It is the vectoriser: give it as --vectorizer FILE, and the model first.")
        raise BadData(f"{holds}, no classifier.")
    model = unwrap(model)
    if vectorizer is None:  # a vote of several Pipelines takes texts, too
        return model if isinstance(model, Pipeline) else Pipeline([("model", model)])
    if not _has(vectorizer, "transform"):
        raise BadData(f"--vectorizer: a {type(vectorizer).__name__} is no vectoriser (it has no transform).")
    to_dense = [("dense", FunctionTransformer(methodcaller("toarray")))] if _needs_dense(model, vectorizer) else []
    return unwrap(Pipeline([("vectorizer", vectorizer), *to_dense, ("classifier", model)]))


def _has(estimator: Any, method: str) -> bool:
    """Return whether an object, no class, has a method of an estimator; a DataFrame has `transform`, but is none."""
    is_estimator = method == "predict" or hasattr(estimator, "fit")
    return is_estimator and hasattr(estimator, method) and not isinstance(estimator, type)


def _needs_dense(model: Any, vectorizer: Any) -> bool:
    """Return whether a classifier refuses what its vectoriser gives, as GaussianNB: it was fitted on X.toarray()."""
    try:
        model.predict(vectorizer.transform(PROBES))
    except Exception as error:  # whatever it is, make_model will meet it, too
        return "toarray()" in str(error)
    return False

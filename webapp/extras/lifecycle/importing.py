"""Import a model that was fitted elsewhere, in a notebook say: a Pipeline, or a classifier and its vectoriser."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path
from typing import Any

import sklearn
from sklearn.exceptions import InconsistentVersionWarning, NotFittedError
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from webapp.config import FLASK
from webapp.errors import BadData, ModelUnusable
from webapp.model import artifact
from webapp.model.labels import Labels
from webapp.model.own_model import unwrap
from webapp.model.scoring import PROBES, SpamModel, make_model

ABOUT = (
    "It must take a list of str. If it takes numbers and not texts, give the fitted vectoriser that it was trained "
    "with, saved after the same fit (--vectorizer FILE); several steps are one as make_pipeline(vectorizer, "
    "transformer), without another fit. If it reads texts itself, leave --vectorizer out."
)
OF_A_SCRIPT = (
    "That function or class was defined in the notebook or script itself, so no file has it. Move it into a module, "
    "say my_text.py beside wsgi.py, import it from there in your script, and fit and save again."
)
OTHER_FILE = (
    "Take a file that pickle.dump, joblib.dump or skops.io.dump has written, with scikit-learn "
    f"{sklearn.__version__}, and unpack a zip first."
)


def file_format(content: bytes) -> str:
    """Return "skops", which runs no code when it is loaded, or "joblib", which reads what pickle has written, too."""
    return "skops" if content.startswith(b"PK") else "joblib"


def import_model(files: Mapping[Path, bytes], labels: Labels, threshold: float) -> SpamModel:
    """Load the contents of files and return a model that serves; raises BadData, which says what to do.

    Unless they are of skops, loading them runs the code in them.
    """
    path, pipeline = next(iter(files)), _joined(files)
    try:
        return make_model(pipeline, "imported", threshold, labels)
    except ModelUnusable as error:
        is_unfitted = hasattr(pipeline, "predict_proba") and not hasattr(pipeline, "classes_")
        if is_unfitted or isinstance(error.__cause__, NotFittedError):
            raise BadData(f"{path} or its vectoriser is not fitted: save them after the fit.") from error
        reason = f"{path} cannot be served: {' '.join(str(error).split()).rstrip('.')}."
        raise BadData(f"{reason} {ABOUT}" if "predict_proba fails" in reason else reason) from error


def _load(path: Path, content: bytes) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", InconsistentVersionWarning)
            return artifact.from_bytes(content, file_format(content))
    except InconsistentVersionWarning as warning:
        raise BadData(
            f"{path} was saved with scikit-learn {warning.original_sklearn_version}, and {sklearn.__version__} "
            f"is installed: models do not carry over. Fit and save it again with scikit-learn {sklearn.__version__} "
            f"(pip install scikit-learn=={sklearn.__version__} where you train), or have Hamlet do it: {FLASK} train "
            "FILE."
        ) from warning
    except ModelUnusable as error:
        raise BadData(f"{path}: {error}") from error
    except Exception as error:  # unpickling may raise anything
        reason = f"{path} cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})"
        advice = OTHER_FILE
        if isinstance(error, ModuleNotFoundError) and not find_spec(str(error.name).partition(".")[0]):
            advice = f"Install {error.name}. {artifact.WHERE}"
        elif isinstance(error, AttributeError) and "__main__" in str(error):
            advice = OF_A_SCRIPT
        raise BadData(f"{reason}. {advice}") from error


def _joined(files: Mapping[Path, bytes]) -> Any:
    """Return the Pipeline of all that the files hold, one model and perhaps its vectoriser; raises BadData."""
    parts = [unwrap(part) for path, content in files.items() for part in _parts(_load(path, content))]
    models = [part for part in parts if hasattr(part, "predict")]
    others = [part for part in parts if not hasattr(part, "predict")]
    vectorizers = [part for part in others if hasattr(part, "transform") and hasattr(part, "fit")]  # no DataFrame
    fewest = len(files) - 1  # none where there is but one file: its model may take texts
    if len(models) != 1 or not fewest <= len(vectorizers) <= 1:
        found = f"{' and '.join(map(str, files))}: {', '.join(type(part).__name__ for part in parts)}"
        raise BadData(f"{found}. Give one fitted model and at most one vectoriser. {ABOUT}")
    (model,) = models
    if not vectorizers:  # a vote of several Pipelines takes texts, too
        return model if isinstance(model, Pipeline) else Pipeline([("model", model)])
    to_dense = [("dense", FunctionTransformer(methodcaller("toarray")))] if _needs_dense(model, *vectorizers) else []
    return unwrap(Pipeline([("vectorizer", *vectorizers), *to_dense, ("classifier", model)]))


def _parts(held: Any) -> Sequence[Any]:
    """Return the things that a file holds: some hold a list or a dict of them."""
    return list(held.values()) if isinstance(held, dict) else held if isinstance(held, (list, tuple)) else [held]


def _needs_dense(model: Any, vectorizer: Any) -> bool:
    """Return whether a classifier refuses what its vectoriser gives, as GaussianNB: it was fitted on X.toarray()."""
    try:
        model.predict(vectorizer.transform(PROBES))
    except Exception as error:  # whatever it is, make_model will meet it, too
        return "toarray()" in str(error)
    return False

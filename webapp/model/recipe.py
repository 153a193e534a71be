"""One's own recipe: a function, named module:function, that returns an unfitted Pipeline."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sklearn.pipeline import Pipeline

from webapp.errors import BadData
from webapp.model import training
from webapp.model.artifact import WHERE
from webapp.model.data import Example


def fit_with(name: str) -> training.Fit:
    """Return what fits the Pipeline of module:function, for training.train; both raise BadData."""
    make = load_recipe(name)

    def fit(examples: Sequence[Example], weights: Mapping[str, float]) -> Pipeline:
        try:
            return training.fit(examples, weights, make)
        except BadData:
            raise
        except Exception as error:  # it is somebody's own code
            raise BadData(f"--pipeline {name} cannot be fitted ({type(error).__name__}: {error})") from error

    return fit


def load_recipe(name: str) -> Callable[[], Pipeline]:
    """Return the function module:function, which is imported from the working directory, webapp/ or what is installed.

    Importing runs the module. Raises BadData, also where the function does not return a Pipeline with probabilities.
    """
    module, _, function = name.partition(":")
    if not (module and function.isidentifier()):
        raise BadData(f"--pipeline {name}: write it as module:function, such as my_recipe:make_pipeline")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        make: Callable[[], Pipeline] = getattr(importlib.import_module(module), function)
        pipeline = make()
    except Exception as error:  # it is somebody's own code
        raise BadData(f"--pipeline {name} cannot be used ({type(error).__name__}: {error}): {WHERE}") from error
    if not isinstance(pipeline, Pipeline):
        raise BadData(f"--pipeline {name} returns no sklearn.pipeline.Pipeline, but a {type(pipeline).__name__}")
    if not hasattr(pipeline, "predict_proba"):
        raise BadData(
            f"--pipeline {name}: {type(pipeline[-1]).__name__} gives no probabilities (predict_proba). "
            "Wrap it into sklearn.calibration.CalibratedClassifierCV."
        )
    return make

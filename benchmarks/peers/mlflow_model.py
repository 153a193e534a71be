"""Save the model for `mlflow models serve`: predict_proba, no log.

After MLflow's documentation: "mlflow.sklearn" (save_model), "Deploy MLflow Model as a Local Inference Server" (by
default one uvicorn worker) and "Usage Tracking" (how to switch that off).

    MODELS=... PYTHONPATH=<repository> MLFLOW_DISABLE_TELEMETRY=true python mlflow_model.py FOLDER
    PYTHONPATH=<repository> MLFLOW_DISABLE_TELEMETRY=true mlflow models serve -m FOLDER -p PORT --env-manager local

The repository is on PYTHONPATH so that the pickle finds webapp.model.features. The second command looks for `uvicorn`
on PATH, so the environment's bin/ must come first there.
"""

import os
import sys
from pathlib import Path

import joblib
import mlflow.sklearn

MODELS = Path(os.environ["MODELS"])
VERSION = (MODELS / "current").read_text().strip()

mlflow.sklearn.save_model(
    joblib.load(MODELS / VERSION / "model.joblib"),
    sys.argv[1],
    serialization_format=mlflow.sklearn.SERIALIZATION_FORMAT_CLOUDPICKLE,  # skops knows only scikit-learn's own classes
    pip_requirements=["scikit-learn"],  # else MLflow starts a process to find out; unused with --env-manager local
    pyfunc_predict_fn="predict_proba",
)

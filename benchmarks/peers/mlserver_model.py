"""Write the settings with which MLServer serves the model in one process: predict_proba, no log.

After MLServer's documentation: "SKLearn" (the runtime; a request names the output predict_proba), "Content Types" (and
says that its input is str) and "Parallel Inference" (parallel_workers 0: no other process).

    MODELS=... python mlserver_model.py FOLDER PORT
    PYTHONPATH=<repository> mlserver start FOLDER

It takes the two ports after PORT as well, for gRPC and for its metrics.
"""

import json
import os
import sys
from pathlib import Path

MODELS = Path(os.environ["MODELS"]).resolve()
VERSION = (MODELS / "current").read_text().strip()

folder, port = Path(sys.argv[1]), int(sys.argv[2])
settings = {
    "debug": False,
    "parallel_workers": 0,
    "host": "127.0.0.1",
    "http_port": port,
    "grpc_port": port + 1,
    "metrics_port": port + 2,
}
model_settings = {
    "name": "spam",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "parameters": {"uri": str(MODELS / VERSION / "model.joblib"), "version": VERSION},
}
folder.mkdir(parents=True, exist_ok=True)
(folder / "settings.json").write_text(json.dumps(settings, indent=2))
(folder / "model-settings.json").write_text(json.dumps(model_settings, indent=2))

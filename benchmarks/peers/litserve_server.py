"""LitServe with one worker: predict_proba, no log.

After LitServe's documentation: "LitAPI" (setup, decode_request, predict, encode_response) and "LitServer" (fast_queue
for more than 100 requests a second).

    MODELS=... PYTHONPATH=<repository> python litserve_server.py PORT
"""

import os
import sys
from pathlib import Path
from typing import Any

import joblib
import litserve as ls


class SpamAPI(ls.LitAPI):
    def setup(self, device: str) -> None:
        models = Path(os.environ["MODELS"])
        self.version = (models / "current").read_text().strip()
        self.model = joblib.load(models / self.version / "model.joblib")

    def decode_request(self, request: dict[str, str]) -> str:
        return request["text"]

    def predict(self, x: str) -> float:
        return float(self.model.predict_proba([x])[0, 1])

    def encode_response(self, output: float) -> dict[str, Any]:
        return {"spam_probability": output, "model_version": self.version}


if __name__ == "__main__":
    server = ls.LitServer(SpamAPI(), accelerator="cpu", workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False)

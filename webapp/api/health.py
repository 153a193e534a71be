"""For load balancers and process managers: is the process up, and can it do its work?"""

from flask import Response, current_app, jsonify
from flask_openapi3 import APIBlueprint, Tag

from webapp.api.docs import responses
from webapp.api.schemas import Health
from webapp.inference import Inference

blueprint = APIBlueprint(
    "health", __name__, abp_tags=[Tag(name="health", description="For load balancers and monitoring.")]
)


@blueprint.get("/healthz", summary="Is the process up?", responses=responses(Health))
def healthz() -> Response:
    """Always ok while the process answers."""
    return jsonify(status="ok")


@blueprint.get("/readyz", summary="Can it do its work?", responses=responses(Health))
def readyz() -> Response:
    """Ok when the current model is whole, loaded and served, and the log's database was just written to."""
    inference: Inference = current_app.extensions["inference"]
    inference.log.check()
    inference.registry.check()
    return jsonify(status="ok")

"""The models page: the saved versions, which one is served, and what each was trained on."""

from typing import Any, NamedTuple

from flask import Blueprint, current_app, render_template

from webapp.errors import HamletError
from webapp.inference import Inference
from webapp.model import artifact
from webapp.web.login import signed_in_only

blueprint = Blueprint("models", __name__)
blueprint.before_request(signed_in_only)


class Version(NamedTuple):
    """A line of the table: its card, or why it cannot be used."""

    name: str
    is_served: bool
    card: dict[str, Any]
    fault: str


@blueprint.get("/models")
def page() -> str:
    """Show all versions, newest first."""
    inference: Inference = current_app.extensions["inference"]
    registry = inference.registry
    try:
        served = registry.current().version
    except HamletError:
        served = ""
    versions = []
    for name in reversed(registry.versions()):
        try:
            versions.append(Version(name, name == served, artifact.verify(registry.folder, name), ""))
        except HamletError as error:
            versions.append(Version(name, name == served, {}, str(error)))
    return render_template("models.html", versions=versions)

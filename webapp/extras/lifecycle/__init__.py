"""From one version of the model to the next: shadow test, comparison, retraining, promotion and rollback."""

from functools import partial

from flask_openapi3 import OpenAPI

from webapp.cli.models import models, use_model
from webapp.extras.lifecycle import challenger, routes
from webapp.extras.lifecycle.commands import retrain, retrain_job
from webapp.extras.lifecycle.retraining import reviews_to_learn
from webapp.extras.lifecycle.switching import record_use


def init_app(app: OpenAPI) -> None:
    """Add the pages and commands, write down each switch, and let the challenger score every message."""
    inference = app.extensions["inference"]
    inference.registry.around_use = partial(record_use, app.extensions["engine"])
    inference.before_store.append(partial(challenger.score, inference, set()))
    models.add_command(use_model, "promote")  # as others call it
    routes.blueprint.cli.add_command(retrain)
    app.register_blueprint(routes.blueprint, cli_group=None)
    app.extensions["reviews_to_learn"] = partial(reviews_to_learn, app.extensions["engine"], inference.registry)
    app.extensions["runner"].kinds["retrain"] = retrain_job
    app.extensions["private_menu"].append(("models.page", "Models"))

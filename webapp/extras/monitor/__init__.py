"""Step 5, monitor: accuracy, drift, latency, errors and traffic of a range of the log."""

from flask_openapi3 import OpenAPI

from webapp.api import register_json
from webapp.cli.log import log
from webapp.extras.monitor import api, routes
from webapp.extras.monitor.commands import monitor, recount_log
from webapp.extras.monitor.rollups import forget_sums
from webapp.extras.review.reviews import has_reviews


def init_app(app: OpenAPI) -> None:
    """Add the monitor page, its route of the API, and its commands; delete the hourly sums after a purge."""
    routes.blueprint.cli.add_command(monitor)
    log.add_command(recount_log)
    app.register_blueprint(routes.blueprint, cli_group=None)
    register_json(app, api.blueprint)
    app.extensions["private_menu"].append(("monitor.page", "Monitor"))
    # The form's page says what comes next after the first sign-in.
    app.jinja_env.globals["nothing_reviewed"] = lambda: not has_reviews(app.extensions["engine"])
    app.extensions["purge_hooks"].append(lambda connection, _before: forget_sums(connection))

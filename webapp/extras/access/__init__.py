"""Who may come in: the admin password, sign-ins, API keys, and the wait after wrong passwords."""

from pathlib import Path

from flask_openapi3 import OpenAPI

from webapp import config
from webapp.extras.access import keys, routes
from webapp.extras.access.commands import api_key, set_password
from webapp.extras.access.passwords import AdminPassword


def init_app(app: OpenAPI) -> None:
    """Add signing in and out, the guard of routes that need an API key, and the commands for both."""
    password = AdminPassword(Path(app.instance_path), app.config["ADMIN_PASSWORD"], str(app.secret_key))
    try:
        password.make_first()
    except OSError as error:
        config.cannot_start(f"the folder {app.instance_path} cannot be used", error)
    app.extensions["admin_password"] = password
    app.security_schemes = keys.SCHEMES
    app.context_processor(routes.who_is_here)
    for command in (set_password, api_key):
        routes.blueprint.cli.add_command(command)
    app.register_blueprint(routes.blueprint, cli_group=None)
    if not app.config["PUBLIC"]:
        # Before what the blueprints do by themselves: without a key nothing of a request is read.
        app.before_request_funcs.setdefault("api", []).insert(0, keys.api_key_required)
        app.before_request_funcs.setdefault("check", []).insert(0, routes.login_required)

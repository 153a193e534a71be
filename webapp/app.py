"""Wires the app together: settings, log, model, the interfaces of the core, and then each extra."""

import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from flask_bootstrap import Bootstrap5
from flask_wtf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError

from webapp import api, cli, config, http, web
from webapp.api.routes import DocumentedApp
from webapp.errors import LogUnavailable
from webapp.inference import Inference
from webapp.instance import refuse_exposed, secret_key
from webapp.log.database import open_database
from webapp.log.tables import create_tables
from webapp.log.writer import LogWriter
from webapp.model.registry import ModelRegistry

# In the order of the menu. Each is a package of webapp/extras/ with a function init_app(app), and can be left out,
# together with those that stand on it (docs/architecture.md).
EXTRAS = ("access", "batch", "review", "monitor", "lifecycle", "prometheus", "stream", "tools")


def create_app(
    instance_folder: Path = config.INSTANCE_FOLDER, extras: Sequence[str] = EXTRAS, **settings: object
) -> DocumentedApp:
    """Return the app; `settings` override the HAMLET_ environment variables (for tests)."""
    app = DocumentedApp(  # Flask, and it documents its API
        __name__,
        instance_path=str(instance_folder),
        template_folder=config.ROOT / "templates",
        static_folder=config.ROOT / "static",
        **api.DOCUMENT,
    )
    app.config.from_mapping(config.read_all() | settings | config.FIXED)
    try:
        instance_folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds people's messages
        refuse_exposed(instance_folder)
        app.secret_key = str(app.config["SECRET_KEY"] or secret_key(instance_folder))
        # Cookies know no ports: under one name, a second app on this host would sign people out.
        app.config["SESSION_COOKIE_NAME"] = f"hamlet_{sha256(app.secret_key.encode()).hexdigest()[:8]}"
        engine = open_database(app.config["DATABASE_URL"], instance_folder)
        create_tables(engine)
    except (OSError, SQLAlchemyError, LogUnavailable) as error:
        config.cannot_start(f"the log or its folder {instance_folder} cannot be used", error)
    engine.dispose()  # gunicorn forks its workers from this process, and a connection must not be shared
    log = LogWriter(engine, hash_key=None if app.config["STORE_TEXT"] else app.secret_key.encode())
    registry = ModelRegistry(config.ROOT / app.config["MODELS_FOLDER"])  # loads the model when first asked for it
    inference = Inference(registry, log)
    app.extensions |= {"engine": engine, "inference": inference}

    http.register(app)  # first: what CSRF protection refuses gets a request id and a page too
    Bootstrap5(app)
    CSRFProtect(app)
    web.register(app)
    api.register(app)
    cli.register(app)
    for name in extras:
        import_module(f"webapp.extras.{name}").init_app(app)
    if "access" not in extras and (app.extensions["private_menu"] or not app.config["PUBLIC"]):
        sys.exit("Private pages and HAMLET_PUBLIC=false need the extra `access`: it asks for the sign-in and API keys")
    return app

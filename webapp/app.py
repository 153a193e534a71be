"""Wires the app together: settings, log, model, doors."""

import sys
from contextlib import suppress
from pathlib import Path

from flask_bootstrap import Bootstrap5
from flask_openapi3 import OpenAPI
from flask_wtf import CSRFProtect
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp import api, cli, config, http, web
from webapp.access.passwords import AdminPassword
from webapp.access.private_files import secret_key
from webapp.errors import LogUnavailable, ModelUnusable
from webapp.inference import Inference
from webapp.log.database import open_database
from webapp.log.migrations import migrate
from webapp.log.writer import LogWriter
from webapp.model.registry import ModelRegistry
from webapp.monitoring.metrics import Metrics


def create_app(instance_folder: Path = config.INSTANCE_FOLDER, **settings: object) -> OpenAPI:
    """Return the app; `settings` override the HAMLET_ environment variables (for tests)."""
    app = OpenAPI(
        __name__,
        instance_path=str(instance_folder),
        template_folder=config.ROOT / "templates",
        static_folder=config.ROOT / "static",
        **api.document(config.VERSION),
    )
    app.config.from_mapping(config.DEFAULTS)
    app.config.from_prefixed_env("HAMLET")
    app.config.from_mapping(config.texts())
    app.config.from_mapping(settings)
    app.config.from_mapping(config.FIXED)
    config.check(app.config)
    try:
        instance_folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds people's messages
        given = app.config["SECRET_KEY"]
        app.secret_key = secret_key(instance_folder) if given is None else str(given)
        engine = open_database(app.config["DATABASE_URL"], instance_folder)
        migrate(engine)
        admin_password = AdminPassword(instance_folder, app.config["ADMIN_PASSWORD"], app.secret_key)
        admin_password.make_first()
    except (OSError, SQLAlchemyError, ImportError, LogUnavailable) as error:
        reason = getattr(error, "orig", error)  # in one line: without SQLAlchemy's words around it
        sys.exit(f"Hamlet cannot start: the log or its folder {instance_folder} cannot be used ({reason})")
    engine.dispose()  # gunicorn forks its workers from this process, and a connection must not be shared
    app.extensions["engine"] = engine
    app.extensions["admin_password"] = admin_password
    app.extensions["inference"] = Inference(
        ModelRegistry(config.ROOT / app.config["MODELS_FOLDER"]),
        LogWriter(engine),
        Metrics(),
        store_text=app.config["STORE_TEXT"],
        hash_key=app.secret_key,
    )
    with suppress(ModelUnusable):  # it was logged; the app starts all the same and says what is wrong when asked
        app.extensions["inference"].models()  # before the workers are forked: they share its memory

    http.register(app)  # before CSRF protection: what that refuses gets a request id and a page too
    Bootstrap5(app)
    csrf = CSRFProtect(app)
    web.register(app)
    api.register(app, csrf)
    cli.register(app)
    if proxies := app.config["TRUSTED_PROXIES"]:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)  # type: ignore[method-assign]
    return app

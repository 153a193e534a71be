"""Every setting of Hamlet, once: its name, its default, which values it takes, and why.

Set one by an environment variable: HAMLET_STORE_TEXT=false, say; HOST and PORT have no prefix, as on every platform.
Platforms give two more by names of their own: DATABASE_URL and WEB_CONCURRENCY count where ours are not set.
docs/reference.md holds the same list for users; a test compares the two. To add a setting, add a line to Settings and
use current_app.config["ITS_NAME"].
"""

import os
import re
import shlex
import socket
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import AfterValidator, BaseModel, Field, ValidationError

VERSION = "0.1.0"
ROOT = Path(__file__).resolve().parent.parent
PROJECT_SET = ROOT / "webapp" / "model" / "messages.csv"  # labelled messages of our own

# --- Limits: fixed, because they are promises in the API's documentation ---
MAX_TEXT_LENGTH = 10_000  # characters; the longest message that the model was measured on
MAX_BATCH = 1_000  # texts in one request; more belongs into a file
MAX_BODY = 1024 * 1024  # bytes of a request
MAX_UPLOAD = 50 * 1024 * 1024  # bytes of a file on the batch page; the command takes any size
MAX_UNPACKED = 10 * MAX_UPLOAD  # bytes of what is in it: messages shrink to a third, and only a bomb to a thousandth
JOBS_KEPT_DAYS = 7  # then a job and its files, people's messages, are deleted
MIN_PASSWORD_LENGTH = 8  # characters; less can be guessed, however slowly
MIN_KEY_LENGTH = 32  # characters; it is guessed without asking the server, so as fast as computers can


# --- Settings ---
ORIGIN = re.compile(r"[a-z][\w+.-]{0,30}://(\[[0-9a-f:]+\]|[\w.-]+)(:\d+)?", re.ASCII)


def _check_host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        other = "conda's compilers set it to something else: unset it then"
        raise ValueError(f"must be an address, such as 127.0.0.1, 0.0.0.0 or ::; {other}") from error
    return host


def check_password(text: str) -> str:
    """Return a password that can be typed and is not soon guessed; raises ValueError."""
    if len(text) < MIN_PASSWORD_LENGTH:
        raise ValueError(f"must have {MIN_PASSWORD_LENGTH} characters or more")
    if not text.isprintable():
        raise ValueError("has a character that no form takes, such as a tab, or one that is not UTF-8")
    return text


def _check_origins(text: str) -> str:
    origins = text.lower().split()
    if not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError("must be origins such as https://www.example.org, without a path, separated by blanks")
    # As browsers write them: in small letters, and without the port that is the usual one.
    return " ".join(origin.removesuffix(":443" if origin.startswith("https:") else ":80") for origin in origins)


Folder = Annotated[str, Field(min_length=1), AfterValidator(os.path.expanduser)]  # only a shell would see to a ~


class Settings(BaseModel):
    """What may be set, each with its default. The value of a secret (repr=False) is never shown."""

    HOST: Annotated[str, AfterValidator(_check_host)] = "127.0.0.1"  # this machine only; 0.0.0.0 opens it to others
    PORT: int = Field(8000, ge=1, le=65_535)
    # Two workers use a second core and survive the loss of one; more than four gain nothing on one SQLite file.
    WORKERS: int = Field(min(4, max(2, os.cpu_count() or 1)), ge=1, le=1_000)
    THREADS: int = Field(8, ge=1, le=1_000)  # of each worker, for requests that have to wait
    INSTANCE_FOLDER: Folder = "instance"  # the log, the secret key; a relative one is in the project
    MODELS_FOLDER: Folder = "saved_models"  # shared hosts may mount it elsewhere
    DATABASE_URL: str | None = Field(None, min_length=1)  # unset: log.db in the instance folder
    # Opens the pages that show what people sent; unset: made once.
    ADMIN_PASSWORD: Annotated[str, AfterValidator(check_password)] | None = Field(None, repr=False)
    # Signs cookies; unset: made at first start, kept in the instance folder.
    SECRET_KEY: str | None = Field(None, min_length=MIN_KEY_LENGTH, repr=False)
    MODEL_KEY: str | None = Field(None, min_length=MIN_KEY_LENGTH, repr=False)  # signs models; unset: any may be loaded
    STORE_TEXT: bool = True  # false: the log keeps a keyed hash of each message instead of its text
    # How many proxies in front may set X-Forwarded-*: trusting more than there are is trusting what senders claim.
    TRUSTED_PROXIES: int = Field(0, ge=0, le=10)
    PUBLIC: bool = True  # false: the form asks for the sign-in, the API for a key
    CORS_ORIGINS: Annotated[str, AfterValidator(_check_origins)] = ""  # sites whose pages may call the API
    # Of one address, in each worker, counting requests that leave a row in the log; 0 is no limit.
    MAX_REQUESTS_PER_MINUTE: int = Field(0, ge=0, le=1_000_000)


SETTINGS = Settings.model_fields
WITHOUT_PREFIX = ("HOST", "PORT")
OF_PLATFORMS = {"DATABASE_URL": "DATABASE_URL", "WORKERS": "WEB_CONCURRENCY"}  # what Heroku, Render and others set


def variable(name: str) -> str:
    """Return the environment variable of a setting: ours, or the platform's where that alone is set."""
    ours, platform = name if name in WITHOUT_PREFIX else f"HAMLET_{name}", OF_PLATFORMS.get(name)
    return platform if platform and os.environ.get(platform) and ours not in os.environ else ours


def read_all() -> dict[str, Any]:
    """Return all settings; exit with one clear line where one cannot be used or a name is misspelt.

    Names that are like none of ours are left alone: Flask's own settings, such as DEBUG, are not for the environment to
    change, and Kubernetes sets HAMLET_PORT for a service that is called hamlet, HAMLET_DB_PORT for hamlet-db.
    """
    for found, text in os.environ.items():
        name = found.removeprefix("HAMLET_")
        is_kubernetes_s = name.endswith("PORT") and "://" in text
        if name != found and (name not in SETTINGS or name in WITHOUT_PREFIX) and not is_kubernetes_s:
            for close in get_close_matches(name.upper(), SETTINGS, 1, cutoff=0.65):
                ours = close if close in WITHOUT_PREFIX else f"HAMLET_{close}"
                sys.exit(f"{found}: there is no such setting, did you mean {ours}?")
    # Files of settings that were written on Windows leave a \r at the end of each.
    texts = {name: os.environ[variable(name)].strip() for name in SETTINGS if variable(name) in os.environ}
    given = {name: text for name, text in texts.items() if text or name not in WITHOUT_PREFIX}
    try:
        return Settings.model_validate(given).model_dump()
    except ValidationError as error:
        name, fault = str(error.errors()[0]["loc"][0]), error.errors()[0]["msg"].removeprefix("Value error, ")
        sys.exit(f"{variable(name)}{f'={given[name]}' if SETTINGS[name].repr else ''}: {fault}")


def environment(settings: Mapping[str, Any], instance_folder: Path) -> dict[str, str]:
    """Return the environment variables that give another process the settings of this app."""
    values = {name: settings[name] for name in SETTINGS} | {"INSTANCE_FOLDER": instance_folder}
    return {variable(name): str(value) for name, value in values.items() if value is not None}


# What users of the app rely on, whatever its settings.
FIXED = {
    "MAX_CONTENT_LENGTH": MAX_BODY,
    "MAX_FORM_MEMORY_SIZE": MAX_BODY,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "WTF_CSRF_SSL_STRICT": False,  # browsers that send no Referer are no forgers: the token is the proof
    "WTF_CSRF_TIME_LIMIT": None,  # a page may stay open all day; the token is bound to the session anyway
    "BOOTSTRAP_SERVE_LOCAL": True,  # no CDN
}

# Needed before the app exists: its folder, how gunicorn starts. And the key that signs models, which is always the
# environment's, so that no part of the process can load a model without it.
_settings = read_all()
HOST, PORT, WORKERS, THREADS = (_settings[name] for name in ("HOST", "PORT", "WORKERS", "THREADS"))
ADDRESS = f"[{HOST}]:{PORT}" if ":" in HOST else f"{HOST}:{PORT}"
INSTANCE_FOLDER = ROOT / _settings["INSTANCE_FOLDER"]
MODEL_KEY: str | None = _settings["MODEL_KEY"]


# --- Commands as messages and pages show them, to be pasted where this process was started ---
IN_PROJECT = Path.cwd() == ROOT  # where Flask finds the app by itself


def in_shell(path: Path) -> str:
    """Return a path for the shell: relative if it is in the project, and that is the current folder."""
    return str(path.relative_to(ROOT)) if IN_PROJECT and path.is_relative_to(ROOT) else shlex.quote(str(path))


_programs = Path(sys.executable).parent
FLASK = in_shell(_programs / "flask") + ("" if IN_PROJECT else f" --app {in_shell(ROOT / 'wsgi')}")
PIP_INSTALL = f"{in_shell(_programs / 'pip')} install"


def cannot_start(why: str, error: Exception) -> NoReturn:
    """Exit with one line: drivers like to say more."""
    reason = getattr(error, "reason", "") or getattr(error, "orig", error)
    sys.exit(f"Hamlet cannot start: {why} ({' '.join(str(reason).split())})")

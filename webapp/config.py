"""Every setting of Hamlet, once: its name, its default, which values it takes, and why.

Set one by an environment variable: HAMLET_STORE_TEXT=false, say; HOST and PORT have no prefix, as on every platform.
Platforms give two more by names of their own: DATABASE_URL and WEB_CONCURRENCY count where ours are not set.
docs/reference.md holds the same list for users; a test compares the two. To add a setting, add a line to SETTINGS and
use current_app.config["ITS_NAME"], or read("ITS_NAME") where there is no app yet.
"""

import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

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
ORIGIN = re.compile(r"[a-z][\w+.-]*://(\[[0-9a-f:]+\]|[\w.-]+)(:\d+)?", re.ASCII)


class Setting(NamedTuple):
    """What a setting is by default, how its text becomes a value (or an error), and what it must be, in words."""

    default: Any
    parse: Callable[[str], Any]
    must: str
    is_secret: bool = False  # its value is never shown


def _whole_number(default: int, lowest: int, highest: int) -> Setting:
    def parse(text: str) -> int:
        if not (text.isdecimal() and lowest <= int(text) <= highest):
            raise ValueError
        return int(text)

    return Setting(default, parse, f"be a whole number from {lowest} to {highest}")


def _true_or_false(default: bool) -> Setting:
    # "False", which other programs take, could mean either to people.
    return Setting(default, {"true": True, "false": False}.__getitem__, "be true or false")


def _text(default: str | None, must: str, length: int = 1, is_secret: bool = False) -> Setting:
    def parse(text: str) -> str:
        if len(text) < length:
            raise ValueError
        return text

    return Setting(default, parse, must, is_secret)


def _secret(length: int) -> Setting:
    return _text(None, f"have at least {length} characters", length, is_secret=True)


def _parse_host(text: str) -> str:
    host = text.removeprefix("[").removesuffix("]")
    socket.getaddrinfo(host, None)
    return host


def _parse_origins(text: str) -> str:
    origins = text.lower().split()
    if not all(ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    # As browsers write them: in small letters, and without the port that is the usual one.
    return " ".join(origin.removesuffix(":443" if origin.startswith("https:") else ":80") for origin in origins)


MUST_HOST = "be an address, such as 127.0.0.1, 0.0.0.0 or ::; conda's compilers set it to something else: unset it then"
MUST_ORIGINS = "be origins such as https://www.example.org, without a path, separated by blanks"
SETTINGS = {
    "HOST": Setting("127.0.0.1", _parse_host, MUST_HOST),  # this machine only; a proxy or 0.0.0.0 opens it to others
    "PORT": _whole_number(8000, 1, 65_535),
    # Two workers use a second core and survive the loss of one; more than four gain nothing on one SQLite file.
    "WORKERS": _whole_number(min(4, max(2, os.cpu_count() or 1)), 1, 1_000),
    "THREADS": _whole_number(8, 1, 1_000),  # of each worker, for what waits; who waits for the log shares one commit
    "INSTANCE_FOLDER": _text("instance", "be a folder"),  # the log and the secret key; a relative one is in the project
    "MODELS_FOLDER": _text("saved_models", "be a folder"),  # shared hosts may mount it elsewhere
    "DATABASE_URL": _text(None, "be a URL such as sqlite:////var/lib/log.db"),  # unset: log.db in the instance folder
    "ADMIN_PASSWORD": _secret(MIN_PASSWORD_LENGTH),  # opens the pages that show what people sent; unset: made once
    "SECRET_KEY": _secret(MIN_KEY_LENGTH),  # signs cookies; unset: made at first start, kept in the instance folder
    "MODEL_KEY": _secret(MIN_KEY_LENGTH),  # signs models; unset: unsigned ones are loaded too
    "STORE_TEXT": _true_or_false(True),  # false: the log keeps a keyed hash of each message instead of its text
    # How many proxies in front may set X-Forwarded-*: trusting more than there are is trusting what senders claim.
    "TRUSTED_PROXIES": _whole_number(0, 0, 10),
    "PUBLIC": _true_or_false(True),  # false: the form asks for the sign-in, the API for a key
    "CORS_ORIGINS": Setting("", _parse_origins, MUST_ORIGINS),  # sites whose pages may call the API; none: only ours
    # Of one address, in each worker, of what leaves something in the log; 0 is no limit.
    "MAX_REQUESTS_PER_MINUTE": _whole_number(0, 0, 1_000_000),
}
WITHOUT_PREFIX = ("HOST", "PORT")
OF_PLATFORMS = {"DATABASE_URL": "DATABASE_URL", "WORKERS": "WEB_CONCURRENCY"}  # what Heroku, Render and others set


def variable(name: str) -> str:
    """Return the environment variable of a setting: ours, or the platform's where that alone is set."""
    ours, platform = name if name in WITHOUT_PREFIX else f"HAMLET_{name}", OF_PLATFORMS.get(name)
    return platform if platform and os.environ.get(platform) and ours not in os.environ else ours


def read(name: str) -> Any:
    """Return a setting's value in this environment, or its default; exit with one clear line if it cannot be used."""
    setting, text = SETTINGS[name], os.environ.get(variable(name))
    if text is None or (text == "" and name in WITHOUT_PREFIX):
        return setting.default
    try:
        return setting.parse(text)
    except (ValueError, KeyError, OSError):
        shown = variable(name) + (":" if setting.is_secret else f"={text}:")
        sys.exit(f"{shown} must {setting.must}")


def read_all() -> dict[str, Any]:
    """Return all settings; exit with one clear line where one cannot be used or a name is misspelt.

    Names that are like none of ours are left alone: Flask's own settings, such as DEBUG, are not for the environment to
    change, and Kubernetes sets HAMLET_PORT and the like for a service that is called hamlet.
    """
    for given in os.environ:
        name = given.removeprefix("HAMLET_")
        if name != given and name not in SETTINGS:
            ours = [known for known in SETTINGS if known not in WITHOUT_PREFIX]
            if close := get_close_matches(name.upper(), ours, 1, cutoff=0.7):
                sys.exit(f"{given}: there is no such setting, did you mean HAMLET_{close[0]}?")
    return {name: read(name) for name in SETTINGS}


def environment(settings: Mapping[str, Any], instance_folder: Path) -> dict[str, str]:
    """Return the environment variables that give another process the settings of this app."""
    values = {name: settings[name] for name in SETTINGS if settings[name] is not None}
    values["INSTANCE_FOLDER"] = instance_folder
    texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in values.items()}
    return {variable(name): text for name, text in texts.items()}


# What users of the app rely on, whatever its settings.
FIXED = {
    "MAX_CONTENT_LENGTH": MAX_BODY,
    "MAX_FORM_MEMORY_SIZE": MAX_BODY,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "SESSION_COOKIE_NAME": "hamlet_session",  # not Flask's own name: a second app on this host would sign people out
    "WTF_CSRF_SSL_STRICT": False,  # browsers that send no Referer are no forgers: the token is the proof
    "WTF_CSRF_TIME_LIMIT": None,  # a page may stay open all day; the token is bound to the session anyway
    "BOOTSTRAP_SERVE_LOCAL": True,  # no CDN
}

# Those that are needed before the app exists: where its folder is, how gunicorn starts, and the key that no part of
# the process can forget to ask for.
HOST, PORT, WORKERS, THREADS = (read(name) for name in ("HOST", "PORT", "WORKERS", "THREADS"))
ADDRESS = f"[{HOST}]:{PORT}" if ":" in HOST else f"{HOST}:{PORT}"
INSTANCE_FOLDER = ROOT / read("INSTANCE_FOLDER")
MODEL_KEY: str | None = read("MODEL_KEY")


# --- Commands as messages and pages show them, to be pasted where this process was started ---
def shown(program: str, python: str, folder: str) -> str:
    """Return how to start a program beside a Python from a folder: `.venv/bin/flask` in the project."""
    beside = Path(python).parent
    if not beside.is_relative_to(ROOT):
        beside = beside.resolve()
    found = shutil.which(program, path=str(beside))
    if not found:
        return f"{shlex.quote(python)} -m {program}"
    if os.path.samefile(folder, ROOT) and Path(found).is_relative_to(ROOT):
        return str(Path(found).relative_to(ROOT))
    on_path = shutil.which(program)
    return program if on_path and os.path.samefile(on_path, found) else shlex.quote(found)


def shown_flask(python: str, folder: str) -> str:
    """Return how to start Flask with this app, which it finds by itself in the project's folder alone."""
    flask = shown("flask", python, folder)
    return flask if os.path.samefile(folder, ROOT) else f"{flask} --app {shlex.quote(str(ROOT / 'wsgi'))}"


FLASK = shown_flask(sys.executable, os.curdir)
PIP_INSTALL = f"{shown('pip', sys.executable, os.curdir)} install"


def pip_install(requirements: str) -> str:
    """Return how to install what one of the project's files lists."""
    file = requirements if os.path.samefile(os.curdir, ROOT) else shlex.quote(str(ROOT / requirements))
    return f"{PIP_INSTALL} -r {file}"


def cannot_start(why: str, error: Exception) -> NoReturn:
    """Exit with one line: drivers like to say more."""
    reason = getattr(error, "reason", "") or getattr(error, "orig", error)
    sys.exit(f"Hamlet cannot start: {why} ({' '.join(str(reason).split())})")


def refuse_debug_mode() -> None:
    """Exit if Flask is to run in debug mode, in which it shows its insides to visitors: not on a real server."""
    if os.environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no"):  # as Flask reads it
        sys.exit(f"FLASK_DEBUG is set: unset it. To debug on your own machine, run: {FLASK} run --debug")

"""Every setting of Hamlet: its name, its default, and why.

Set one by an environment variable with the prefix HAMLET_, for example HAMLET_STORE_TEXT=false. Values are read
as JSON where they are JSON (true, 90), else as text. The README holds the same list for users; a test compares the two.
"""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

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
MOST_PROXIES = 10  # in a row; trusting more than there are is trusting what senders claim

# --- Settings that the app reads ---
DEFAULTS: dict[str, object] = {
    "DATABASE_URL": None,  # SQLAlchemy URL; unset: an SQLite file in the instance folder
    "MODELS_FOLDER": str(ROOT / "saved_models"),  # shared hosts may mount it elsewhere
    "ADMIN_PASSWORD": None,  # opens the pages that show what people sent; unset: made at first start, printed once
    "SECRET_KEY": None,  # signs cookies; unset: made at first start, kept in the instance folder
    "STORE_TEXT": True,  # false: the log keeps a keyed hash of each message instead of its text
    "TRUSTED_PROXIES": 0,  # how many proxies in front may set X-Forwarded-*; 0 trusts none, as anyone can send them
}
TEXTS = ("ADMIN_PASSWORD", "SECRET_KEY")  # taken as they are written: 1e9 is a password, not a number

# --- What users of the app rely on, whatever its settings ---
FIXED: dict[str, object] = {
    "MAX_CONTENT_LENGTH": MAX_BODY,
    "MAX_FORM_MEMORY_SIZE": MAX_BODY,
    "SESSION_COOKIE_SAMESITE": "Lax",
    "WTF_CSRF_TIME_LIMIT": None,  # a page may stay open all day; the token is bound to the session anyway
    "BOOTSTRAP_SERVE_LOCAL": True,  # no CDN
}


# --- Settings that are needed before the app exists: where its folder is, and how gunicorn starts ---
def _number(name: str, default: int, highest: int) -> int:
    value = os.environ.get(name, "") or str(default)
    if not (value.isdecimal() and 1 <= int(value) <= highest):
        sys.exit(f"{name}={value}: must be a whole number from 1 to {highest}")
    return int(value)


INSTANCE_FOLDER = ROOT / (os.environ.get("HAMLET_INSTANCE_FOLDER") or "instance")  # a relative one is in the project
HOST = os.environ.get("HOST", "127.0.0.1")  # this machine only; a proxy or HOST=0.0.0.0 opens it to others
PORT = _number("PORT", 8000, 65_535)
# Two workers use a second core and survive the loss of one; more than four gain nothing on one SQLite file.
WORKERS = _number("HAMLET_WORKERS", min(4, max(2, os.cpu_count() or 1)), 1_000)
THREADS = _number("HAMLET_THREADS", 8, 1_000)  # requests in flight per worker: they share one commit
# Of the whole process: no part of it can forget to ask for the signature. Unset: unsigned models are loaded too.
MODEL_KEY = os.environ.get("HAMLET_MODEL_KEY")
if MODEL_KEY is not None and len(MODEL_KEY) < MIN_KEY_LENGTH:
    sys.exit(f"HAMLET_MODEL_KEY: must have at least {MIN_KEY_LENGTH} characters")  # and is not shown


def given() -> dict[str, object]:
    """Return the settings that the environment gives; exit with one clear line where a name is misspelt.

    Other names are left alone: Flask's own settings, such as DEBUG, are not for the environment to change, and
    Kubernetes sets HAMLET_PORT and the like for a service that is called hamlet.
    """
    known = [*DEFAULTS, "INSTANCE_FOLDER", "MODEL_KEY", "WORKERS", "THREADS"]
    found: dict[str, object] = {}
    for variable, text in os.environ.items():
        name = variable.removeprefix("HAMLET_")
        if name == variable:
            continue
        if name not in known and (close := get_close_matches(name.upper(), known, 1, cutoff=0.7)):
            sys.exit(f"{variable}: there is no such setting, did you mean HAMLET_{close[0]}?")
        if name in DEFAULTS:
            found[name] = text
            if name not in TEXTS:
                with suppress(ValueError):  # not JSON, so text
                    found[name] = json.loads(text)
    return found


def cannot_start(why: str, error: Exception) -> NoReturn:
    """Exit with one line: drivers like to say more."""
    sys.exit(f"Hamlet cannot start: {why} ({' '.join(str(getattr(error, 'orig', error)).split())})")


def refuse_debug_mode() -> None:
    """Exit if Flask is to run in debug mode, in which it shows its insides to visitors: not on a real server."""
    if os.environ.get("FLASK_DEBUG", "").lower() not in ("", "0", "false", "no"):  # as Flask reads it
        sys.exit("FLASK_DEBUG is set: unset it. To debug on your own machine, run: flask --app wsgi run --debug")


def environment(settings: Mapping[str, object], instance_folder: Path) -> dict[str, str]:
    """Return the environment variables that give another process the settings of this app."""
    variables = {f"HAMLET_{name}": json.dumps(settings[name]) for name in DEFAULTS if name not in TEXTS}
    variables |= {f"HAMLET_{name}": str(settings[name]) for name in TEXTS if settings[name] is not None}
    return variables | {"HAMLET_INSTANCE_FOLDER": str(instance_folder)}


def check(settings: Mapping[str, object]) -> None:
    """Exit with one clear line if a setting is unsafe or of the wrong kind: "False" in place of false would be true."""
    proxies = settings["TRUSTED_PROXIES"]
    for name, right, words in (
        ("STORE_TEXT", isinstance(settings["STORE_TEXT"], bool), "true or false"),
        ("TRUSTED_PROXIES", type(proxies) is int and 0 <= proxies <= MOST_PROXIES, f"a number, 0 to {MOST_PROXIES}"),
        ("MODELS_FOLDER", isinstance(settings["MODELS_FOLDER"], str), "a folder"),
        ("DATABASE_URL", isinstance(settings["DATABASE_URL"], str | None), "a URL such as sqlite:////var/lib/log.db"),
    ):
        if not right:
            sys.exit(f"HAMLET_{name}={settings[name]}: must be {words}")
    for name, length in (("ADMIN_PASSWORD", MIN_PASSWORD_LENGTH), ("SECRET_KEY", MIN_KEY_LENGTH)):
        text = settings[name]
        if text is not None and not (isinstance(text, str) and len(text) >= length):
            sys.exit(f"HAMLET_{name}: must have at least {length} characters")  # and is not shown

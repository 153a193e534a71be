"""Step 2, save: a version of the model is a folder with the model file and its card.

    saved_models/<version>/model.joblib (or model.pkl, model.skops)    the scikit-learn Pipeline
    saved_models/<version>/model_card.json                what it is, what it was made from, how good it is
    saved_models/<version>/learnt.txt                     which messages it has learnt, so is not to be measured on

Loading a pickle runs the code in it. So the file's SHA-256 is compared with the card's before anything is unpickled,
and so are the versions: scikit-learn itself would only warn. The hash shows damage and mix-ups; against an attacker who
can write both files only a signature helps (card.py). A file of skops runs no code: it may only hold types that skops
or Hamlet trusts. No other module unpickles.
"""

import datetime as dt
import hashlib
import importlib
import io
import pickle
import platform
import secrets
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy
import sklearn
from sklearn.pipeline import Pipeline

from webapp import config
from webapp.errors import BadData, ModelUnusable, NotReady
from webapp.model.card import CARD, SIGNATURE, Card, ModelFile, read_card, read_file, signature_of, unusable
from webapp.model.data import fingerprint, loose, read_fingerprints
from webapp.model.features import FEATURES_VERSION
from webapp.model.labels import ZERO_IS_SPAM
from webapp.model.scoring import SpamModel, make_model

LEARNT = "learnt.txt"
MODEL_FILES = {"joblib": "model.joblib", "pickle": "model.pkl", "skops": "model.skops"}
# Beside those that skops trusts by itself. A card cannot add to them: then its author could trust anything.
TRUSTED = [
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "webapp.model.features.MessageVectorizer",
]
WHERE = "A module of yours must lie beside wsgi.py, in webapp/, or be installed, wherever the model is served."
TRY_S = 600  # to load a version takes 3 s; under load on a busy machine some minutes
TRY = """
import sys, pathlib
from webapp.model import artifact
try:
    artifact.load(pathlib.Path(sys.argv[1]), sys.argv[2]).score("Hello, are you there?")
except artifact.ModelUnusable as error:
    sys.exit(" ".join(str(error).split()))
"""


def save(
    models_folder: Path,
    pipeline: Pipeline,
    card: Card,
    file_format: str,
    now: dt.datetime,
    learnt: str | None,
) -> str:
    """Write a new version and return its name: UTC date, time, and the first letters of the model file's hash.

    The folder gets its name only when it is complete, so a crash leaves no half-written version. `learnt` is what
    data.fingerprints gives of the training messages, None where they are not known. Raises NotReady when the disk is
    full, say.
    """
    content = to_bytes(pipeline, file_format)
    digest = hashlib.sha256(content).hexdigest()
    stamp = now
    while (models_folder / (version := f"{stamp:%Y%m%d-%H%M%S}-{digest[:7]}")).exists():  # saved in this second already
        stamp += dt.timedelta(seconds=1)
    unfinished = models_folder / f".{secrets.token_hex(8)}.unfinished"
    try:
        unfinished.mkdir(parents=True)
        (unfinished / MODEL_FILES[file_format]).write_bytes(content)
        if learnt:
            (unfinished / LEARNT).write_text(learnt)
        about = {
            "model_version": version,
            "created_at": now,
            "model_file": ModelFile(format=file_format, sha256=digest, bytes=len(content)),
            "versions": {
                "hamlet": config.VERSION,
                "python": platform.python_version(),
                "scikit-learn": sklearn.__version__,
                "numpy": numpy.__version__,
            },
            "features_version": FEATURES_VERSION,
            "learnt": learnt and {"file": LEARNT, "sha256": hashlib.sha256(learnt.encode()).hexdigest()},
        }
        card_content = card.model_copy(update=about).to_json()
        (unfinished / CARD).write_bytes(card_content)
        if config.MODEL_KEY:
            (unfinished / SIGNATURE).write_bytes(signature_of(card_content, config.MODEL_KEY))
        unfinished.rename(models_folder / version)
        return version
    except OSError as error:
        raise NotReady(f"{models_folder}: the version cannot be saved ({error.strerror or error}).") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def to_bytes(pipeline: Any, file_format: str) -> bytes:
    """Return a Pipeline as the bytes of a file; raises BadData for what a file of skops may not hold."""
    if file_format == "pickle":
        return pickle.dumps(pipeline, protocol=5)
    if file_format == "joblib":
        buffer = io.BytesIO()
        joblib.dump(pipeline, buffer, compress=("zlib", 9))
        return buffer.getvalue()
    content: bytes = skops_io().dumps(pipeline, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
    if foreign := _untrusted(content):
        raise BadData(f"--format skops cannot hold {', '.join(foreign)}, as it would run code. Take --format joblib.")
    return content


def from_bytes(content: bytes, file_format: str) -> Any:
    """Return what is in the bytes of a file. Unless it is of skops, the code in it is run, and may raise anything."""
    if file_format in ("joblib", "pickle"):
        return joblib.load(io.BytesIO(content))  # the one place where a pickle of either kind is read, after all checks
    if foreign := _untrusted(content):
        raise ModelUnusable(f"it holds types that Hamlet does not trust: {', '.join(foreign)}")
    return skops_io().loads(content, trusted=TRUSTED)


def _untrusted(content: bytes) -> list[str]:
    return sorted(set(skops_io().get_untrusted_types(data=content)) - set(TRUSTED))


def skops_io() -> Any:
    """Return the module skops.io; raises ModelUnusable where it is not installed."""
    try:
        return importlib.import_module("skops.io")
    except ImportError as error:
        raise ModelUnusable("it takes skops: pip install -r requirements-skops.txt") from error


def load(models_folder: Path, version: str) -> SpamModel:
    """Check a version and load it; raises ModelUnusable before unpickling if anything is not as its card says."""
    card, content, _ = verify(models_folder, version)
    # Unpickle the very bytes that were checked: the file could be exchanged in between.
    try:
        pipeline = from_bytes(content, card.model_file.format)
        return make_model(pipeline, version, card.threshold, ZERO_IS_SPAM if card.zero_is_spam else card.labels)
    except Exception as error:  # unpickling may raise anything: a class that was moved or is not installed, say
        reason = str(error) if isinstance(error, ModelUnusable) else f"{type(error).__name__}: {error}"
        where = f". {WHERE.rstrip('.')}" if isinstance(error, ImportError) else ""
        raise unusable(f"Model {version} cannot be loaded ({reason}){where}") from error


def try_load(models_folder: Path, version: str) -> None:
    """Load a version and let it score a message in a process of its own, as a new server will; raises ModelUnusable.

    This process may have modules that a server will not find, or have loaded the version long ago; and loading a file
    may end the process, or hang.
    """
    command = [sys.executable, "-c", TRY, str(models_folder.resolve()), version]
    try:
        done = subprocess.run(  # noqa: S603  no shell; the version is a folder's name, and was verified
            command, cwd=config.ROOT, capture_output=True, text=True, timeout=TRY_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelUnusable(f"Model {version} could not be tried in a process apart ({error}).") from error
    if done.returncode:
        last = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ModelUnusable(last if version in last else f"Model {version} ends the process that loads it ({last}).")


class Saved(NamedTuple):
    """The files of a version, as its card says they are."""

    card: Card
    content: bytes  # of the model file
    learnt: str  # the fingerprints of what it has learnt, "" where that is not known


def verify(models_folder: Path, version: str, signed: bool = True) -> Saved:
    """Return the files of a version, if they and what it was made with are as its card says; raises ModelUnusable."""
    card = read_card(models_folder, version, signed)
    saved_with = card.versions.get("scikit-learn")
    if saved_with != sklearn.__version__:
        raise ModelUnusable(
            f"Model {version} was saved with scikit-learn {saved_with}, but {sklearn.__version__} is installed. "
            f"Run {config.PIP_INSTALL} scikit-learn=={saved_with}, or train again ({config.FLASK} train FILE)."
        )
    if card.features_version != FEATURES_VERSION:
        made_for = f"was made for version {card.features_version} of webapp/model/features.py"
        raise unusable(f"Model {version} {made_for}, this is version {FEATURES_VERSION}")
    content = _read_checked(models_folder, version, MODEL_FILES[card.model_file.format], card.model_file.sha256)
    learnt = _read_checked(models_folder, version, LEARNT, card.learnt.get("sha256", "")) if card.learnt else b""
    return Saved(card, content, learnt.decode())


def sign(models_folder: Path, version: str) -> Card:
    """Sign a version whose files are as its card says, and return that card; raises ModelUnusable or BadData.

    Nothing is unpickled, so a signature says nothing about what the model does: sign only a file whose origin you know.
    """
    if not config.MODEL_KEY:
        raise BadData("There is no key to sign with: set HAMLET_MODEL_KEY. docs/model_files.md says how to make one.")
    verify(models_folder, version, signed=False)
    signature = signature_of(read_file(models_folder, version, CARD), config.MODEL_KEY)
    new = models_folder / version / f".{SIGNATURE}.new"
    new.write_bytes(signature)
    new.replace(new.with_name(SIGNATURE))
    return read_card(models_folder, version)  # as it was signed


def _read_checked(models_folder: Path, version: str, name: str, sha256: str) -> bytes:
    """Return the content of a version's file whose hash is right; raises ModelUnusable."""
    content = read_file(models_folder, version, name)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise unusable(f"The file {name} of model {version} was changed after it was saved (SHA-256 differs)")
    return content


class Learnt:
    """The messages that one of some versions has learnt: `text in learnt`, copies of reviews too."""

    def __init__(self, models_folder: Path, versions: Iterable[str]):
        self._known: set[bytes] = set()
        for version in versions:
            with suppress(ModelUnusable):  # of one that is gone nothing is known
                self._known |= read_fingerprints(verify(models_folder, version).learnt)

    def __contains__(self, text: str) -> bool:
        return any(fingerprint(form) in self._known for form in forms(text))


def forms(text: str) -> list[str]:
    """Return a text as its fingerprint is taken, and what it has in common with copies that differ in their signs."""
    return list(filter(None, [text, loose(text)]))

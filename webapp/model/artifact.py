"""Step 2, save: a version of the model is a folder with the model file and its card.

    saved_models/<version>/model.joblib (or model.pkl)    the scikit-learn Pipeline
    saved_models/<version>/model_card.json                what it is, what it was made from, how good it is
    saved_models/<version>/reference.json                 what messages looked like at training, to notice drift

Loading a pickle runs whatever code is in it. So the file's SHA-256 is compared with the card's before anything is
unpickled, and so are the versions: scikit-learn itself would only warn. The hash shows damage and mix-ups; against
somebody who can write both files only a signature helps (card.py). This is the one module that unpickles.
"""

import hashlib
import io
import json
import pickle
import platform
import shutil
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import joblib
import numpy
import sklearn
from sklearn.pipeline import Pipeline

from webapp import config
from webapp.config import FLASK, PIP_INSTALL
from webapp.errors import BadData, ModelUnusable
from webapp.model.card import (
    CARD,
    MEND,
    SIGNATURE,
    Card,
    parse,
    parse_reference,
    place,
    read_card,
    read_unchecked,
    signature_of,
)
from webapp.model.features import FEATURES_VERSION
from webapp.model.labels import Labels
from webapp.model.pipeline_model import as_model
from webapp.model.reference import Reference
from webapp.model.spam_model import SpamModel

REFERENCE = "reference.json"
MODEL_FILES = {"joblib": "model.joblib", "pickle": "model.pkl"}
WHERE = "its module must lie beside wsgi.py, in webapp/, or be installed, wherever the model is served."
DAY_S = 24 * 60 * 60


def save(
    models_folder: Path,
    pipeline: Pipeline,
    card: Card,
    file_format: str,
    now: datetime,
    reference: Reference,
    announce: Callable[[str], None] = lambda version: None,
) -> str:
    """Write a new version and return its name: UTC date, time, and the first letters of the model file's hash.

    The folder gets its name only when it is complete, so a crash leaves no half-written version. `announce` is told the
    name just before: what must be known of a version is known when it appears.
    """
    content = _to_bytes(pipeline, file_format)
    digest = hashlib.sha256(content).hexdigest()
    version = f"{now:%Y%m%d-%H%M%S}-{digest[:7]}"
    file: dict[str, Any] = {
        "name": MODEL_FILES[file_format],
        "format": file_format,
        "sha256": digest,
        "bytes": len(content),
    }
    reference_content = json.dumps(reference, ensure_ascii=False, separators=(",", ":")).encode()
    versions = {
        "hamlet": config.VERSION,
        "python": platform.python_version(),
        "scikit-learn": sklearn.__version__,
        "numpy": numpy.__version__,
    }
    head = {
        "model_version": version,
        "created_at": now.isoformat(timespec="seconds"),
        "model_file": file,
        "versions": versions,
        "features_version": FEATURES_VERSION,
    }
    tail = {
        "reference": {
            "file": REFERENCE,
            "sha256": hashlib.sha256(reference_content).hexdigest(),
            "messages": reference["messages"],
        }
    }
    models_folder.mkdir(exist_ok=True)
    _remove_leftovers(models_folder)
    unfinished = models_folder / f".{version}.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        (unfinished / file["name"]).write_bytes(content)
        (unfinished / REFERENCE).write_bytes(reference_content)
        card_content = (json.dumps(head | card | tail, indent=2, ensure_ascii=False, default=repr) + "\n").encode()
        (unfinished / CARD).write_bytes(card_content)
        if config.MODEL_KEY:
            (unfinished / SIGNATURE).write_text(signature_of(card_content, config.MODEL_KEY))
        announce(version)
        unfinished.rename(models_folder / version)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return version


def _remove_leftovers(models_folder: Path) -> None:
    """Remove what a save or a prune left that was killed; one that is a day old is nobody's any more."""
    for leftover in (*models_folder.glob(".*.unfinished"), *models_folder.glob(".*.deleted")):
        if time.time() - leftover.stat().st_mtime > DAY_S:
            shutil.rmtree(leftover, ignore_errors=True)


def _to_bytes(pipeline: Pipeline, file_format: str) -> bytes:
    buffer = io.BytesIO()
    if file_format == "pickle":
        pickle.dump(pipeline, buffer, protocol=5)
    else:
        joblib.dump(pipeline, buffer, compress=("zlib", 9))
    return buffer.getvalue()


def load(models_folder: Path, version: str) -> SpamModel:
    """Check a version and load it; raises ModelUnusable before unpickling if anything is not as its card says."""
    card = read_card(models_folder, version)
    content = _checked_content(models_folder, version, card)
    # Unpickle the very bytes that were checked: the file could be exchanged in between.
    try:
        pipeline = (
            pickle.loads(content)  # noqa: S301  the one place where a pickle is read, after all checks
            if card["model_file"]["format"] == "pickle"
            else joblib.load(io.BytesIO(content))
        )
        return as_model(pipeline, version, card["threshold"], Labels(*card["labels"]))
    except Exception as error:  # unpickling may raise anything: a class that was moved or is not installed, say
        recipe = f"Its recipe is {card['pipeline']}: {WHERE} " if card.get("pipeline") else ""
        raise ModelUnusable(
            f"Model {version} cannot be loaded ({type(error).__name__}: {error}). {recipe}{MEND}"
        ) from error


def verify(models_folder: Path, version: str) -> Card:
    """Return the card of a version whose file and versions are as it says; raises ModelUnusable."""
    card = read_card(models_folder, version)
    _checked_content(models_folder, version, card)
    return card


def sign(models_folder: Path, version: str) -> Card:
    """Sign a version whose files are as its card says; return that card.

    Raises ModelUnusable; BadData without a key, or where the folder cannot be written to. Nothing is unpickled, so this
    says nothing about what the model does: whoever signs has to know where it comes from.
    """
    if not config.MODEL_KEY:
        raise BadData("There is no key to sign with: set HAMLET_MODEL_KEY. docs/model_files.md says how to make one.")
    content = read_unchecked(models_folder, version)
    card = parse(content, version)
    _checked_content(models_folder, version, card)
    _checked_reference(models_folder, version, card)
    path = place(models_folder, version, SIGNATURE)
    try:
        new = path.with_name(f".{SIGNATURE}")
        new.write_text(signature_of(content, config.MODEL_KEY))  # of the very bytes that were checked
        new.replace(path)
    except OSError as error:
        raise BadData(f"{path} cannot be written ({error.strerror}).") from error
    return card


def read_reference(models_folder: Path, version: str) -> Reference | None:
    """Return what messages looked like when a version was trained, None where an older Hamlet trained it.

    Raises ModelUnusable where the file is missing or not the one that its card names.
    """
    return _checked_reference(models_folder, version, read_card(models_folder, version))


def _checked_reference(models_folder: Path, version: str, card: Card) -> Reference | None:
    entry = card.get("reference") or {}
    if entry.get("file") != REFERENCE:
        return None
    try:
        content = place(models_folder, version, REFERENCE).read_bytes()
    except OSError as error:
        raise ModelUnusable(f"The {REFERENCE} of model {version} cannot be read ({error.strerror}). {MEND}") from error
    if hashlib.sha256(content).hexdigest() != entry.get("sha256"):
        raise ModelUnusable(
            f"The {REFERENCE} of model {version} was changed after it was saved (SHA-256 differs). {MEND}"
        )
    return parse_reference(content, version)


def _checked_content(models_folder: Path, version: str, card: Card) -> bytes:
    saved_with = card.get("versions", {}).get("scikit-learn")
    if saved_with != sklearn.__version__:
        raise ModelUnusable(
            f"Model {version} was saved with scikit-learn {saved_with}, but {sklearn.__version__} is installed. "
            f"Run {PIP_INSTALL} scikit-learn=={saved_with}, or train anew ({FLASK} train FILE)."
        )
    if card.get("features_version") != FEATURES_VERSION:
        raise ModelUnusable(
            f"Model {version} was made for version {card.get('features_version')} of webapp/model/features.py, "
            f"this is version {FEATURES_VERSION}. {MEND}"
        )
    file = card.get("model_file", {})
    if MODEL_FILES.get(file.get("format")) != file.get("name"):
        raise ModelUnusable(f"The card of model {version} names no model file that Hamlet knows. {MEND}")
    try:
        content: bytes = place(models_folder, version, file["name"]).read_bytes()
    except OSError as error:
        raise ModelUnusable(
            f"The file {file['name']} of model {version} cannot be read ({error.strerror}). {MEND}"
        ) from error
    if hashlib.sha256(content).hexdigest() != file.get("sha256"):
        raise ModelUnusable(
            f"The file {file['name']} of model {version} was changed after it was saved (SHA-256 differs). {MEND}"
        )
    return content

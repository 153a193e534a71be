"""A version's card: what it is and which files belong to it; read, looked through, and signed.

    saved_models/<version>/model_card.json    names the SHA-256 of the model file and of reference.json
    saved_models/<version>/model_card.sig     its signature, where there is a HAMLET_MODEL_KEY: HMAC-SHA256 in hex

The signature is over every byte of the card, so over all that the card names. docs/model_files.md says what it protects
from, and what not.
"""

import hmac
import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from webapp import config
from webapp.errors import ModelUnusable
from webapp.model.reference import Reference

CARD = "model_card.json"
SIGNATURE = "model_card.sig"
MEND = (
    f"Take another version ({config.FLASK} models list, then {config.FLASK} models use VERSION), put the folder back "
    f"(git checkout saved_models), or train anew ({config.FLASK} train FILE)."
)
Card = dict[str, Any]


class _Part(BaseModel):
    model_config = ConfigDict(strict=True)


class _Measured(_Part):
    value: float
    low: float
    high: float


class _NotDefined(_Part):
    value: None


_Figure = _Measured | _NotDefined | None


class _Count(_Part):
    messages: int
    spam: int


class _Report(_Count):
    accuracy: _Figure = None
    spam_caught: _Figure = None
    ham_blocked: _Figure = None
    mcc: _Figure = None
    roc_auc: _Figure = None
    brier: _Figure = None


class _DataFile(_Count):
    file: str
    sha256: str
    licence: str


class _ModelFile(_Part):
    name: str
    format: str
    sha256: str
    bytes: int = 0


class _Reference(_Part):
    file: str = ""
    sha256: str = ""


class _Retraining(_Part):
    last_review: str = ""


class _Shape(_Part):
    """What Hamlet reads of a card; there may be more in it."""

    model_version: str
    created_at: str = ""
    model_file: _ModelFile
    versions: dict[str, str]
    features_version: int
    labels: Annotated[list[str], Field(min_length=2, max_length=2)]
    threshold: Annotated[float, Field(ge=0, le=1)]
    weights: dict[str, float]
    messages: _Count | None = None
    data: list[_DataFile]
    metrics: dict[str, _Report] = {}
    pipeline: str = ""
    reference: _Reference | None = None
    retraining: _Retraining | None = None


class _ReferenceShape(_Part):
    """What is in reference.json, as traits.py has it."""

    messages: int
    traits: dict[str, list[float]]
    called_spam: float
    token_shares: dict[str, float]


def place(models_folder: Path, version: str, name: str) -> Path:
    """Return where a file of a version is; raises ModelUnusable unless it is a plain file in a plain folder.

    Whatever leads elsewhere, `..` in a name or a link, is refused: it is looked after by nobody who looks after
    saved_models/.
    """
    folder = models_folder.resolve()
    path = folder / version / name
    try:
        is_there = path.parent.parent == folder and path.resolve() == path
    except (OSError, ValueError):  # a name that no file can have
        is_there = False
    if not is_there:
        raise ModelUnusable(f"{version!r} is no version: {name} would not lie in a folder of saved_models/. {MEND}")
    if path.exists() and not path.is_file():
        raise ModelUnusable(f"The file {name} of model {version} is no ordinary file. {MEND}")
    return path


def read_card(models_folder: Path, version: str) -> Card:
    """Return the card of a version; raises ModelUnusable, also where a signature is needed and is not right."""
    content = read_unchecked(models_folder, version)
    if config.MODEL_KEY:
        _check_signature(models_folder, version, content, config.MODEL_KEY)
    return parse(content, version)


def read_unchecked(models_folder: Path, version: str) -> bytes:
    """Return a card as it lies there, signed or not; raises ModelUnusable."""
    try:
        return place(models_folder, version, CARD).read_bytes()
    except FileNotFoundError as error:
        raise ModelUnusable(f"Model {version} has no {CARD}. {MEND}") from error
    except OSError as error:
        raise ModelUnusable(f"The card of model {version} is not readable. {MEND}") from error


def signature_of(content: bytes, key: str) -> str:
    """Return the signature of a card."""
    return hmac.digest(key.encode(), content, "sha256").hex() + "\n"


def _check_signature(models_folder: Path, version: str, content: bytes, key: str) -> None:
    how = (
        "HAMLET_MODEL_KEY is set, so only signed models are loaded. If you know where it comes from: "
        f"{config.FLASK} models sign {version}"
    )
    try:
        signature = place(models_folder, version, SIGNATURE).read_bytes()
    except OSError as error:
        raise ModelUnusable(f"The card of model {version} is not signed. {how}") from error
    if not hmac.compare_digest(signature.strip(), signature_of(content, key).strip().encode()):
        raise ModelUnusable(
            f"The card of model {version} was changed after it was signed, or signed with another key. {how}"
        )


def parse_reference(content: bytes, version: str) -> Reference:
    """Return what messages looked like at training, looked through; raises ModelUnusable."""
    try:
        reference: Reference = json.loads(content)
        _ReferenceShape.model_validate(reference)
    except (ValueError, RecursionError) as error:
        raise ModelUnusable(f"The reference of model {version} is not readable. {MEND}") from error
    return reference


def parse(content: bytes, version: str) -> Card:
    """Return a card, looked through; raises ModelUnusable."""
    try:
        card: Card = json.loads(content)
        _Shape.model_validate(card)
    except (ValueError, RecursionError) as error:
        part = ".".join(map(str, error.errors()[0]["loc"])) if isinstance(error, ValidationError) else ""
        where = f" (look at {part})" if part else ""
        raise ModelUnusable(f"The card of model {version} is not readable{where}. {MEND}") from error
    if card["model_version"] != version:
        raise ModelUnusable(f"The card in {version}/ belongs to {card['model_version']}. {MEND}")
    return card

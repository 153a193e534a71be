"""A version's card: what it is, what it was made from, how good it is; the hashes of its files; and its signature.

    saved_models/<version>/model_card.json    names the SHA-256 of the model file and of learnt.txt
    saved_models/<version>/model_card.sig     its signature, where there is a HAMLET_MODEL_KEY: HMAC-SHA256 in hex

The signature is over every byte of the card, so over all that the card names. docs/model_files.md says what it protects
from, and what not.
"""

import datetime as dt
import hmac
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, ValidationError, model_validator

from webapp import config
from webapp.errors import ModelUnusable
from webapp.model.evaluation import Counts, Metrics, Part
from webapp.model.labels import Labels

CARD = "model_card.json"
SIGNATURE = "model_card.sig"


class DataFile(Counts):
    """A file that the model was trained on."""

    file: str
    sha256: str
    licence: str


class ModelFile(Part):
    """The file with the pickled Pipeline."""

    format: Annotated[str, Field(pattern="^(joblib|pickle|skops)$")] = "joblib"  # artifact.MODEL_FILES has its name
    sha256: str = ""
    bytes: int = 0


class Retraining(Part):
    """Which version it was made from, and with how many reviews."""

    parent: str = ""
    reviews: int = 0  # that it was corrected with


class Card(Part):
    """What is known of a version. Training knows all but the first five and `learnt`, which `save` adds."""

    model_version: str = ""
    created_at: AwareDatetime = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    model_file: ModelFile = ModelFile()
    versions: dict[str, str] = {}  # of Hamlet, Python and the libraries that it was saved with
    features_version: int = 0
    labels: Labels
    zero_is_spam: bool = False  # where the classes of an imported model are 0 and 1
    threshold: Annotated[float, Field(ge=0, le=1)]
    weights: dict[str, float] = {}  # how much a message of a source counts, 1 where it is not named
    pipeline: str | None = None  # module:function of the recipe, None for Hamlet's own
    data: list[DataFile] = []
    messages: Counts = Counts()  # without copies
    metrics: dict[str, Metrics] = {}
    retraining: Retraining | None = None
    # The name and the SHA-256 of the files of an imported model; its training is not known.
    imported: list[tuple[str, str]] | None = None
    learnt: dict[str, str] | None = None  # the name and the SHA-256 of learnt.txt

    @model_validator(mode="after")
    def _labels_differ(self) -> Self:
        if self.labels[0] == self.labels[1]:
            raise ValueError("the two labels are the same")
        return self

    @property
    def held_out(self) -> Metrics:
        """Return what was measured on the held-out part; without any value where nothing was."""
        return self.metrics.get("held_out", Metrics())

    @property
    def kinds_left_out(self) -> Metrics:
        """Return what was measured on kinds that the model had not seen; without any value where none was."""
        return self.metrics.get("kinds left out", Metrics())

    def to_json(self) -> bytes:
        """Return the card as it is written to its file."""
        return (self.model_dump_json(indent=2) + "\n").encode()


def unusable(why: str) -> ModelUnusable:
    """Return the error that says why a version cannot be used, and what to do."""
    return ModelUnusable(
        f"{why}. Take another version ({config.FLASK} models list, then {config.FLASK} models use "
        f"VERSION), put the folder back (git checkout saved_models), or train again ({config.FLASK} train FILE)."
    )


def read_file(models_folder: Path, version: str, name: str) -> bytes:
    """Return the content of a version's file; raises ModelUnusable unless it is a plain file in a plain folder.

    Whatever leads out of saved_models/, `..` in a name or a link, is refused.
    """
    folder = models_folder.resolve()
    path = folder / version / name
    try:
        if path.parent.parent != folder or path.resolve() != path:
            raise unusable(f"Model {version!r} is no folder of saved_models/ with a {name} of its own")
        if path.exists() and not path.is_file():
            raise unusable(f"Model {version} has a {name} that is no ordinary file")
        return path.read_bytes()
    except FileNotFoundError as error:
        why = f"Model {version} has no {name}" if path.parent.is_dir() else f"There is no model {version}"
        raise unusable(why) from error
    except (OSError, ValueError) as error:  # a name that no file can have, too
        reason = getattr(error, "strerror", None) or error
        raise unusable(f"Model {version[:50]!r} has a {name} that cannot be read ({reason})") from error


def read_card(models_folder: Path, version: str, signed: bool = True) -> Card:
    """Return the card of a version; raises ModelUnusable, also where there is a key and it is not signed with that."""
    content = read_file(models_folder, version, CARD)
    if config.MODEL_KEY and signed:
        signature = b""
        with suppress(ModelUnusable):
            signature = read_file(models_folder, version, SIGNATURE).strip()
        if not hmac.compare_digest(signature, signature_of(content, config.MODEL_KEY)):
            raise ModelUnusable(
                f"The card of model {version} is not signed with this HAMLET_MODEL_KEY, or was changed after it was "
                f"signed. If you know where it comes from: {config.FLASK} models sign {version}"
            )
    try:
        card = Card.model_validate_json(content)
    except ValidationError as error:
        part = ".".join(map(str, error.errors()[0]["loc"])) or "its first line"
        raise unusable(f"Model {version} has a card that is not readable (look at {part})") from error
    if card.model_version != version:
        raise unusable(f"Model {version} has a card that belongs to {card.model_version or 'no version'}")
    return card


def signature_of(content: bytes, key: str) -> bytes:
    """Return the signature of a card."""
    return hmac.digest(key.encode(), content, "sha256").hex().encode()

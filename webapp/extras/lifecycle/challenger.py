"""The challenger: a version that scores every message beside the served one; its verdict is stored, and never shown."""

import logging
from collections.abc import Callable, Sequence

from webapp.inference import Inference
from webapp.log.tables import Row
from webapp.model.registry import ModelRegistry, Slot
from webapp.model.scoring import SpamModel

NAME = "challenger"  # of the small file in saved_models/ that says which version it is

logger = logging.getLogger(__name__)


def slot(registry: ModelRegistry) -> Slot:
    """Return where a registry holds the challenger."""
    found = next((slot for slot in registry.slots if slot.file.name == NAME), None)
    return found or registry.add_slot(NAME, "?")


def challenger(registry: ModelRegistry) -> SpamModel | None:
    """Return the model that is tried, None if there is none or it cannot be loaded: no verdict waits for it."""
    held = slot(registry)
    held.refresh(wait=False)
    return None if held.error else held.model


def score_with(inference: Inference) -> Callable[[Sequence[str], Sequence[Row]], None]:
    """Return the hook that adds what the challenger says of each text to its row.

    One that fails stops no verdict, and fills no log: each is reported once. Its time is not in the latency: it would
    make the served model look slower than it is.
    """
    reported: set[str] = set()  # versions whose failure this process has logged

    def score(texts: Sequence[str], rows: Sequence[Row]) -> None:
        model = challenger(inference.registry)
        if model is None:
            return
        for text, row in zip(texts, rows, strict=True):
            try:
                probability = model.spam_probabilities([text])[0]
                label = model.label(probability)
            except Exception:  # whatever a model may raise: nobody asked for its word
                if model.version not in reported:
                    reported.add(model.version)
                    words = "The challenger %s cannot score every message; this is said once."
                    logger.exception(words, model.version)
            else:
                row["challenger_version"], row["challenger_label"] = model.version, label
                row["challenger_probability"] = probability

    return score

"""The challenger: a version that scores every message beside the served one; its word is stored, and never shown."""

import logging
from collections.abc import Callable, Sequence

from webapp.inference import Inference
from webapp.log.tables import Row

logger = logging.getLogger(__name__)


def score_with(inference: Inference) -> Callable[[Sequence[str], Sequence[Row]], None]:
    """Return the hook that adds what the challenger says of each text to its row.

    One that fails stops no verdict, and fills no log: each is reported once. Its time is not in the latency: it would
    make the served model look slower than it is.
    """
    reported: set[str] = set()  # versions whose failure this process has logged

    def score(texts: Sequence[str], rows: Sequence[Row]) -> None:
        challenger = inference.registry.challenger()
        if challenger is None:
            return
        for text, row in zip(texts, rows, strict=True):
            try:
                probability = challenger.spam_probabilities([text])[0]
                label = challenger.label(probability)
            except Exception:  # whatever a model may raise: nobody asked for its word
                if challenger.version not in reported:
                    reported.add(challenger.version)
                    words = "The challenger %s cannot score every message; this is said once."
                    logger.exception(words, challenger.version)
            else:
                row["challenger_version"], row["challenger_label"] = challenger.version, label
                row["challenger_probability"] = probability

    return score

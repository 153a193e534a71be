"""Prediction: every interface sends its texts here to be checked, scored and logged."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import InvalidInput, LogUnavailable
from webapp.log.tables import Row, failures, predictions
from webapp.log.writer import AlreadyStored, LogWriter
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import Score, SpamModel
from webapp.waiting import before_waiting

EXPLAINED_TERMS = 10  # more would not explain more
AT_ONCE = 20  # texts that may be scored on the event loop; more would make everybody wait (waiting.py)
ANSWERED = ("id", "label", "spam_probability", "threshold", "model_version", "explanation", "latency_ms")

logger = logging.getLogger(__name__)


class Inference:
    """Checks texts, scores them with the current model, and logs each prediction before it is given out.

    Extras hook in: `before_store` is called with the texts and their rows, to add to these; `after_store` with the rows
    once they are in the log; `failed` with source and status of each request that was refused or went wrong.
    """

    def __init__(self, registry: ModelRegistry, log: LogWriter):
        self.registry = registry
        self.log = log
        self.before_store: list[Callable[[Sequence[str], Sequence[Row]], None]] = []
        self.after_store: list[Callable[[Sequence[Row]], None]] = []
        self.failed: list[Callable[[str, int], None]] = []

    def predict(
        self,
        texts: Sequence[str],
        source: str,
        keys: Sequence[str] | None = None,
        *,
        field: str = "text",
        request_id: str | None = None,
        model: SpamModel | None = None,
    ) -> list[Row]:
        """Return the logged prediction of each text, in their order; they are stored in one transaction, or none is.

        A text whose idempotency key is in the log already keeps the prediction that it has there. `model` scores in
        place of the current one. Raises InvalidInput, which names the text as `field` (texts[{}] for a list),
        ModelUnusable, LogUnavailable.
        """
        if len(texts) > AT_ONCE:
            before_waiting()
        for number, text in enumerate(texts):
            check_text(text, field.format(number))
        if keys and (known := self.log.find_by_key(keys)):  # a file or stream is read again: predict what is new
            new = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
            rows = self.predict(list(new.values()), source, list(new), request_id=request_id, model=model)
            known |= zip(new, rows, strict=True)
            return [known[key] for key in keys]
        rows = self.score(texts, source, model or self.registry.current(), request_id)
        for add in self.before_store:
            add(texts, rows)
        try:
            self.log.add(predictions, rows, keys)
        except AlreadyStored:  # by another process, after we had looked
            return self.predict(texts, source, keys, request_id=request_id, model=model)
        for count in self.after_store:
            count(rows)
        return rows

    def score(self, texts: Sequence[str], source: str, model: SpamModel, request_id: str | None = None) -> list[Row]:
        """Return what a model says of each text as a row that is not logged: it has no id and no time yet."""
        rows = []
        for text in texts:
            started = time.perf_counter()
            score = model.score(text)
            rows.append(
                {
                    "source": source,
                    "text": text,
                    "label": model.label(score.spam_probability),
                    "spam_probability": score.spam_probability,
                    "threshold": model.threshold,
                    "model_version": model.version,
                    "explanation": explain(score),
                    "latency_ms": round((time.perf_counter() - started) * 1000, 3),
                    "request_id": request_id,
                }
            )
        return rows

    def record_failure(self, source: str, status: int, what: str, request_id: str | None, stored: bool = True) -> None:
        """Log that a request was refused or went wrong, unless the log itself is away, and tell the hooks."""
        before_waiting()  # now: a page that starts again after the row is stored would log it twice
        try:
            if stored:
                row = {"source": source, "status": status, "what": what, "request_id": request_id}
                self.log.add(failures, [row])
        except LogUnavailable:
            logger.warning("not in the failures table: %s %s %s", source, status, what)
        for hook in self.failed:
            hook(source, status)


def to_response(row: Row, labels: Labels) -> dict[str, Any]:
    """Return a prediction as JSON shows it, in the API and on a topic: with the model's words for the labels."""
    return {name: row[name] for name in ANSWERED} | {"label": labels.word(row["label"])}


def check_text(text: str, field: str = "text") -> None:
    """Raise InvalidInput, naming the field, unless the text is one that can be scored and stored."""
    fault = None
    if not text or text.isspace():
        fault = "is empty: send the message to check"
    elif len(text) > MAX_TEXT_LENGTH:
        fault = f"is too long: send at most {MAX_TEXT_LENGTH:,} characters"
    elif "\x00" in text:
        fault = "contains a NUL character, which no message has: remove it"
    else:
        try:
            text.encode()
        except UnicodeEncodeError:
            fault = "contains half of a surrogate pair, which is not a character: send valid Unicode"
    if fault:
        raise InvalidInput(f"The {field} {fault}.", [{"field": field, "message": fault}])


def explain(score: Score) -> list[dict[str, Any]]:
    """Return the terms that weighed most, in either direction, heaviest first, and what each adds to the log-odds."""
    heaviest = sorted(score.contributions.items(), key=lambda item: -abs(item[1]))[:EXPLAINED_TERMS]
    rounded = ((term, round(share, 4)) for term, share in heaviest)
    return [{"term": term, "contribution": share} for term, share in rounded if share]

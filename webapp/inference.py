"""The one way through: every door sends its texts here to be checked, scored and logged."""

import datetime as dt
import hashlib
import hmac
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import InvalidInput, LogUnavailable
from webapp.log.ids import new_id
from webapp.log.origins import add_predictions, find_predictions
from webapp.log.tables import FailureRow, PredictionRow, TermContribution
from webapp.log.writer import LogWriter
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry
from webapp.model.spam_model import Score, SpamModel
from webapp.monitoring.metrics import Metrics

EXPLAINED_TERMS = 10  # more would not explain more
ANSWERED = ("id", "label", "spam_probability", "threshold", "model_version", "explanation", "latency_ms")

logger = logging.getLogger(__name__)
_failed_challengers: set[str] = set()  # versions whose failure this process has logged


class Models(NamedTuple):
    """The model whose word counts, and the one that is tried beside it: its word is stored, and never shown."""

    current: SpamModel
    challenger: SpamModel | None = None


class Inference:
    """Checks texts, scores them with the current model, and logs each prediction before it is given out."""

    def __init__(self, registry: ModelRegistry, log: LogWriter, metrics: Metrics, *, store_text: bool, hash_key: str):
        self.registry = registry
        self.log = log
        self.metrics = metrics
        self._store_text = store_text
        self._hash_key = hash_key.encode()

    def models(self) -> Models:
        """Return the models that score the next text; raises ModelUnusable."""
        return Models(self.registry.current(), self.registry.challenger())

    def predict(self, text: str, source: str, request_id: str | None = None) -> PredictionRow:
        """Return the logged prediction for one text.

        Raises InvalidInput (the text), ModelUnusable, LogUnavailable.
        """
        started = time.perf_counter()
        check_text(text)
        row = score_text(self.models(), text, source, request_id, started)
        self.log.add_predictions([self._stored(row)])
        self.metrics.count_predictions([row])
        return row

    def predict_batch(self, texts: Sequence[str], source: str, request_id: str | None = None) -> list[PredictionRow]:
        """Return the predictions for many texts in their order, logged in one transaction: all of them or none.

        Raises InvalidInput that names the text at fault (texts[3]), ModelUnusable, LogUnavailable.
        """
        for number, text in enumerate(texts):
            check_text(text, f"texts[{number}]")
        models = self.models()  # one version for the whole batch
        rows = [score_text(models, text, source, request_id) for text in texts]
        self.log.add_predictions([self._stored(row) for row in rows])
        self.metrics.count_predictions(rows)
        return rows

    def predict_once(self, texts: Mapping[str, str], source: str) -> dict[str, PredictionRow]:
        """Return the prediction for each text by its origin (see webapp/log/origins.py), in the order of the texts.

        A text whose origin is in the log already is not scored again: it keeps the prediction that it has there. The
        others are logged in one transaction: all of them or none. Raises InvalidInput that names the origin (check
        each text by check_text before), ModelUnusable, LogUnavailable.
        """
        for origin, text in texts.items():
            check_text(text, origin)
        models = self.models()
        known = find_predictions(self.log.engine, list(texts))
        rows = {origin: score_text(models, text, source) for origin, text in texts.items() if origin not in known}
        self._add_once(rows)
        return {origin: known.get(origin) or rows[origin] for origin in texts}

    def log_once(self, rows: Mapping[str, PredictionRow]) -> dict[str, PredictionRow]:
        """Log predictions that score_text made, by their origins, as predict_once does; return what the log holds.

        They may have been made a while ago, in another process. So each gets its id and time here: the log relies on
        a row being stored within moments of the time in its id. Raises LogUnavailable.
        """
        known = find_predictions(self.log.engine, list(rows))
        new = {
            origin: PredictionRow(**{**row, "id": new_id(), "created_at": dt.datetime.now(dt.UTC)})
            for origin, row in rows.items()
            if origin not in known
        }
        self._add_once(new)
        return {origin: known.get(origin) or new[origin] for origin in rows}

    def record_failure(self, source: str, status: int, what: str, request_id: str | None) -> None:
        """Log that a request was refused or went wrong; if even that fails, there is only the server's own log left."""
        self.metrics.count_failure(source, status)
        row = FailureRow(
            id=new_id(),
            created_at=dt.datetime.now(dt.UTC),
            source=source,
            status=status,
            what=what,
            request_id=request_id,
        )
        try:
            self.log.add_failure(row)
        except LogUnavailable:
            logger.warning("not in the failures table: %s %s %s", source, status, what)

    def _add_once(self, rows: Mapping[str, PredictionRow]) -> None:
        add_predictions(self.log.engine, {origin: self._stored(row) for origin, row in rows.items()})
        self.metrics.count_predictions(rows.values())

    def _stored(self, row: PredictionRow) -> PredictionRow:
        """Return the row as the log keeps it: with HAMLET_STORE_TEXT=false, without anything of the message itself."""
        if self._store_text:
            return row
        digest = hmac.new(self._hash_key, (row["text"] or "").encode(), hashlib.sha256).hexdigest()
        return PredictionRow(**{**row, "text": None, "explanation": None, "text_hash": digest})


def score_text(
    models: Models, text: str, source: str, request_id: str | None = None, started: float | None = None
) -> PredictionRow:
    """Return the prediction for a text that check_text has passed; it is not logged yet.

    `started` is the time.perf_counter() from which the latency is counted, by default now. The challenger's time is not
    in it: it would make the one that is served look slower than it is.
    """
    started = started or time.perf_counter()
    model, challenger = models
    score = model.score(text)
    row = PredictionRow(
        id=new_id(),
        created_at=dt.datetime.now(dt.UTC),
        source=source,
        text=text,
        text_hash=None,
        label=model.label(score.spam_probability),
        spam_probability=score.spam_probability,
        threshold=model.threshold,
        model_version=model.version,
        explanation=explain(score),
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
        request_id=request_id,
        sender_report=None,
        challenger_version=None,
        challenger_label=None,
        challenger_probability=None,
    )
    if challenger:
        _try_challenger(challenger, text, row)
    return row


def _try_challenger(challenger: SpamModel, text: str, row: PredictionRow) -> None:
    """Note what the challenger says; one that fails stops no verdict, and fills no log: each is reported once."""
    try:
        probability = challenger.spam_probabilities([text])[0]
        label = challenger.label(probability)
    except Exception:  # whatever a model may raise: nobody asked for its word
        if challenger.version not in _failed_challengers:
            _failed_challengers.add(challenger.version)
            logger.exception("The challenger %s cannot score every message; this is said once.", challenger.version)
        return
    row["challenger_version"], row["challenger_label"] = challenger.version, label
    row["challenger_probability"] = probability


def answer(row: PredictionRow, labels: Labels) -> dict[str, Any]:
    """Return what is told of a prediction in JSON, by the API as by the stream, in the model's words for the labels."""
    told = {name: row[name] for name in ANSWERED}  # type: ignore[literal-required]
    told["label"] = labels.word(row["label"])
    return told


def check_text(text: str, field: str = "text") -> None:
    """Raise InvalidInput, naming the field, unless the text is one that can be scored and stored."""
    fault = None
    if not text or text.isspace():
        fault = "is empty: send the message to check"
    elif len(text) > MAX_TEXT_LENGTH:
        fault = f"has {len(text):,} characters: send at most {MAX_TEXT_LENGTH:,}"
    elif "\x00" in text:
        fault = "contains a NUL character, which no message has: remove it"
    elif not _is_unicode(text):
        fault = "contains half of a surrogate pair, which is not a character: send valid Unicode"
    if fault:
        raise InvalidInput(f"The {field} {fault}.", [{"field": field, "message": fault}])


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def explain(score: Score) -> list[TermContribution]:
    """Return the terms that weighed most, in either direction, heaviest first."""
    heaviest = sorted(score.contributions.items(), key=lambda item: -abs(item[1]))[:EXPLAINED_TERMS]
    rounded = ((term, round(share, 4)) for term, share in heaviest)
    return [{"term": term, "contribution": share} for term, share in rounded if share]

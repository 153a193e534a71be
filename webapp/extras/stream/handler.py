"""What becomes of the records of a stream: pure functions that can be tried without a broker.

A record's value is JSON, {"text": ...} with whatever else or a string, or the message itself in UTF-8. A record that
cannot be used becomes a dead letter: the same record on another topic, with the reason.
"""

import json
from collections.abc import Iterable
from typing import NamedTuple

from pydantic_core import to_json

from webapp.errors import InvalidInput
from webapp.inference import check_text, to_response
from webapp.log.tables import Row
from webapp.model.files import unique_members
from webapp.model.labels import Labels

LARGEST = 100_000  # bytes of a record that is sent as it is; brokers take a million by default
SHORTENED = 1_000  # bytes that are left of the key and value of a larger dead letter

Headers = list[tuple[str, bytes | None]]


class Record(NamedTuple):
    """A record as it came from the topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int  # milliseconds, as the broker stored it; the same whenever the record is read
    key: bytes | None
    value: bytes | None
    headers: Headers


class Outgoing(NamedTuple):
    """A record to be sent."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers


def idempotency_key(record: Record, cluster: str) -> str:
    """Return the name under which the log knows a record for good.

    A topic that was deleted and made again begins at offset 0 again, and another cluster may have a topic of the same
    name: so the time of the record and the cluster are part of it.
    """
    return f"stream {record.topic}/{record.partition}/{record.offset}@{cluster}/{record.timestamp}"


def read(
    records: Iterable[Record], cluster: str, dead_letter_topic: str
) -> tuple[dict[str, tuple[Record, str]], list[Outgoing]]:
    """Return the usable records with their texts, by key, and a dead letter for each other record."""
    usable, dead_letters = {}, []
    for record in records:
        try:
            if _size(record.key, record.headers) > LARGEST:
                raise InvalidInput(f"The key and the headers have more than {LARGEST:,} bytes.")
            text = read_text(record.value)
        except InvalidInput as error:
            dead_letters.append(dead_letter(record, dead_letter_topic, str(error)))
        else:
            usable[idempotency_key(record, cluster)] = record, text
    return usable, dead_letters


def read_text(value: bytes | None) -> str:
    """Return the message in a record's value; raises InvalidInput.

    What begins with a brace must be JSON, as half of an object is no message. Of other JSON a string stands for its
    content, as every client's JSON serialiser writes it; an array, null or a lone number is none.
    """
    if value is None:
        raise InvalidInput("The record has no value.")
    try:
        text = value.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput("The value is not UTF-8.") from error
    try:
        content = json.loads(text, object_pairs_hook=unique_members)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            raise InvalidInput(f"The value begins with a brace, but is not valid JSON ({error}).") from error
        content = text
    if isinstance(content, dict):
        content = content.get("text")
    if not isinstance(content, str):
        raise InvalidInput('The JSON is neither a string nor an object whose "text" is a string.')
    check_text(content)
    return content


def prediction(record: Record, row: Row, labels: Labels, topic: str) -> Outgoing:
    """Return what the API would answer, under the record's key and with its headers."""
    return Outgoing(topic, to_json(to_response(row, labels)), record.key, record.headers)


def dead_letter(record: Record, topic: str, reason: str) -> Outgoing:
    """Return the record with headers that say what is wrong with it and where it was; a large one is shortened."""
    facts = {"reason": reason, "topic": record.topic, "partition": record.partition, "offset": record.offset}
    why: Headers = [(f"hamlet-{name}", str(fact).encode()) for name, fact in facts.items()]
    if len(record.value or b"") + _size(record.key, record.headers) <= LARGEST:
        return Outgoing(topic, record.value, record.key, [*record.headers, *why])
    value, key = (part and part[:SHORTENED] for part in (record.value, record.key))
    return Outgoing(topic, value, key, [*why, ("hamlet-truncated", f"It has more than {LARGEST:,} bytes.".encode())])


def _size(key: bytes | None, headers: Headers) -> int:
    return len(key or b"") + sum(len(name) + len(value or b"") for name, value in headers)

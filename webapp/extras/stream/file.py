"""Puts the texts of a file onto a topic, so that any number of consumers on any number of hosts score them."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from confluent_kafka import KafkaException, Producer
from pydantic_core import to_json

from webapp.errors import BadData
from webapp.extras.stream.handler import Outgoing, Record
from webapp.extras.stream.notices import Notices
from webapp.extras.stream.sender import Sender
from webapp.extras.stream.settings import PRODUCER, Properties

CHUNK = 5_000  # rows after which it is known how far the file came


def send_texts(
    texts: Iterable[tuple[int, str]],
    name: str,
    topic: str,
    brokers: str,
    properties: Properties,
    say: Callable[[str], None],
) -> Iterator[tuple[int, int, list[int]]]:
    """Send (row, text) as {"text": ...} under the row's number as key; the header hamlet-file holds the file's name.

    Yields, whenever the broker has a chunk for good: (its last row, how many were sent, those refused as too large).
    """
    try:
        producer = Producer({**PRODUCER, **properties, "bootstrap.servers": brokers, "error_cb": lambda _error: None})
    except KafkaException as error:
        raise BadData(f"--brokers or --config cannot be used: {error.args[0].str()}") from error
    sender = Sender(producer, lambda _refused: None, Notices(say, lambda _kind: None), producer.poll)
    rows = iter(texts)
    while chunk := list(islice(rows, CHUNK)):
        sent = sender.send([_outgoing(row, text, name, topic) for row, text in chunk])
        yield chunk[-1][0], len(sent), sorted({row for row, _ in chunk} - {one.record.offset for one in sent})


def _outgoing(row: int, text: str, name: str, topic: str) -> Outgoing:
    key, headers = str(row).encode(), [("hamlet-file", name.encode())]
    record = Record(topic, 0, row, 0, key, None, [])
    return Outgoing("prediction", topic, to_json({"text": text}), key, [*headers], record)

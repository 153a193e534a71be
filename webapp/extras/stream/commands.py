"""flask stream, flask stream-file."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from pydantic_core import to_json

from webapp.cli.command import Clear, current_inference
from webapp.config import pip_install
from webapp.errors import BadData, HamletError

NOT_DRAINED = 1  # exit code
CHUNK = 5_000  # rows of a file after which it is known how far it came
PATIENCE_S = 300  # with a broker that takes no rows of a file

_brokers = click.option("--brokers", required=True, metavar="HOST:PORT,...", help="Where the Kafka cluster is.")
_config = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A properties file with more settings for librdkafka, such as those of TLS and SASL.",
)


@click.command(cls=Clear)
@_brokers
@click.option("--in", "topic_in", default="messages", show_default=True, help="The topic with the messages.")
@click.option("--out", "topic_out", default="predictions", show_default=True, help="The topic for the predictions.")
@click.option("--dead-letter", help="The topic for records that cannot be used.  [default: IN.dead-letter]")
@click.option("--group", default="hamlet", show_default=True, help="Consumers of one group share the topic's records.")
@_config
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    default=0,
    show_default=True,
    help="Serve /metrics for Prometheus on this port; 0 does not.",
)
@with_appcontext
def stream(
    brokers: str,
    topic_in: str,
    topic_out: str,
    dead_letter: str | None,
    group: str,
    config: Path | None,
    metrics_port: int,
) -> None:
    """Score the records of a Kafka topic as they come, until told to stop by SIGTERM or Ctrl-C.

    A record's value is JSON, {"text": ...} or a string, or the message in UTF-8. Its prediction goes to the topic OUT,
    as JSON like that of the API, under the same key and with the same headers. Start it as often as the topic has
    partitions.
    """
    _need_client()
    from flask import current_app

    from webapp.extras.stream.client import Options, read_properties
    from webapp.extras.stream.loop import Stream
    from webapp.extras.stream.status import Status

    dead_letter = dead_letter or f"{topic_in}.dead-letter"
    if len({topic_in, topic_out, dead_letter}) < 3:
        raise BadData("--in, --out and --dead-letter must be three different topics")
    properties = read_properties(config)
    inference = current_inference()
    status = Status(current_app.extensions["engine"], topic_in, group)
    if metrics_port:
        status.serve(metrics_port)
    consumer = Stream(inference, Options(brokers, topic_in, topic_out, dead_letter, group, properties), status, _say)
    _on_signal(consumer.stop)
    _say(f"Scoring {topic_in} of {brokers} as {status.name} of the group {group}.")
    if not consumer.run():
        _say("Stopped without the broker: the records at hand were not committed and will be read again.")
        sys.stderr.flush()
        # The client would wait for the broker before it lets the process end.
        os._exit(NOT_DRAINED)
    _say("Stopped; all that was read is done and committed.")


@click.command("stream-file", cls=Clear)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_brokers
@click.option("--to", "--in", "topic", default="messages", show_default=True, help="The topic that takes the messages.")
@click.option("--text-column", help="The column with the messages, where its name is not a usual one such as text.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out the first rows, which are there already.")
@_config
@with_appcontext
def stream_file(file: Path, brokers: str, topic: str, text_column: str | None, skip: int, config: Path | None) -> None:
    """Put the messages of FILE onto a Kafka topic, for any number of consumers to score.

    FILE is CSV, TSV, JSON Lines or Parquet, plain or gzip'd. Each record's key is the number of its row, from 1. Rows
    that cannot be read are sent empty, and so end as dead letters.
    """
    _need_client()
    from webapp.extras.stream.client import deliver, make_producer, read_properties
    from webapp.extras.stream.handler import Outgoing, Record

    producer = make_producer(brokers, read_properties(config))
    rows = ((row, text) for row, text in _texts(file, text_column) if row > skip)
    done, sent, refused = skip, 0, 0
    try:
        while chunk := list(islice(rows, CHUNK)):
            outgoing = []
            for row, text in chunk:
                key, headers = str(row).encode(), [("hamlet-file", file.name.encode())]
                value, record = to_json({"text": text}), Record(topic, 0, row, 0, None, None, [])
                outgoing.append(Outgoing("prediction", topic, value, key, [*headers], record))
            delivered = deliver(producer, outgoing, lambda _refused: None, lambda seconds: seconds > PATIENCE_S)
            for row in sorted({row for row, _ in chunk} - {one.record.offset for one in delivered}):
                _say(f"Row {row} is too large for {topic}.")
            done, sent, refused = chunk[-1][0], sent + len(delivered), refused + len(chunk) - len(delivered)
    except (KeyboardInterrupt, HamletError):
        _say(f"The first {done:,} rows are on {topic}; go on behind them with --skip {done}.")
        raise
    click.echo(f"{sent:,} records sent to {topic}.")
    if refused:
        click.get_current_context().exit(1)


def _texts(file: Path, text_column: str | None) -> Iterator[tuple[int, str]]:
    """Yield each row's number, from 1, and its text, empty where it cannot be read; raises BadData."""
    from webapp.model.files import open_table

    with closing(open_table(file, text_column)) as table:
        text_at = table.find_text(text_column)
        _say(table.about(text_at))
        for number, row in enumerate(table.read([text_at]), start=1):
            text = None if row.error else row.values[0]
            yield number, text if isinstance(text, str) else ""
        for notice in table.notices():
            _say(notice)


def _need_client() -> None:
    try:
        import confluent_kafka  # noqa: F401
    except ImportError as error:
        raise BadData(f"Streams need the Kafka client: {pip_install('requirements-kafka.txt')}") from error


def _on_signal(stop: Callable[[], None]) -> None:
    """Stop in order upon the first SIGTERM or Ctrl-C; the second one ends the process at once, which loses nothing."""

    def once(_number: int, _frame: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, once)


def _say(line: str) -> None:
    click.echo(line, err=True)

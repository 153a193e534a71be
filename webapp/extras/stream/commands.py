"""flask stream, flask stream-file."""

import json
import signal
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand, current_inference
from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import BadData, counted
from webapp.extras.stream.handler import Outgoing
from webapp.model.files import open_table
from webapp.model.labels import read_meanings
from webapp.model.table import Row

CHUNK = 5_000  # rows of a file that are sent together

_say = partial(click.echo, err=True)

_brokers = click.option("--brokers", required=True, metavar="HOST:PORT,...", help="Where the Kafka cluster is.")
_config = click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A properties file with more settings for librdkafka, such as those of TLS and SASL.",
)


@click.command(cls=FriendlyCommand)
@_brokers
@click.option("--in", "topic_in", default="messages", show_default=True, help="The topic with the messages.")
@click.option("--out", "topic_out", default="predictions", show_default=True, help="The topic for the predictions.")
@click.option("--dead-letter", help="The topic for records that cannot be used.  [default: IN.dead-letter]")
@click.option("--group", default="hamlet", show_default=True, help="Consumers of one group share the topic's records.")
@_config
@with_appcontext
def stream(
    brokers: str, topic_in: str, topic_out: str, dead_letter: str | None, group: str, config: Path | None
) -> None:
    """Score the records of a Kafka topic as they come, until told to stop by SIGTERM or Ctrl-C.

    A record's value is JSON, {"text": ...} or a string, or the message in UTF-8. Its prediction goes to the topic OUT,
    as JSON like that of the API, under the same key and with the same headers. Start it as often as the topic has
    partitions.
    """
    from webapp.extras.stream.loop import Stream  # raises BadData where the Kafka client is not installed

    topics = (topic_in, topic_out, dead_letter or f"{topic_in}.dead-letter")
    if len(set(topics)) < 3:
        raise BadData("--in, --out and --dead-letter must be three different topics")
    settings = read_settings(brokers, config) | {"group.id": group}
    consumer = Stream(current_inference(), _say, settings, topics)

    def stop(_number: int, _frame: Any) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # a second one ends the process at once, which loses nothing
        consumer.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _say(f"Scoring {topic_in} of {brokers} as {consumer.status.name} of the group {group}.")
    consumer.run()
    _say("Stopped.")


@click.command("stream-file", cls=FriendlyCommand)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_brokers
@click.option("--to", "topic", default="messages", show_default=True, help="The topic that takes the messages.")
@click.option("--text-column", help="The column with the messages, where its name is not a usual one such as text.")
@_config
@with_appcontext
def stream_file(file: Path, brokers: str, topic: str, text_column: str | None, config: Path | None) -> None:
    """Put the messages of FILE onto a Kafka topic, for any number of consumers to score.

    FILE is CSV, TSV, JSON Lines or Parquet, plain or gzip'd. Each record's key is the number of its row, from 1. Rows
    that cannot be read are sent empty, and so end as dead letters.
    """
    from webapp.extras.stream.loop import deliver, make_producer

    producer, sent = make_producer(read_settings(brokers, config)), 0
    with open_table(file, text_column, read_meanings(current_inference().registry.labels())) as table:
        text_at = table.find_column(text_column)
        records = (_record(topic, number, row) for number, row in enumerate(table.read([text_at]), start=1))
        try:
            while chunk := list(islice(records, CHUNK)):
                deliver(producer, chunk)
                sent += len(chunk)
        finally:
            _say("\n".join([*table.notices(text_at), f"{counted(sent, 'record')} sent to {topic}."]))


def _record(topic: str, number: int, row: Row) -> Outgoing:
    """Return the record of a row; one that cannot be read is empty, and so ends as a dead letter."""
    text = row.values[0] if not row.error and isinstance(row.values[0], str) else ""
    # A longer text is too long as well. JSON's escapes can say half a surrogate pair, UTF-8 cannot.
    value = json.dumps({"text": text[: MAX_TEXT_LENGTH + 1]}).encode()
    return Outgoing(topic, value, str(number).encode(), [])


def read_settings(brokers: str, path: Path | None) -> dict[str, str]:
    """Return the lines `name=value` of a Java-style properties file, and the brokers.

    Raises BadData, which never shows a value.
    """
    settings = {}
    for number, line in enumerate(path.read_text("utf-8-sig", "replace").splitlines() if path else [], start=1):
        name, sign, value = (part.strip() for part in line.partition("="))
        if name and name[0] not in "#!":
            if not sign:
                raise BadData(f"{path}, line {number}: write name=value")
            settings[name] = value
    return settings | {"bootstrap.servers": brokers}

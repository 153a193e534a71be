"""What the Kafka clients (librdkafka) are told: our own settings, and those of the user's properties file."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from webapp.errors import BadData

Properties = dict[str, str | int | bool]

# Upon these rests that no record is lost, and that none is logged twice. The values are those that may be written.
FIXED: Mapping[str, tuple[str, ...]] = {
    "bootstrap.servers": (),
    "group.id": (),
    "enable.auto.commit": ("false",),
    "auto.commit.enable": ("false",),
    "enable.auto.offset.store": ("false",),
    "auto.offset.reset": ("earliest", "smallest", "beginning"),
    "acks": ("all", "-1"),
    "request.required.acks": ("all", "-1"),
    "transactional.id": (),
    "statistics.interval.ms": (),
}
INSTEAD = {"bootstrap.servers": "use --brokers", "group.id": "use --group"}

COMMON: Properties = {
    "log_level": 2,  # librdkafka would write of each attempt to connect; we say once what is wrong (notices.py)
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 10_000,
    "topic.metadata.refresh.interval.ms": 10_000,  # how soon a new topic is noticed
}
PRODUCER: Properties = {
    **COMMON,
    "acks": "all",
    "partitioner": "murmur2_random",  # a key goes to the partition that other languages' clients choose, too
    "message.max.bytes": 100_000_000,  # the broker decides what is too large
    "linger.ms": 5,
}
CONSUMER: Properties = {
    **COMMON,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "statistics.interval.ms": 1_000,  # lag, and whether the broker answers, come with the statistics
}


class Options(NamedTuple):
    """What `flask stream` was asked to do."""

    brokers: str
    topic_in: str
    topic_out: str
    dead_letter: str
    group: str
    properties: Properties


def read_properties(path: Path) -> Properties:
    """Return the lines `name=value` of a Java-style properties file.

    Raises BadData for a line that is none, and for what would break a promise of ours; it never shows a value, as it
    may be a password.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"{path}: cannot be read as a text file") from error
    properties: Properties = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip()[0] in "#!":
            continue
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not name:
            raise BadData(f"{path}, line {number}: write name=value")
        if name in FIXED and value.lower() not in FIXED[name]:
            raise BadData(
                f"{path}, line {number}: {name} cannot be set here, "
                + INSTEAD.get(name, "or records could be lost or logged twice")
            )
        properties[name] = value
    return properties

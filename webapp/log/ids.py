"""Ids that tell their time: a range of time is a range of ids."""

import datetime as dt
import os
import time


def first_id(moment: dt.datetime) -> str:
    """Return the smallest id that new_id can give at a time: ids from there on are of that time or later."""
    digits = f"{round(moment.timestamp() * 1e6) // 1000:012x}"
    return f"{digits[:8]}-{digits[8:]}-7000-8000-000000000000"


def moment_of(id_: str) -> dt.datetime:
    """Return the time at which new_id gave an id, to the millisecond."""
    return dt.datetime.fromtimestamp(int(id_[:8] + id_[9:13], 16) / 1000, dt.UTC)


def new_id() -> str:
    """Return an id that nobody can guess and that grows with time, so that the index is appended to.

    It is a UUID of version 7 (RFC 9562, section 5.7): 48 bits of milliseconds, 12 bits of the fraction of one (section
    6.2, method 3), so that messages of the same millisecond keep their order too, then 62 random bits.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    random = int.from_bytes(os.urandom(8)) >> 2
    value = milliseconds << 80 | 7 << 76 | (nanoseconds * 4096 // 1_000_000) << 64 | 2 << 62 | random
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"

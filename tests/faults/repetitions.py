"""How often each fault is made: one of each kind in the ordinary run, all of them FAULTS=100 times by `make faults`."""

import os

REPETITIONS = int(os.environ.get("FAULTS", "1"))
LONG = REPETITIONS > 1


def of_a_kind(*cases):
    """Return all cases for `make faults`, the first of them for `make test`."""
    return cases if LONG else cases[:1]

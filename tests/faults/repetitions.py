"""How often each fault is made: once in the ordinary run, FAULTS=100 times by `make faults`."""

import os

REPETITIONS = int(os.environ.get("FAULTS", "1"))
LONG = REPETITIONS > 1

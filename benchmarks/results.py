"""benchmarks/results.json: what was measured last, each part by the script that measures it."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("results.json")


def save(**parts: Any) -> None:
    """Replace these parts of the file, and the date; leave the others."""
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(json.dumps(known | {"measured_at": dt.date.today().isoformat()} | parts, indent=2) + "\n")

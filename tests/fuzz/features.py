"""Fuzz what the model looks at with atheris, which sees which lines of the code a text reaches and looks for new ones.

    python tests/fuzz/features.py -max_total_time=600 FOLDER        (part of `make fuzz`, see docs/bad_input.md)

FOLDER keeps the texts that reached something new, so that the next run goes on from there. For any text: no error,
finite values, spans within the text and in order, an explanation whose pieces are the text, and time in proportion to
its length (libFuzzer reports what takes longer than -timeout seconds).
"""

import csv
import math
import sys
from itertools import islice
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

with atheris.instrument_imports(include=["webapp.model", "webapp.web.words"]):
    from webapp.model.features import term_values
    from webapp.model.tokenizer import token_spans, tokenize
    from webapp.web.words import mark


def check(content):
    """Raise AssertionError, or whatever the code raises, if it does not do its duty on a text, given as bytes."""
    text = content.decode(errors="surrogateescape")  # those that are no UTF-8 become halves of surrogate pairs
    message = tokenize(text)
    assert all(message), "an empty token"
    values = term_values(text)
    assert all(math.isfinite(value) and value >= 0 for value in values.values())
    assert values.keys() >= set(message)
    before = 0
    for start, end, tokens in token_spans(text):
        assert 0 <= start < end <= len(text)
        assert start >= before
        assert tokens
        before = start
    explanation = [{"term": token, "contribution": 1.0} for token in message]
    assert "".join(piece for piece, _, _ in mark(text, explanation)) == text


def plant(folder):
    """Put some messages into an empty folder: the fuzzer changes these, and need not find out words by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    if not any(folder.iterdir()):
        with (ROOT / "webapp" / "model" / "messages.csv").open(newline="", encoding="utf-8") as file:
            for number, row in enumerate(islice(csv.DictReader(file), 0, None, 50)):
                (folder / f"message-{number}").write_text(row["text"], encoding="utf-8")


if __name__ == "__main__":
    plant(Path(sys.argv[-1]))
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()

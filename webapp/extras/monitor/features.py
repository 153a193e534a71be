"""What a message looks like in a few numbers: on these, later traffic is compared with earlier (drift).

They are of the text alone, whatever the model makes of it, so they do not change when the model does.
"""

from functools import lru_cache
from typing import NamedTuple

from webapp.model.data import copy_keys
from webapp.model.tokenizer import count_capitals, count_digits, counter_of, tokenize

OF_CHARACTERS, OF_MESSAGES = "% of the characters", "% of the messages"
FEATURES = {  # what its change is called, and in what it is measured
    "Median length": "characters",
    "Digits": OF_CHARACTERS,
    "Capital letters": OF_CHARACTERS,
    "Punctuation marks": OF_CHARACTERS,
    "Letters and signs beyond plain English": OF_CHARACTERS,
    "With line breaks": OF_MESSAGES,
    "With links": OF_MESSAGES,
    "With phone numbers": OF_MESSAGES,
    "With amounts of money": OF_MESSAGES,
}
READ_UP_TO = 1_000  # characters: more of a long mail says little more, and takes ten times as long

_count_visible, _count_spaces = counter_of(str.isalnum), counter_of(str.isspace)


class Features(NamedTuple):
    """What is compared of one message."""

    values: tuple[float, ...]  # in the order of FEATURES
    terms: frozenset[str]  # its words and placeholders
    copy_keys: frozenset[str]  # it is a copy of what shares one of these


@lru_cache(maxsize=4_000)  # the same messages are looked at again and again; enough for both sides of a comparison
def extract(text: str) -> Features:
    """Return the features of a message."""
    start = text[:READ_UP_TO]
    tokens, length = tokenize(start), max(len(start), 1)
    non_ascii = 0 if start.isascii() else sum(character > "\x7f" for character in start)
    values = (
        len(text),
        count_digits(start) / length,
        count_capitals(start) / length,
        (len(start) - _count_visible(start) - _count_spaces(start)) / length,
        non_ascii / length,
        start.count("\n"),
        tokens.count("[link]"),
        tokens.count("[phone number]"),
        tokens.count("[amount of money]"),
    )
    return Features(values, frozenset(tokens), frozenset(copy_keys(start)))

"""What a message looks like in a few numbers: on these, later traffic is compared with earlier (drift).

They are of the text alone, whatever the model makes of it, so they do not change when the model does.
"""

from functools import lru_cache
from typing import NamedTuple

from webapp.model.data import copy_keys
from webapp.model.tokenizer import count_capitals, count_digits, counter_of, tokenize

FEATURES = {  # name -> what it says of a message, for the sentence about its change
    "length": "characters",
    "digits": "digits",
    "capitals": "capital letters",
    "punctuation": "punctuation marks",
    "non_ascii": "letters and signs beyond plain English",
    "lines": "line breaks",
    "links": "links",
    "phone_numbers": "phone numbers",
    "amounts_of_money": "amounts of money",
}
COUNTED = ("lines", "links", "phone_numbers", "amounts_of_money")  # in most messages there are none
READ_UP_TO = 1_000  # characters: more of a long mail says little more, and takes ten times as long

_count_visible, _count_spaces = counter_of(str.isalnum), counter_of(str.isspace)


class Features(NamedTuple):
    """What is compared of one message."""

    values: tuple[float, ...]  # in the order of FEATURES; from digits to non_ascii shares of the characters
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

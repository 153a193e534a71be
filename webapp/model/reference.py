"""What a message looks like in a few numbers: on these, later traffic is compared with earlier (drift).

They say what changes when another kind of message arrives, whatever the model makes of it. Rounded, because a file of
them is saved with each version of the model, and a comparison must not find that one side is rounded.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple, NotRequired, TypedDict

from webapp.model.scoring import SpamModel
from webapp.model.tokenizer import count_capitals, count_digits, counter_of, tokenize

TRAITS = (
    "spam_probability",
    "length",  # characters
    "unknown_term_share",  # of the distinct words, how many the model has never learnt
    "words",
    "mean_word_length",
    "digit_share",  # of the characters, as the next three
    "capital_share",
    "punctuation_share",
    "non_ascii_share",
    "line_breaks",
    "links",
    "phone_numbers",
    "amounts_of_money",
)
RAREST = 0.005  # tokens in fewer messages than this share are not kept: they say little of the traffic
FEWEST = 5  # nor those in fewer messages than this: they might say something of one message


_count_visible, _count_spaces = counter_of(str.isalnum), counter_of(str.isspace)


class Observed(NamedTuple):
    """What is compared of one message."""

    traits: tuple[float, ...]  # in the order of TRAITS
    tokens: frozenset[str]  # its words and placeholders


class Reference(TypedDict):
    """What is kept of many messages: enough to compare others with them, and never a text."""

    messages: int
    traits: dict[str, list[float]]  # name -> one value per message
    called_spam: float  # share
    token_shares: dict[str, float]  # token -> share of the messages that hold it
    learnt: NotRequired[str]  # data.fingerprints of all messages that the model was fitted on


def observe(model: SpamModel, text: str, spam_probability: float | None = None) -> Observed:
    """Return the traits and tokens of a message; it is scored only where its spam probability is not known yet."""
    if spam_probability is None:
        spam_probability = model.spam_probabilities([text])[0]
    tokens = tokenize(text)
    words = [token for token in tokens if token[0].isalpha()]
    length = max(len(text), 1)
    non_ascii = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    values = (
        round(spam_probability, 4),
        len(text),
        round(model.unknown_share(tokens), 3),
        len(words),
        round(sum(map(len, words)) / max(len(words), 1), 2),
        round(count_digits(text) / length, 3),
        round(count_capitals(text) / length, 3),
        round((len(text) - _count_visible(text) - _count_spaces(text)) / length, 3),
        round(non_ascii / length, 3),
        text.count("\n"),
        tokens.count("[link]"),
        tokens.count("[phone number]"),
        tokens.count("[amount of money]"),
    )
    return Observed(values, frozenset(tokens))


def token_shares(token_sets: Sequence[Collection[str]]) -> dict[str, float]:
    """Return the share of messages that hold a token, for each that is not too rare; the most frequent first."""
    counts = Counter(token for tokens in token_sets for token in set(tokens))
    total = len(token_sets)
    least = fewest_holders(total)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return {token: round(count / total, 4) for token, count in ordered if count >= least}


def fewest_holders(messages: int) -> float:
    """Return in how many of so many messages a token must be to be kept."""
    return max(RAREST * messages, FEWEST)


def summarise(observed: Sequence[Observed], called_spam: Sequence[bool]) -> Reference:
    """Return what is kept of messages; both arguments have shape (messages,), one or more."""
    columns = zip(*(one.traits for one in observed), strict=True)
    return Reference(
        messages=len(observed),
        traits={name: list(values) for name, values in zip(TRAITS, columns, strict=True)},
        called_spam=round(sum(called_spam) / len(called_spam), 4),
        token_shares=token_shares([one.tokens for one in observed]),
    )

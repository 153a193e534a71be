"""From a message's text to numbers: what the model looks at.

tokenizer.py reads a message, once, into *tokens*: its words, in lower case, with digits written as 0, and placeholders
for what differs in every message: `[link]`, `[phone number]`, `[amount of money]`, ...

The tokens become *terms* with values; to them come

- pairs of neighbouring tokens;
- inside each word, its groups of 2 to 5 letters (character n-grams), so that a misspelt or unseen word still counts;
- the topics that the message speaks of, and each two of them together.

A message of n distinct tokens gives each of these the value 1/sqrt(1 + n), so that a long mail does not shout
louder than an SMS. A word's n-grams always come along with the word, in fixed proportion. That is what makes scoring
fast: what a word adds to the log-odds depends on the word alone and can be remembered.

The path of this module is inside every saved model: do not move it. A change to what it or tokenizer.py computes makes
saved models wrong without an error, so raise FEATURES_VERSION with it; the loader refuses models of another version.
"""

import math
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, combinations, pairwise
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from webapp.model.tokenizer import tokenize

FEATURES_VERSION = 3

# How much n-grams and topics weigh beside words, before the classifier weighs them: see docs/model.md.
NGRAM_VALUE = 0.15
TOPIC_VALUE = 0.4
NGRAM_LENGTHS = (2, 3, 4, 5)
LONGEST_WORD = 32  # letters of a word that are cut into n-grams; longer "words" are no words


def char_ngrams(token: str) -> tuple[str, ...]:
    """Return the groups of letters in a word, its ends marked by spaces; a placeholder has none."""
    if token.startswith("["):
        return ()
    word = f" {token[:LONGEST_WORD]} "
    return tuple(f"~{word[i : i + n]}" for n in NGRAM_LENGTHS for i in range(len(word) - n + 1))


_char_ngrams_once = lru_cache(maxsize=8192)(char_ngrams)  # for training; a served model remembers their sums


def pairs(tokens: Sequence[str]) -> Iterable[tuple[str, str]]:
    """Return the distinct pairs of neighbours, in order."""
    return dict.fromkeys(pairwise(tokens))


def token_value(distinct_tokens: int) -> float:
    """Return the value of each token of a message with so many distinct ones."""
    return 1 / math.sqrt(1 + distinct_tokens)


def topic_term(one: str, other: str) -> str:
    """Return the term of two topics, in order, that a message speaks of; of one topic alone, given twice."""
    return f"#{one}" if one == other else f"#{one} #{other}"


def topic_value(number: int) -> float:
    """Return the value of each of a number of topics, and of each two of them."""
    return TOPIC_VALUE / math.sqrt(1 + number * (number + 1) / 2)


def term_values(text: str) -> dict[str, float]:
    """Return the value of every term of a message."""
    tokens = tokenize(text)
    distinct = dict.fromkeys(tokens)
    value = token_value(len(distinct))
    values = dict.fromkeys(distinct, value)
    for first, second in pairs(tokens):
        values[f"{first} {second}"] = value
    for token in distinct:
        for ngram in _char_ngrams_once(token):
            values[ngram] = values.get(ngram, 0.0) + NGRAM_VALUE * value
    found = sorted(topics(distinct))
    value = topic_value(len(found))
    return values | {topic_term(*two): value for two in chain(zip(found, found, strict=True), combinations(found, 2))}


class MessageVectorizer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turn texts into a sparse matrix of term values.

    It learns which terms are frequent enough to keep: a word must occur in `min_words` messages, a pair in
    `min_pairs`, an n-gram in `min_ngrams`. And it learns how telling each of them is: rare terms, and terms whose
    shares in the two classes differ, get greater values, so that the classifier, which shrinks all weights alike, can
    lean on them (after Wang & Manning 2012, Baselines and Bigrams, ACL).
    """

    def __init__(self, min_words: int = 3, min_pairs: int = 4, min_ngrams: int = 40):
        self.min_words = min_words
        self.min_pairs = min_pairs
        self.min_ngrams = min_ngrams

    def fit(self, texts: Iterable[str], y: Iterable[Any]) -> Self:
        """Learn the vocabulary and the scale of each of its terms, shape (terms,).

        y holds the class of each text, two different ones. Raises ValueError where it does not, and for a bare string.
        """
        self.fit_transform(texts, y)
        return self

    def fit_transform(self, texts: Iterable[str], y: Iterable[Any]) -> sparse.csr_matrix:
        """Fit to texts and return their matrix, as `transform` does, but reading them once."""
        classes, places = np.unique(np.asarray(list(y)), return_inverse=True)
        if len(classes) != 2:
            raise ValueError(f"y must hold two classes, but holds {len(classes)}.")
        columns: defaultdict[str, int] = defaultdict(lambda: len(columns))
        values = _matrix(texts, columns.__getitem__)
        if values.shape[0] != len(places):
            raise ValueError(f"There are {values.shape[0]} texts, but {len(places)} labels.")
        negative, positive = (np.bincount(values[places == place].indices, minlength=len(columns)) for place in (0, 1))
        least = np.array([self._minimum(term) for term in columns])
        kept = sorted(term for term, is_kept in zip(columns, negative + positive >= least, strict=True) if is_kept)
        self.vocabulary_ = {term: column for column, term in enumerate(kept)}
        chosen = np.array([columns[term] for term in kept], dtype=np.int32)
        negative, positive = 1 + negative[chosen], 1 + positive[chosen]
        rareness = np.sqrt(np.log((2 + len(places)) / (negative + positive))) / 2
        contrast = np.abs(np.log(negative / negative.sum()) - np.log(positive / positive.sum()))
        self.scale_ = (rareness * (1 + contrast) / 2).round(3)
        return self._scaled(values[:, chosen])

    def __getstate__(self) -> dict[str, Any]:
        """Save the terms as one string: unpickling 150,000 of them one by one would take most of the time of a load."""
        state = dict(super().__getstate__())
        if "vocabulary_" in state:
            state["vocabulary_"] = "\n".join(state["vocabulary_"])  # in the order of their columns
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "vocabulary_" in state:
            terms = state["vocabulary_"].split("\n")
            state = {**state, "vocabulary_": {term: column for column, term in enumerate(terms)}}
        super().__setstate__(state)

    def _minimum(self, term: str) -> int:
        if term.startswith("~"):
            return self.min_ngrams
        return self.min_pairs if " " in term and not term.startswith("[") else self.min_words

    def transform(self, texts: Iterable[str]) -> sparse.csr_matrix:
        """Return a matrix of shape (messages, terms), dtype float64; raises NotFittedError, ValueError as fit does."""
        check_is_fitted(self)
        return self._scaled(_matrix(texts, self.vocabulary_.get, len(self.vocabulary_)))

    def _scaled(self, values: sparse.csr_matrix) -> sparse.csr_matrix:
        values.data *= self.scale_[values.indices]
        return values

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the term of each column, shape (terms,); raises NotFittedError."""
        check_is_fitted(self)
        return np.array(list(self.vocabulary_), dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Say that it takes texts, one a message, and needs to know their classes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.target_tags.required = True
        return tags


def _matrix(
    texts: Iterable[str], column_of: Callable[[str], int | None], width: int | None = None
) -> sparse.csr_matrix:
    """Return the value of each term in the column that is its own; a term that has none is left out."""
    if isinstance(texts, str):
        raise ValueError("Iterable over texts expected, one string received: put it into a list.")
    columns, values, ends = array("i"), array("d"), [0]
    for text in texts:
        for term, value in term_values(text).items():
            column = column_of(term)
            if column is not None:
                columns.append(column)
                values.append(value)
        ends.append(len(columns))
    where = np.array(columns, dtype=np.int32)
    width = int(where.max(initial=-1)) + 1 if width is None else width
    return sparse.csr_matrix((np.array(values), where, np.array(ends)), shape=(len(ends) - 1, width))


# --- Topics ------------------------------------------------------------------------------------------------
# "Your parcel", "the shipment" and "USPS" are one topic, and so are "locked" and "on hold". A word alone does not tell
# much: accounts are in ham and in spam. That an account is locked, and a link leads to a host that the message does not
# name, is a fraud in whatever words. So what the model learns from one campaign helps against the next.

_WORDS = {  # each word has one topic, and so has its plural
    "account": "account bank banking billing card login password paypal profile username wallet icloud",
    "booking": "booked booking invoice receipt reservation table ticket",
    "channel": "channel playlist song subs subscribe subscriber video view youtube",
    "code": "code otp passcode pin",
    "contact": "contact dm email message reply ring telegram text txt whatsapp",
    "debt": "approved credit debt finance lender loan mortgage",
    "family": "auntie brother dad daughter grandad grandma mom mum mummy nan sister son",
    "free": "complimentary free gratis trial",
    "fund": "barrister beneficiary foreign fund inheritance million",
    "gambling": "bet betting casino jackpot odds poker slot spin",
    "health": "appointment clinic dentist doctor gp nurse prescription surgery vet",
    "I": "i i'd i'll i'm i've me my",
    "investment": "bitcoin broker btc crypto eth forex invest investment investor profit returns signal stock trader "
    "trading usdt",
    "job": "earn earning earnings hire hiring hr income job position recruiter recruiting recruitment remote salary "
    "vacancy",
    "locked": "blocked cancelled closed deactivated declined disabled expired failed fraud frozen hold limited locked "
    "paused restricted suspended suspension suspicious terminated unauthorised unauthorized unsuccessful unusual",
    "love": "babe chat cute date dating girl handsome hot lonely nude pic pretty sexy single",
    "marketing": "backlink business client follower google lead marketing rank ranking seo traffic website",
    "meeting": "agenda calendar call meet meeting minutes schedule slides zoom",
    "money": "amount balance cash charge charged debited fee money owe owed paid pay payment send transfer",
    "parcel": "address courier customs deliver delivered delivery depot dhl evri fedex hermes package parcel "
    "redelivery shipment shipped shipping ups usps warehouse",
    "plans": "coffee coming dinner friday home later lunch pick pub saturday see sunday tomorrow tonight weekend",
    "politeness": "cheers kind please regards sorry thank thanks",
    "price": "buy cheap deal discount offer order ordered price promo sale save shop",
    "prize": "bonus claim congratulations draw gift giveaway lucky prize redeem reward selected voucher win winner won",
    "remedy": "cbd cialis diet drug keto lose loss pharmacy pill replica viagra watches weight",
    "school": "class club coach kids match parent practice pupil school teacher training trip",
    "stop": "end optout stop unsubscribe",
    "stranger": "friend met number remember stranger who wrong",
    "tax": "benefit fine grant hmrc irs penalty rebate refund stimulus tax toll unpaid",
    "threat": "arrest court hacked infected lawsuit lawyer legal malware police recorded security virus warrant webcam",
    "trust": "blessed confidential god honest private secret trust",
    "urgency": "asap deadline expire final hours hurry immediate immediately last now soon today urgent urgently "
    "within",
    "verifying": "authenticate complete confirm confirmation details information provide reactivate restore resubmit "
    "review submit unlock update validate verification verify",
    "visit": "below click download here link open scan tap visit",
    "we": "our us we",
    "work": "branch bug build deploy log merged pr release server staging test",
    "you": "u ur you your yours",
}
_TOPIC_OF = {word: topic for topic, words in _WORDS.items() for word in words.split()}
_TOPIC_OF = {f"{word}s": topic for word, topic in _TOPIC_OF.items()} | _TOPIC_OF
_TOPIC_OF |= {
    "[link]": "link",
    "[phone number]": "phone number",
    "[amount of money]": "amount",
    "[e-mail address]": "e-mail address",
    "[number of 4 digits]": "four digits",
    "[number of 6 digits]": "six digits",
    "?": "question",
    "!": "exclamation",
}
NAMED, HALF_NAMED, NOT_NAMED = "host that is named", "host that is half named", "host that is not named"
TOPICS = sorted({*_TOPIC_OF.values(), NAMED, HALF_NAMED, NOT_NAMED})


def topics(tokens: Collection[str]) -> Mapping[str, list[str]]:
    """Return the topics of a message, and of each the distinct tokens that speak of it."""
    found: dict[str, list[str]] = {}
    for token in tokens:
        if topic := _TOPIC_OF.get(token):
            found.setdefault(topic, []).append(token)
    if "[link]" in tokens and (about_hosts := _about_hosts(tokens)):
        found[about_hosts] = ["[link]"]
    return found


def _about_hosts(tokens: Iterable[str]) -> str | None:
    """Say whether a text names whom its links lead to: a shop does; who pretends to be a bank has another's host."""
    hosts = [token[1:] for token in tokens if token[0] == "@" and token[1:].isalpha()]  # else it is a sign
    words = [token for token in tokens if token[0] not in "@["]
    if not hosts:
        return None
    text, all_hosts = "".join(words), " ".join(hosts)
    if any(host in text for host in hosts):
        return NAMED
    return HALF_NAMED if any(len(word) > 3 and word in all_hosts for word in words) else NOT_NAMED

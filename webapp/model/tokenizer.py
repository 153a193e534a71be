"""Read a message into its tokens: words, and placeholders for what differs in every message.

What is computed here is part of every saved model: see FEATURES_VERSION in features.py before you change it.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

# --- Plain letters -----------------------------------------------------------------------------------------
# Spam hides its words from filters: "Ｆree", "frее" with Cyrillic letters, "f<zero width>ree".

_LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһԛԝвкмнтАЕОРСУХІЈЅԌҺВКМНТαοτικνρυχγΑΒΕΗΙΚΜΝΟΡΤΥΧΖɡɩ∣ⅼ",
    "aeopcyxijsdhqwbkmhtAEOPCYXIJSGhBKMHTaotiknpuxyABEHIKMNOPTYXZgill",
)
_INVISIBLE = re.compile(
    r"[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0]"
)


class _PlainLetters:
    """A table for str.translate: code point to what a reader would take it for."""

    @staticmethod
    @lru_cache(maxsize=4096)
    def _plain(code: int) -> str:
        letter = chr(code)
        if _INVISIBLE.match(letter):
            return ""
        parts = unicodedata.normalize("NFKD", letter.translate(_LOOK_ALIKES))
        return unicodedata.normalize("NFC", "".join(c for c in parts if not unicodedata.combining(c)))

    def __getitem__(self, code: int) -> str:
        return self._plain(code)


_PLAIN_LETTERS = _PlainLetters()


def plain(text: str) -> str:
    """Return the text without invisible characters, accents and look-alike letters."""
    return text if text.isascii() else text.translate(_PLAIN_LETTERS)


# --- Tokens ------------------------------------------------------------------------------------------------
# Every repetition that could be tried again from the next character has an upper bound, so that the time
# stays linear in the length of the text, whatever the text.

_ENDINGS = (
    "com net org info biz co uk in us io me ly top xyz club online site shop live cc tk ga ml cf gq ru cn eu app "
    "dev link click icu vip work store website space fun pw to tv gov edu ie au ca de fr sg za ng gl gd page "
    "support help email pro tech life world today win bid loan men date mobi name host ws be it es nl nz gle"
).replace(" ", "|")
_TOKEN = re.compile(
    rf"""
      (?P<word> (?!(?:https?|rs|inr|usd|eur|gbp|ngn|zar)\b) [^\W\d_]{{2,}} (?=[\s,!?]|$) )  # most words: a short cut
    | (?P<link>  hxxps?:?//\S+ | https?\s?:?\s?//\S+ | www\.\S+
               | \b(?:[a-z0-9][a-z0-9-]{{0,62}}\.){{1,6}}(?: (?:{_ENDINGS})\b(?:/\S*)? | [a-z]{{2,12}}/\S+ ) )
    | (?P<email> [\w.+-]{{1,64}}@[\w-]{{1,63}}(?:\.[\w-]{{1,63}}){{1,6}} )
    | (?P<money> [£$€₹₦]\s?\d[\d,.]{{0,15}}(?:\s?[kmb]\b)?
               | \b(?:rs|inr|usd|eur|gbp|ngn|zar)\.?\s?\d[\d,.]{{0,15}}
               | \b\d[\d,.]{{0,15}}\s?(?:[£€]|(?:pounds?|euros?|dollars?|usd|gbp|rs|p|ppm|inr|rupees?|lakhs?|bucks)\b) )
    | (?P<phone> (?<!\d)\+?\(?\d[\d\-\s().]{{7,20}}\d )
    | (?P<number> \d+(?:[.,:/]\d+)*(?!\w) )
    | (?P<spaced> (?<!\w)[^\W\d_](?:[\ .*_-][^\W\d_]){{3,30}}(?!\w) )
    | (?P<odd_word>  [^\W_]+(?:['’][^\W_]+)* )
    | (?P<emoji> [\u2190-\u2bff\U0001f000-\U0001faff] )
    | (?P<sign>  [!?]+ | [£$€%*\#@<>|~^=+]+ | \.{{2,}} )
    """,
    re.VERBOSE,
)
_SPACES = re.compile(r"[ \t]+")
_DISGUISED = re.compile(r"[a-z]\d{1,2}[a-z]")  # as in acc0unt
_LETTERS_FOR_DIGITS = str.maketrans("013457", "oieast")
_DIGITS_TO_ZERO = str.maketrans("123456789", "000000000")
_SCHEME = re.compile(r"^(?:h(?:tt|xx)ps?\s?:?\s?//|www\.)+")


def _read_token(match: re.Match[str]) -> list[str]:
    """Return what one piece of text counts as; a link counts as several things."""
    kind, piece = match.lastgroup, match.group()
    if kind == "word":
        return [piece]
    if kind == "odd_word":
        word = piece.replace("’", "'")
        disguised = ["[digits in a word]", word.translate(_LETTERS_FOR_DIGITS)] if _DISGUISED.search(word) else []
        return [word.translate(_DIGITS_TO_ZERO), *disguised]
    if kind == "link":
        return _read_link(piece)
    if kind == "number":
        return [f"[number of {min(len(piece), 8)} digits]"] if piece.isdigit() else ["[number with signs]"]
    if kind == "sign":
        return [piece[:3]]
    if kind == "spaced":
        return ["".join(filter(str.isalpha, piece))]
    return [_PLACEHOLDERS[kind or ""]]


_PLACEHOLDERS = {
    "email": "[e-mail address]",
    "money": "[amount of money]",
    "phone": "[phone number]",
    "emoji": "[emoji]",
}


# A last piece of a path that no word is in, such as /x7Gk2p: where bulk senders tell their victims apart.
_RANDOM_PATH = re.compile(r"/(?=[a-z]*\d)(?=\d*[a-z])[a-z\d]{4,12}\W*$ | /[^aeiou\W]{4,12}\W*$", re.VERBOSE)
_UNREADABLE = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}")  # as in tmgcrg.com: a name that nobody chose
_SHORTENERS = frozenset(
    ["bit.ly", "t.co", "tinyurl.com", "rb.gy", "goo.gl", "is.gd", "cutt.ly", "ow.ly", "shorturl.at"]
)

_ENDINGS_IN_FRONT = frozenset(["com", "gov", "co", "org", "net", "ac"])


def _read_link(link: str) -> list[str]:
    host = re.split(r"[/?#]", _SCHEME.sub("", link), maxsplit=1)[0]
    *names, ending = host.split(".")
    if len(ending) == 2 and names and names[-1] in _ENDINGS_IN_FRONT:  # .co.uk
        names.pop()
    tokens = ["[link]", f"[link ending .{ending[:8]}]"]
    if "-" in host:
        tokens.append("[link with hyphen]")
    if any(c.isdigit() for c in host):
        tokens.append("[link with digits]")
    if _RANDOM_PATH.search(link):
        tokens.append("[link with a random path]")
    if host in _SHORTENERS:
        tokens.append("[shortened link]")
    if _UNREADABLE.search(host):
        tokens.append("[link to an unreadable host]")
    if not _ENDINGS_IN_FRONT.isdisjoint(names):  # bank.com.pay-now.top
        tokens.append("[link with a false ending]")
    if not link.startswith(("http", "www")):
        tokens.append("[link without http]")
    return tokens + [f"@{part}" for name in names for part in re.findall(r"[a-z]{3,32}", name)]


# --- Letters apart -----------------------------------------------------------------------------------------

_GAP_IN_WORD = re.compile(r"(?<=(?<!\S)\S) (?=\S(?!\S))")  # between two single characters


def _gaps_in_words(text: str) -> set[int]:
    """Return where a message that is "s p e l t   l i k e   t h i s" has blanks inside its words."""
    if 5 * text.count(" ") < 2 * len(text):  # of ordinary text a sixth is blank
        return set()
    gaps = {match.start() for match in _GAP_IN_WORD.finditer(text)}
    return gaps if len(gaps) > 3 else set()  # "u r ok" is none


# --- Reading -----------------------------------------------------------------------------------------------


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text, words and placeholders, in order and with repetitions."""
    text = plain(text).lower()
    if _gaps_in_words(text):
        text = _GAP_IN_WORD.sub("", text)
    return [token for match in _TOKEN.finditer(_SPACES.sub(" ", text)) for token in _read_token(match)]


def token_spans(text: str) -> Iterator[tuple[int, int, list[str]]]:
    """Yield (start, end, tokens) for each piece of the original text that the model looks at."""
    lengths = [1] * len(text) if text.isascii() else [len(plain(c)) for c in text]
    origin = [i for i, length in enumerate(lengths) for _ in range(length)]  # plain position -> original position
    text = plain(text).lower()
    if gaps := _gaps_in_words(text):
        text = _GAP_IN_WORD.sub("", text)
        origin = [place for i, place in enumerate(origin) if i not in gaps]
    for match in _TOKEN.finditer(text):
        yield origin[match.start()], origin[match.end() - 1] + 1, _read_token(match)

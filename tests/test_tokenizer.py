"""A text becomes the same tokens whichever way it is read, and a word stays a word however it is written."""

import random

from conftest import messages

from webapp.model import tokenizer
from webapp.model.tokenizer import token_spans, tokenize

NASTY = (
    "http https : // http://a.top/x rs Rs. 5 £ £5 € 1,000 p pounds pound, ppm k b K. a b c d w.w.w f.r.e.e -x- _ +44 "
    "(0)20 7946 0958 07911 123456 a@b.co x.com don't I'm I’m ok. OK!! !!!! ... ? free, fr33 F-R-E-E é İ ﬁ ½ 😀 (hello) "
    "'tis it's' well; note: hxxp://a usd bucks' dollars) o'clock hello!. okay?, a' b's rupees'x"
)


def mixtures(count):
    draw, pieces = random.Random(7), NASTY.split()
    for _ in range(count):
        yield "".join(draw.choice(pieces) + draw.choice(["", " ", " ", "  ", "\n"]) for _ in range(draw.randint(1, 9)))


def test_words_in_a_row_are_read_as_the_search_reads_them():
    for text in [*(text for _, text in messages(400)), *mixtures(3000)]:
        plain = tokenizer.plain(text)
        if not tokenizer._gaps_in_words(plain):
            assert tokenize(text) == tokenizer._search(tokenizer._SPACES.sub(" ", plain)), text


def test_the_spans_hold_the_same_tokens():
    for text in [*(text for _, text in messages(200)), "s p e l t   a p a r t", "h e y ,   a r e   y o u   i n ?"]:
        assert [token for _, _, tokens in token_spans(text) for token in tokens] == tokenize(text)


def test_letters_apart_are_words():
    for text in ("A r e   w e   o n   f o r   l u n c h ?", "a r e  w e  o n  f o r  l u n c h ?"):
        assert tokenize(text) == ["are", "we", "on", "for", "lunch", "?"]


def test_a_word_in_it_may_be_spelt_apart():
    assert tokenize("your f-r-e-e gift, f.r.e.e") == ["your", "free", "gift", "free"]


def test_short_words_are_not_joined():
    assert tokenize("I am at a b c u r ok") == ["i", "am", "at", "abcur", "ok"]
    assert tokenize("i c u") == ["i", "c", "u"]


def test_a_marked_letter_of_a_spelt_word_is_where_it_was():
    text = "h e y   y o u ,   s e e   m e"
    assert [text[start:end] for start, end, _ in token_spans(text)] == ["h e y", "y o u", "s e e", "m e"]


def test_a_link_tells_what_is_odd_about_it():
    assert "[link to an unreadable host]" in tokenize("see tmgcrgx.com/5rBu34D")
    assert "[link to an unreadable host]" not in tokenize("see https://www.example-bank.co.uk/login")

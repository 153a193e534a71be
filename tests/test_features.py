"""A text becomes tokens and topics, and MessageVectorizer keeps scikit-learn's contract."""

import pytest
from conftest import HAM, SPAM, messages
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks

from webapp.model.features import MessageVectorizer, topics
from webapp.model.tokenizer import token_spans, tokenize


def test_the_spans_hold_the_same_tokens_each_where_it_was():
    for text in [*(text for _, text in messages(200)), "s p e l t   a p a r t", "h e y ,   a r e   y o u   i n ?"]:
        assert [token for _, _, tokens in token_spans(text) for token in tokens] == tokenize(text)
    text = "h e y   y o u ,   s e e   m e"
    assert [text[start:end] for start, end, _ in token_spans(text)] == ["h e y", "y o u", "s e e", "m e"]


def test_letters_apart_are_words_but_short_words_are_not_joined():
    for text, tokens in {
        "A r e   w e   o n   f o r   l u n c h ?": "are we on for lunch ?",
        "a r e  w e  o n  f o r  l u n c h ?": "are we on for lunch ?",
        "your f-r-e-e gift, f.r.e.e": "your free gift free",
        "I am at a b c u r ok": "i am at abcur ok",
        "i c u": "i c u",
        "your acc0unt": "your acc0unt [digits_in_a_word] account",  # with digits for letters: that word too
    }.items():
        assert tokenize(text) == [token.replace("_", " ") for token in tokens.split()]


def test_what_a_message_speaks_of():
    for text, found in {
        "Your parcels are on hold!": {"you": "your", "parcel": "parcels", "locked": "hold", "exclamation": "!"},
        "chase: chase.com/x": {"link": "[link]", "host that is named": "[link]"},
        "chase: mychase.top": {"link": "[link]", "host that is half named": "[link]"},
        "chase: abcd.gl/x": {"link": "[link]", "host that is not named": "[link]"},
        "@@@ @ #": {},
    }.items():
        assert topics(dict.fromkeys(tokenize(text))) == {topic: [token] for topic, token in found.items()}

    # A link tells what is odd about it.
    assert "[link to an unreadable host]" in tokenize("see tmgcrgx.com/5rBu34D")
    assert "[link to an unreadable host]" not in tokenize("see https://www.example-bank.co.uk/login")


# --- The vectoriser, which can be used in a notebook as any ---

# Of scikit-learn's checks those that bring no data of their own: its data is numbers, not texts.
NAMES = (
    "estimator_cloneable do_not_raise_errors_in_init_or_set_params estimator_repr estimator_tags_renamed set_params "
    "get_params_invariance mixin_order no_attributes_set_in_init parameters_default_constructible valid_tag_types"
)
CHECKS = [getattr(estimator_checks, f"check_{name}") for name in NAMES.split()]


TEXTS = [text for _, text in messages(120)]


@pytest.fixture(scope="module")
def fitted():
    return MessageVectorizer().fit(TEXTS, [label == "spam" for label, _ in messages(120)])


def test_it_passes_the_checks_of_scikit_learn():
    for check in CHECKS:
        check("MessageVectorizer", MessageVectorizer())


def test_each_column_has_a_name(fitted):
    names = fitted.get_feature_names_out()
    row = fitted.transform(TEXTS[:1]).toarray()[0]
    assert len(names) == len(row) == len(fitted.scale_)
    assert set(TEXTS[0].lower().split()) & set(names[row > 0])


def test_wrong_use_is_refused(fitted):
    new = MessageVectorizer()
    for error, why, method, *given in (
        (NotFittedError, "not fitted", new.transform, [SPAM]),
        (NotFittedError, "not fitted", new.get_feature_names_out),
        (ValueError, "one string", fitted.transform, SPAM),
        (ValueError, "one string", new.fit, "ab", [0, 1]),
        (ValueError, "two classes", new.fit, [SPAM, HAM], [1, 1]),
        (ValueError, "3 texts, but 2 labels", new.fit, [SPAM, HAM, HAM], [0, 1]),
    ):
        with pytest.raises(error, match=why):
            method(*given)

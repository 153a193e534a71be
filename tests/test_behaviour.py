"""How the shipped model behaves: what must not change its verdict, what must raise it, what must never be blocked."""

import pytest
from conftest import SPAM

EVERYDAY = [
    "Are we still on for lunch tomorrow? I can be there at half past twelve.",
    "Happy birthday mum! Call you after work x",
    "Your appointment with Dr Osei is on Tuesday 14 May at 9:40. Reply C to cancel.",
    "482913 is your verification code. Don't share it with anyone.",
    "Your order has been delivered and left in the porch. Thank you for shopping with us.",
    "Can you pick up milk and bread on the way home?",
    "The 18:05 to Leeds is delayed by 12 minutes and will leave from platform 4.",
    "Minutes of today's meeting are in the shared folder, let me know if I forgot something.",
    "We won!!! 3-2 in extra time, free drinks for everyone tonight",
    "Salary for October has been paid into your account ending 4471.",
]
SPAMS = [
    SPAM,
    "Your parcel is on hold, pay the fee at parcel-fee.top",
    "Hi mum, my phone broke, this is my new number. Can you pay a bill for me today? I'll pay you back tomorrow x",
    "FREE entry! Text WIN to 80085 now to claim your £500 voucher. 150p per msg",
    "Your account has been locked due to unusual activity. Verify now: http://secure-login-bank.xyz/verify",
    "Earn $300 a day from home liking videos. No experience needed. Message Anna on WhatsApp +1 555 0142",
]


@pytest.fixture(scope="module")
def own_messages(project_messages):
    return {row["text"]: row["label"] for row in project_messages if row["split"] == "test"}


def verdict(model, text):
    return model.label(model.score(text).spam_probability)


def test_everyday_messages_are_ham_and_typical_spam_is_spam(model):
    names = ("Tom", "Aisha", "Wei", "Oluwaseun", "Siobhán", "Priya")
    ham = [*EVERYDAY, *(f"Hi {name}, your taxi is outside. See you in a minute!" for name in names)]
    prize = "you have been selected for a £1000 prize! Claim it: http://win-now.top/x"
    assert [text for text in ham if verdict(model, text) != "ham"] == []
    assert [text for text in [*SPAMS, *(f"{name}, {prize}" for name in names)] if verdict(model, text) != "spam"] == []


LOOK_ALIKES = str.maketrans("aeocpxAEOCPX", "аеосрхАЕОСРХ")
DISGUISES = {
    "capitals": str.upper,
    "small letters": str.lower,
    "double spaces": lambda text: text.replace(" ", "  "),
    "look-alike letters": lambda text: text.translate(LOOK_ALIKES),
    "zero-width characters": "\u200b".join,
    "letters apart": " ".join,
    "full-width letters": lambda text: "".join(
        chr(ord(c) + 0xFEE0) if c.isascii() and c.isalpha() else c for c in text
    ),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_a_disguise_does_not_flip_a_confident_verdict(model, own_messages, disguise):
    texts = [*own_messages, *EVERYDAY, *SPAMS]
    confident = [text for text in texts if not 0.2 < model.score(text).spam_probability < 0.8]
    assert len(confident) > 200
    assert [t for t in confident if verdict(model, t) != verdict(model, DISGUISES[disguise](t))] == []


FRIENDLY = {
    "words": "lunch dinner tomorrow tonight mum dad love haha lol thanks later milk dog cat garden walk weekend sunday "
    "football pub film train bus late sorry sleep tea coffee cake kids school homework birthday party sister uncle "
    "wedding rain beach piano",
    "paragraph": "By the way we had such a nice time on Sunday, the kids loved the garden and mum still talks of the "
    "cake. Say hi to your sister, and see you at football.",
}


@pytest.mark.parametrize("friendly", FRIENDLY)
def test_friendly_words_do_not_hide_spam(model, own_messages, friendly):
    spam = [text for text, label in own_messages.items() if label == "spam"]
    caught = [text for text in [*spam, *SPAMS] if verdict(model, text) == "spam"]
    still = [text for text in caught if verdict(model, f"{text} {FRIENDLY[friendly]}") == "spam"]
    assert len(caught) > 100
    assert len(still) / len(caught) > 0.7


@pytest.mark.parametrize("addition", [" Reply STOP to opt out", " Pay now: http://secure-pay.top/a"])
def test_what_spam_adds_raises_the_probability_of_most_messages(model, own_messages, addition):
    raised = [model.score(t + addition).spam_probability > model.score(t).spam_probability for t in own_messages]
    assert sum(raised) / len(raised) > 0.9

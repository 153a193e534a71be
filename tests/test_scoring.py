"""The fast scorer agrees with scikit-learn, and its explanation adds up."""

import csv
import math

import pytest
from conftest import HAM, SPAM, messages

from webapp.config import ROOT

TEXTS = [
    SPAM,
    HAM,
    "ok",
    "   .",
    "free free free FREE fr33",
    "Ｆree entry, frее prize, f\u200bree gift, f.r.e.e",
    "see https://www.example-bank.co.uk/a?b=c or mail me@example.org",
    "£1,000 or Rs. 500 or 20 pounds, 150p/min",
    "😀😀 ¿qué? שלום नमस्ते 你好",
    "a" * 10_000,
    "a-" * 5_000,
    "1 " * 5_000,
    "WIN FREE PRIZE CALL 09061701461 NOW!!! " * 200,
    "ok thanks see you at home " * 300,
    *[text for _, text in messages(50)],
]


@pytest.fixture
def model(app):
    return app.extensions["inference"].registry.current()


def test_the_sum_of_terms_is_what_the_pipeline_says(model):
    with (ROOT / "webapp" / "model" / "messages.csv").open(newline="", encoding="utf-8") as file:
        texts = [*TEXTS, *[row["text"] for row in csv.DictReader(file)][::5]]
    expected = model.pipeline.predict_proba(texts)[:, 1]
    found = [model.score(text).spam_probability for text in texts]
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= min(found) < max(found) <= 1
    log_odds = sum(model.score(SPAM).contributions.values()) + model.pipeline[-1].intercept_[0]
    assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(model.score(SPAM).spam_probability, abs=1e-12)

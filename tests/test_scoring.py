"""The fast scorer agrees with scikit-learn, and explains: by its sum over terms, or else by leaving terms out."""

import math

import numpy as np
import pytest
from conftest import HAM, SPAM, messages
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest, chi2
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler
from sklearn.svm import SVC

from webapp.config import MAX_TEXT_LENGTH
from webapp.errors import ModelUnusable
from webapp.model import scoring
from webapp.model.features import MessageVectorizer
from webapp.model.labels import Labels
from webapp.model.own_model import unwrap
from webapp.model.scoring import MOST_CHARACTERS, MOST_TERMS, LinearModel, SpamModel, make_model
from webapp.web.words import mark

# --- The shipped model ---

ODD = [
    *(SPAM, HAM, "ok", "   .", "free free free FREE fr33", "Ｆree entry, frее prize, f\u200bree gift, f.r.e.e"),
    *("see https://www.example-bank.co.uk/a?b=c or mail me@example.org", "£1,000 or Rs. 500 or 20 pounds, 150p/min"),
    *("😀😀 ¿qué? שלום नमस्ते 你好", "a" * 10_000, "a-" * 5_000, "1 " * 5_000),
    *("WIN FREE PRIZE CALL 09061701461 NOW!!! " * 200, "ok thanks see you at home " * 300),
    *(text for _, text in messages(50)),
]


def test_the_sum_of_terms_is_what_the_pipeline_says(model, project_messages):
    texts = [*ODD, *(row["text"] for row in project_messages[::5])]
    expected = model.pipeline.predict_proba(texts)[:, 1]
    found = [model.score(text).spam_probability for text in texts]
    assert found == pytest.approx(expected, abs=1e-9)
    assert 0 <= min(found) < max(found) <= 1
    log_odds = sum(model.score(SPAM).contributions.values()) + model.pipeline[-1].intercept_[0]
    assert 1 / (1 + math.exp(-log_odds)) == pytest.approx(model.score(SPAM).spam_probability, abs=1e-12)


# --- Any Pipeline ---

TEXTS = [
    *("WIN a free train!!! Claim your soup prize, call now", "shall we take the bus on Monday? I will bring soup"),
    *("You have won a prize, call now", "nothing of this was ever seen", "??", "free " * 300),
]


class Reversed(LogisticRegression):
    """Keeps its classes as ["spam", "ham"], as libraries other than scikit-learn may."""

    def fit(self, X, y, sample_weight=None):  # noqa: N803
        super().fit(X, y, sample_weight)
        self.classes_, self.coef_, self.intercept_ = self.classes_[::-1], -self.coef_, -self.intercept_
        return self


class Louder(TransformerMixin, BaseEstimator):
    """Has no state, so scikit-learn takes it, and whatever ends in it, for not fitted."""

    def fit(self, X, y=None):  # noqa: N803
        return self

    def transform(self, X):  # noqa: N803
        return [text.upper() for text in X]


class Length(Louder):
    def transform(self, X):  # noqa: N803
        return [[len(text) / 100] for text in X]

    def get_feature_names_out(self, names=None):
        return np.array(["length"])


COUNTS, GRAMS = (CountVectorizer(), TfidfTransformer()), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3))
LINEAR = {
    "tfidf, logistic regression": (TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=20)),
    "counts, multinomial": (CountVectorizer(), MultinomialNB(alpha=0.1)),
    "tfidf, complement": (TfidfVectorizer(), ComplementNB()),
    "Bernoulli": (TfidfVectorizer(), BernoulliNB(binarize=0.1)),
    "Bernoulli of ones": (CountVectorizer(binary=True), BernoulliNB(binarize=None)),
    "gradient descent": (TfidfVectorizer(), SGDClassifier(loss="log_loss", random_state=0)),
    "steps between": (*COUNTS, SelectKBest(chi2, k=40), MaxAbsScaler(), LogisticRegression()),
    "union": (FeatureUnion([("words", TfidfVectorizer()), ("grams", GRAMS)]), LogisticRegression()),
    "float32": (TfidfVectorizer(dtype=np.float32), LogisticRegression()),
    "a Pipeline at the end": (CountVectorizer(), make_pipeline(TfidfTransformer(), LogisticRegression())),
    "own step in a union": (FeatureUnion([("words", TfidfVectorizer()), ("length", Length())]), LogisticRegression()),
    "reversed": (TfidfVectorizer(), Reversed()),
    "own step before": (Louder(), TfidfVectorizer(lowercase=False), LogisticRegression()),
}
OTHER = {
    "calibrated": (TfidfVectorizer(), CalibratedClassifierCV(MultinomialNB(), cv=3)),
    "forest": (TfidfVectorizer(), RandomForestClassifier(10, random_state=0)),
    "hashes": (HashingVectorizer(alternate_sign=False), MultinomialNB()),
    "hashes, weighed": (HashingVectorizer(alternate_sign=False), TfidfTransformer(), LogisticRegression()),
    "components": (TfidfVectorizer(), TruncatedSVD(5, random_state=0), LogisticRegression()),
    "components in a Pipeline": (make_pipeline(TfidfVectorizer(), TruncatedSVD(5)), LogisticRegression()),
    "no names": (TfidfVectorizer(), FunctionTransformer(accept_sparse=True), LogisticRegression()),
    # It has weights where its kernel is linear, but its probabilities are not those of their sum.
    "support vectors": (TfidfVectorizer(), SVC(kernel="linear", probability=True, random_state=0)),
    "bent": (TfidfVectorizer(), SGDClassifier(loss="modified_huber", random_state=0)),
}


def fitted(*steps, names=("ham", "spam")):
    rows = [row for number, row in enumerate(messages(160)) if number % 4 != 1]  # less spam than ham: the prior counts
    return unwrap(make_pipeline(*steps).fit([text for _, text in rows], [names[label == "spam"] for label, _ in rows]))


def modelled(*steps):
    return make_model(fitted(*steps), "v", 0.5)


@pytest.mark.parametrize("name", LINEAR)
def test_contributions_add_up(name):
    model = modelled(*LINEAR[name])
    assert type(model) is LinearModel
    pipeline = model.pipeline
    spam = list(pipeline.classes_).index("spam")
    exact = 1e-5 if name.startswith("float32") else 1e-9
    for text in TEXTS:
        score = model.score(text)
        expected = pipeline.predict_proba([text])[0, spam]
        assert [score.spam_probability, *model.spam_probabilities([text])] == pytest.approx([expected] * 2, abs=1e-9)
        logarithms = pipeline.predict_log_proba([text])[0]
        log_odds = logarithms[spam] - logarithms[1 - spam]
        assert model.intercept + sum(score.contributions.values()) == pytest.approx(log_odds, abs=exact, rel=exact)


@pytest.mark.filterwarnings("ignore:.*probability:FutureWarning")
@pytest.mark.parametrize("name", OTHER)
def test_any_other_is_explained_by_leaving_terms_out(name):
    model = modelled(*OTHER[name])
    for text in TEXTS:
        score = model.score(text)
        assert score.spam_probability == pytest.approx(model.pipeline.predict_proba([text])[0, 1])
        assert score == SpamModel(model.pipeline, "v", 0.5).score(text)


def test_words_of_the_message_are_named_as_such():
    for name, text, terms in (
        ("union", "WIN a free train", {"win", "free", "train", " fr"}),
        ("own step before", "Free train", {"free"}),
        ("tfidf, logistic regression", "Free bus", {"free", "bus", "free bus"}),
    ):
        assert terms <= set(modelled(*LINEAR[name]).score(text).contributions)
    underlined = modelled(CountVectorizer(vocabulary=["free", "____", "a__b"]), MultinomialNB())
    assert set(underlined.score("free a__b ____").contributions) == {"free", "a__b", "____"}


def test_it_agrees_with_predict_proba_whatever_the_classes_are_called():
    texts = [text for _, text in messages(10)]
    known = [("ham", "spam"), ("NOT_spam", "Spam"), (0, 1), (0.0, 1.0), (False, True)]
    cases = [(names, Labels("ok", "toxic")) for names in known]
    cases += [((1.0, 0.0), Labels("1", "0")), ((True, False), Labels("1", "0")), (("b", "a"), Labels("b", "a"))]
    for names, labels in cases:
        for steps in ([CountVectorizer(), MultinomialNB()], [MessageVectorizer(), LogisticRegression()]):
            pipeline = fitted(*steps, names=names)
            model = make_model(pipeline, "v", 0.5, labels)
            expected = pipeline.predict_proba(texts)[:, list(pipeline.classes_).index(names[1])]
            assert model.spam_probabilities(texts) == pytest.approx(expected)
            assert [model.label(probability) for probability in expected] == [label for label, _ in messages(10)]


def test_the_explanation_is_what_leaving_a_term_out_changes():
    model = modelled(CountVectorizer(), CalibratedClassifierCV(MultinomialNB(), cv=3))
    contributions = model.score("WIN a free train, shall we? WIN").contributions
    ham, spam = np.log(model.pipeline.predict_proba(["WIN a free train, shall we? WIN", "a free train, shall we?"])).T
    whole, without = spam - ham
    assert contributions["win"] == pytest.approx(whole - without)  # it is there twice
    assert contributions["shall"] < 0 < contributions["free"]
    assert set(contributions) == {"win", "a", "free", "train", "shall", "we", "?"}
    pieces = mark("WIN a free train", [{"term": "win", "contribution": 2.0}, {"term": "train", "contribution": -1.0}])
    assert [(text, towards) for text, towards, _ in pieces if towards] == [("WIN", "spam"), ("train", "ham")]


def test_the_explanation_has_a_bounded_cost(monkeypatch):
    asked, real = [], scoring.transform
    model = modelled(CountVectorizer(), CalibratedClassifierCV(MultinomialNB(), cv=3))
    monkeypatch.setattr(scoring, "transform", lambda pipeline, texts: asked.append(texts) or real(pipeline, texts))
    for text in ("", "?", "a " * 100, " ".join(map(str, range(2_000))), "x1 " * 3_000, "http://a.b/c " * 700):
        asked.clear()
        score = model.score(text[:MAX_TEXT_LENGTH])
        (texts,) = asked
        assert len(texts) <= 1 + MOST_TERMS
        assert sum(map(len, texts)) <= MOST_CHARACTERS + MAX_TEXT_LENGTH
        assert all(abs(share) < 50 for share in score.contributions.values())  # a forest's 0 has no logarithm


# --- Probabilities that are none ---


class Odd(ClassifierMixin, BaseEstimator):
    """Says whatever `answer` makes of rightful probabilities."""

    def __init__(self, answer=None):
        self.answer = answer

    def fit(self, X, y):  # noqa: N803
        self.bayes_ = MultinomialNB().fit(X, y)
        self.classes_ = self.bayes_.classes_
        return self

    def predict_proba(self, X):  # noqa: N803
        return self.answer(self.bayes_.predict_proba(X))


REFUSED = [
    (lambda p: p * np.nan, "not from 0 to 1"),
    (lambda p: p * 1.5, "not from 0 to 1"),
    (lambda p: p - 0.5, "not from 0 to 1"),
    (lambda p: p / 2, "do not add up to 1"),
    (lambda p: p[:, 1], "returns 2 numbers, not 2 x 2"),
    (lambda p: p[:1], "returns 1 x 2 numbers, not 2 x 2"),
    (lambda p: [["a", "b"]] * len(p), "fails .ValueError"),
    (lambda p: 1 / 0, "fails .ZeroDivisionError"),
]


def test_a_pipeline_that_gives_no_probabilities_is_refused():
    for answer, reason in REFUSED:
        with pytest.raises(ModelUnusable, match=reason):
            modelled(CountVectorizer(), Odd(answer))
    model = modelled(CountVectorizer(), Odd(lambda p: p))
    model.pipeline[-1].answer = lambda p: p * np.nan
    with pytest.raises(ModelUnusable, match="predict_proba"):  # which turns out later
        model.score("hello")
    for answer in (lambda p: p.tolist(), lambda p: p.astype(np.float32)):  # which are probabilities too
        probability = modelled(CountVectorizer(), Odd(answer)).score(TEXTS[0]).spam_probability
        assert (type(probability), probability > 0.9) == (float, True)

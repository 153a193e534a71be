"""A Pipeline whose log-odds are a sum over terms is explained by that sum; any other by leaving terms out."""

import numpy as np
import pytest
from conftest import messages
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

from webapp.errors import ModelUnusable
from webapp.model.own_model import unwrap
from webapp.model.scoring import LinearModel, SpamModel, make_model

TEXTS = [
    "WIN a free train!!! Claim your soup prize, call now",
    "shall we take the bus on Monday? I will bring soup",
    "You have won a prize, call now",
    "nothing of this was ever seen",
    "??",
    "free " * 300,
]


class Reversed(LogisticRegression):
    """Keeps its classes as ["spam", "ham"], as libraries other than scikit-learn may."""

    def fit(self, X, y, sample_weight=None):  # noqa: N803
        super().fit(X, y, sample_weight)
        self.classes_, self.coef_, self.intercept_ = self.classes_[::-1], -self.coef_, -self.intercept_
        return self


class Louder(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):  # noqa: N803
        return self

    def transform(self, X):  # noqa: N803
        return [text.upper() for text in X]


class Length(TransformerMixin, BaseEstimator):
    """Has no state, so scikit-learn takes it, and whatever ends in it, for not fitted."""

    def fit(self, X, y=None):  # noqa: N803
        return self

    def transform(self, X):  # noqa: N803
        return [[len(text) / 100] for text in X]

    def get_feature_names_out(self, names=None):
        return np.array(["length"])


LINEAR = {
    "tfidf, logistic regression": (TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True), LogisticRegression(C=20)),
    "counts, multinomial": (CountVectorizer(), MultinomialNB(alpha=0.1)),
    "tfidf, complement": (TfidfVectorizer(), ComplementNB()),
    "normed complement": (TfidfVectorizer(), ComplementNB(norm=True)),
    "Bernoulli": (TfidfVectorizer(), BernoulliNB(binarize=0.1)),
    "Bernoulli of twos": (CountVectorizer(), BernoulliNB(binarize=1)),
    "Bernoulli of ones": (CountVectorizer(binary=True), BernoulliNB(binarize=None)),
    "no prior": (CountVectorizer(), MultinomialNB(fit_prior=False)),
    "gradient descent": (TfidfVectorizer(), SGDClassifier(loss="log_loss", random_state=0)),
    "no intercept": (TfidfVectorizer(), LogisticRegression(fit_intercept=False)),
    "steps between": (
        CountVectorizer(),
        TfidfTransformer(),
        SelectKBest(chi2, k=40),
        MaxAbsScaler(),
        LogisticRegression(),
    ),
    "union": (
        FeatureUnion(
            [("words", TfidfVectorizer()), ("grams", TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 3)))]
        ),
        LogisticRegression(),
    ),
    "float32": (TfidfVectorizer(dtype=np.float32), LogisticRegression()),
    "float32, weights too": (TfidfVectorizer(dtype=np.float32), SGDClassifier(loss="log_loss", random_state=0)),
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
    "no names": (TfidfVectorizer(), FunctionTransformer(accept_sparse=True), LogisticRegression()),
    # It has weights where its kernel is linear, but its probabilities are not those of their sum.
    "support vectors": (TfidfVectorizer(), SVC(kernel="linear", probability=True, random_state=0)),
    "bent": (TfidfVectorizer(), SGDClassifier(loss="modified_huber", random_state=0)),
}


def fitted(steps):
    rows = [row for number, row in enumerate(messages(160)) if number % 4 != 1]  # less spam than ham: the prior counts
    return unwrap(make_pipeline(*steps).fit([text for _, text in rows], [label for label, _ in rows]))


@pytest.mark.parametrize("name", LINEAR)
def test_contributions_add_up(name):
    pipeline = fitted(LINEAR[name])
    model = make_model(pipeline, "v", 0.5)
    assert type(model) is LinearModel
    spam = list(pipeline.classes_).index("spam")
    exact = 1e-5 if name.startswith("float32") else 1e-9
    for text in TEXTS:
        score = model.score(text)
        probabilities = pipeline.predict_proba([text])[0]
        assert score.spam_probability == pytest.approx(probabilities[spam], abs=1e-9)
        assert model.spam_probabilities([text]) == pytest.approx([score.spam_probability], abs=1e-9)
        logarithms = pipeline.predict_log_proba([text])[0]
        log_odds = logarithms[spam] - logarithms[1 - spam]
        assert model.intercept + sum(score.contributions.values()) == pytest.approx(log_odds, abs=exact, rel=exact)


@pytest.mark.filterwarnings("ignore:.*probability:FutureWarning")
@pytest.mark.parametrize("name", OTHER)
def test_any_other_is_explained_by_leaving_terms_out(name):
    pipeline = fitted(OTHER[name])
    model = make_model(pipeline, "v", 0.5)
    for text in TEXTS:
        score = model.score(text)
        assert score.spam_probability == pytest.approx(pipeline.predict_proba([text])[0, 1])
        assert score == SpamModel(pipeline, "v", 0.5).score(text)


def test_naive_bayes_calls_a_message_spam_for_words_that_say_spam():
    """Left out one by one, each of them would look like a sign of ham: the others are enough."""
    spam = ["you have won a prize", "won a prize call now", "prize call now", "you won call", "have a prize"]
    ham = ["have you a minute", "call me now", "a long day now", "you have a point", "see you there"]
    pipeline = make_pipeline(CountVectorizer(token_pattern=r"\w+"), MultinomialNB())
    pipeline.fit(spam + ham, ["spam"] * len(spam) + ["ham"] * len(ham))
    score = make_model(pipeline, "v", 0.5).score("You have won a prize, call now")
    assert score.spam_probability > 0.5
    assert min(score.contributions["prize"], score.contributions["won"]) > 0
    assert max(score.contributions, key=score.contributions.get) == "prize"
    assert list(score.contributions) == ["you", "have", "won", "a", "prize", "call", "now"]  # as in the message


def test_words_of_the_message_are_named_as_such():
    contributions = make_model(fitted(LINEAR["union"]), "v", 0.5).score("WIN a free train").contributions
    assert {"win", "free", "train"} <= set(contributions)
    assert "grams__ fr" in contributions  # no word: as scikit-learn names it
    louder = make_model(fitted(LINEAR["own step before"]), "v", 0.5)
    assert "free" in louder.score("Free train").contributions
    pairs = make_model(fitted(LINEAR["tfidf, logistic regression"]), "v", 0.5)
    assert {"free", "bus", "free bus"} <= set(pairs.score("Free bus").contributions)


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
            make_model(fitted([CountVectorizer(), Odd(answer)]), "v", 0.5)


def test_what_turns_out_later_is_no_silent_wrong_result():
    odd = Odd(lambda p: p)
    model = make_model(fitted([CountVectorizer(), odd]), "v", 0.5)
    model.pipeline[-1].answer = lambda p: p * np.nan
    with pytest.raises(ModelUnusable, match="predict_proba"):
        model.score("hello")


def test_lists_and_float32_are_probabilities_too():
    for answer in (lambda p: p.tolist(), lambda p: p.astype(np.float32)):
        probability = make_model(fitted([CountVectorizer(), Odd(answer)]), "v", 0.5).score(TEXTS[0]).spam_probability
        assert (type(probability), probability > 0.9) == (float, True)

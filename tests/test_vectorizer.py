"""MessageVectorizer keeps scikit-learn's contract, so that it can be used in a notebook as any vectoriser."""

import numpy as np
import pytest
from conftest import HAM, SPAM, messages
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

from webapp.model.features import MessageVectorizer

# Of scikit-learn's checks those that bring no data of their own: its data is numbers, not texts.
NAMES = (
    "estimator_cloneable do_not_raise_errors_in_init_or_set_params estimator_repr estimator_tags_renamed set_params "
    "get_params_invariance mixin_order no_attributes_set_in_init parameters_default_constructible valid_tag_types"
)
CHECKS = [getattr(estimator_checks, f"check_{name}") for name in NAMES.split()]


@pytest.fixture(scope="module")
def labelled():
    rows = list(messages(120))
    return [text for _, text in rows], [label for label, _ in rows]


@pytest.fixture(scope="module")
def fitted(labelled):
    return MessageVectorizer().fit(*labelled)


def test_it_passes_the_checks_of_scikit_learn():
    for check in CHECKS:
        check("MessageVectorizer", MessageVectorizer())


def test_each_column_has_a_name(fitted, labelled):
    names = fitted.get_feature_names_out()
    row = fitted.transform(labelled[0][:1]).toarray()[0]
    assert len(names) == len(row) == len(fitted.scale_)
    assert set(labelled[0][0].lower().split()) & set(names[row > 0])


def test_any_two_classes_do(fitted, labelled):
    texts, labels = labelled
    for classes in [(0, 1), (False, True), ("normal", "urgent")]:
        same = MessageVectorizer().fit(texts, [classes[label == "spam"] for label in labels])
        assert same.vocabulary_ == fitted.vocabulary_
        assert np.array_equal(same.scale_, fitted.scale_)


def test_it_says_that_it_is_not_fitted():
    for method, *given in [("transform", [SPAM]), ("get_feature_names_out",)]:
        with pytest.raises(NotFittedError):
            getattr(MessageVectorizer(), method)(*given)


def test_a_bare_string_is_refused(fitted):
    with pytest.raises(ValueError, match="one string"):
        fitted.transform(SPAM)
    with pytest.raises(ValueError, match="one string"):
        MessageVectorizer().fit("ab", [0, 1])


def test_one_class_or_a_label_too_few_is_refused():
    with pytest.raises(ValueError, match="two classes"):
        MessageVectorizer().fit([SPAM, HAM], [1, 1])
    with pytest.raises(ValueError, match="3 texts, but 2 labels"):
        MessageVectorizer().fit([SPAM, HAM, HAM], [0, 1])


def test_it_can_be_cloned_searched_and_cross_validated(labelled):
    pipeline = make_pipeline(MessageVectorizer(), LogisticRegression(C=20))
    search = GridSearchCV(pipeline, {"messagevectorizer__min_words": [1, 3]}, cv=2).fit(*labelled)
    assert search.best_score_ > 0.5
    assert cross_val_score(clone(pipeline), *labelled, cv=2).mean() > 0.5

"""Corrects a fitted linear model by a few reviewed messages: the messages that it was fitted on are not needed."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from webapp.config import FLASK
from webapp.errors import BadData
from webapp.model.data import Example
from webapp.model.scoring import SpamModel, linear_terms, transform
from webapp.model.training import REVIEW_WEIGHT

CHECKED = 200  # messages, whether the weights give what the model says
PRIOR_PRECISION = 0.2  # how much it costs to leave the old weights; docs/lifecycle.md says why


def fine_tune(
    model: SpamModel,
    reviews: Sequence[Example],
    anchors: Mapping[str, float],
    weight: float = REVIEW_WEIGHT,
    prior_precision: float = PRIOR_PRECISION,
) -> Pipeline:
    """Return the model with weights w and an intercept b that suit the reviews, near those that it had, w0 and b0.

    `anchors` are other texts, with how much each counts: of these the new model is to say what the old one said.

    They minimise, over both, sum s (log(1 + exp(z)) - t z) + prior_precision / 2 (|w - w0|^2 + (b - b0)^2), where
    z = w x + b are a message's log-odds, s is how much it counts, and t its spam probability: 1 or 0, or the old one.
    That is logistic regression with the old weights as its prior mean (Chelba & Acero 2004, Adaptation of Maximum
    Entropy Capitalizer, EMNLP, section 3); the old probabilities as aims are those of Li & Hoiem 2016, Learning without
    Forgetting, ECCV, section 3. Any model whose log-odds are linear can be corrected, naive Bayes too: the classifier
    of the result is a logistic regression. Raises BadData for another.
    """
    texts = [*(example.text for example in reviews), *anchors]
    *steps, (name, classifier) = model.pipeline.steps
    values = sparse.csr_matrix(transform(model.pipeline, texts))
    values = sparse.hstack([values, np.ones((len(texts), 1))], format="csr")
    old = _weights(model, values, texts)
    before = values @ old
    met = np.unique(values.indices)  # the weights of terms that are in no message stay as they are
    values = values[:, met]
    aim = np.append([float(example.is_spam) for example in reviews], expit(before[len(reviews) :]))
    counts = np.append(np.full(len(reviews), weight), list(anchors.values()))

    def cost(change: np.ndarray) -> tuple[float, np.ndarray]:
        log_odds = before + values @ change
        total = counts @ (np.logaddexp(0, log_odds) - aim * log_odds) + prior_precision / 2 * change @ change
        return float(total), values.T @ (counts * (expit(log_odds) - aim)) + prior_precision * change

    found = minimize(cost, np.zeros(len(met)), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-7})
    if not found.success:
        raise BadData(f"No weights were found that suit the messages ({found.message}).")
    old[met] += found.x
    corrected = copy.copy(classifier) if isinstance(classifier, LogisticRegression) else LogisticRegression()
    corrected.classes_ = np.array(["ham", "spam"])
    corrected.coef_, corrected.intercept_ = old[np.newaxis, :-1], old[-1:]
    return Pipeline([*steps, (name, corrected)])


def _weights(model: SpamModel, values: sparse.csr_matrix, texts: Sequence[str]) -> np.ndarray:
    """Return the weights of a model's terms and its intercept; raises BadData where its log-odds are no such sum."""
    classifier = model.pipeline[-1]
    linear = linear_terms(classifier, values.shape[1] - 1)
    counts_words = getattr(classifier, "binarize", None) is None  # BernoulliNB asks only which words are there
    if linear is not None and counts_words:
        weights = np.append(*linear) * (1 if model.spam_index == 1 else -1)
        probability = model.spam_probabilities(texts[:CHECKED])
        if np.allclose(expit(values[:CHECKED] @ weights), probability, atol=1e-6):
            return weights
    raise BadData(
        f"A {type(classifier).__name__} is no sum of weights that could be corrected. Train anew with the reviews "
        f"instead: {FLASK} train FILES --with-reviews"
    )

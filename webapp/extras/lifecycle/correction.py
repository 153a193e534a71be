"""Corrects a fitted model by a few more messages, where those that it was fitted on are not at hand."""

import copy
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.pipeline import Pipeline

from webapp.errors import BadData
from webapp.model.data import Example

NEARNESS = 0.2  # how much it costs to leave the old weights; docs/lifecycle.md says why


def correct(
    pipeline: Pipeline,
    examples: Sequence[Example],
    weights: Mapping[str, float],
    learnt: Collection[str] = (),
    nearness: float = NEARNESS,
) -> Pipeline:
    """Return the model with weights w and an intercept b that suit the examples, near those that it had, w0 and b0.

    Of messages from a source that was `learnt` already, the model is to say what it said before: what holds it there is
    its own probability and not the label. So without any other message nothing changes.

    They minimise, over the examples, sum s (log(1 + exp(z)) - t z) + nearness / 2 (|w - w0|^2 + (b - b0)^2), where
    z = w x + b are a message's log-odds, s is how much it counts, and t its spam probability: 1 or 0, or the old one.
    That is logistic regression with the old weights as its prior mean (Chelba & Acero 2004, Adaptation of Maximum
    Entropy Capitalizer, EMNLP, section 3); the old probabilities as aims are those of Li & Hoiem 2016, Learning without
    Forgetting, ECCV, section 3. Raises BadData for a model without weights of its terms.
    """
    classifier = pipeline[-1]
    if not hasattr(classifier, "coef_"):
        raise BadData("This model has no weights to correct. Give the files of its card with --data.")
    values = pipeline[:-1].transform([example.text for example in examples])
    values = sparse.hstack([values, np.ones((len(examples), 1))], format="csr")
    old = np.append(classifier.coef_[0], classifier.intercept_)
    before = values @ old
    met = np.unique(values.indices)  # the weights of terms that are in no message stay as they are
    values = values[:, met]
    is_learnt = np.array([example.source in learnt for example in examples])
    aim = np.where(is_learnt, expit(before), [float(example.is_spam) for example in examples])
    counts = np.array([weights.get(example.source, 1.0) for example in examples])

    def cost(change: np.ndarray) -> tuple[float, np.ndarray]:
        log_odds = before + values @ change
        total = counts @ (np.logaddexp(0, log_odds) - aim * log_odds) + nearness / 2 * change @ change
        return float(total), values.T @ (counts * (expit(log_odds) - aim)) + nearness * change

    found = minimize(cost, np.zeros(len(met)), jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-7})
    if not found.success:
        raise BadData(f"No weights were found that suit the messages ({found.message}).")
    corrected = copy.deepcopy(pipeline)
    old[met] += found.x
    corrected[-1].coef_, corrected[-1].intercept_ = old[np.newaxis, :-1], old[-1:]
    return corrected

"""Retrain: a new version of the served model, its weights corrected by what people said of messages since.

Three in ten of the reviewed messages, by a hash of their text, are kept apart: no version is ever fitted on them, so
any two versions can be compared on them. docs/lifecycle.md says why, and where the figures come from.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import sqlalchemy as sa
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from webapp.config import FLASK, PROJECT_SET
from webapp.errors import BadData, counted
from webapp.extras.lifecycle.comparison import Comparison, compare, sampled_examples
from webapp.extras.review.reviews import ReviewedMessage, reviewed_messages
from webapp.log.tables import first_id, predictions, reviews
from webapp.model import artifact, training
from webapp.model.card import Card, Retraining, read_card
from webapp.model.data import HOLDOUT, Dataset, Example, bucket, drop_copies, fingerprints, read_labelled
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import SpamModel, linear_terms, make_model, transform
from webapp.model.training import REVIEW_WEIGHT

REVIEWS = "reviews"  # the source of the reviewed messages, beside the files'
FEWEST_NEW = 50  # reviews: fewer change little, and a version a day is more than anybody looks at
HOLDOUT_BUCKETS = (7, 8, 9)  # of ten
ANCHORS = 5_000  # messages of the log that hold the model where its training messages are not at hand
ANCHOR_WEIGHT = 0.3  # of each such message
CHECKED = 200  # messages on which the weights have to give what the model says
PRIOR_PRECISION = 0.2  # how much it costs to leave the old weights


class Reviews(NamedTuple):
    """The reviewed messages as they are to be used."""

    to_learn: Sequence[ReviewedMessage] = ()
    held_out: Sequence[ReviewedMessage] = ()  # kept apart
    unconfirmed: Sequence[ReviewedMessage] = ()  # that contradict a very sure verdict, and have been said once
    new: int = 0  # since the version was made, or since `child` was
    child: str | None = None  # the newest version that was retrained from this one

    @property
    def missing(self) -> int:
        """Return how many more it takes to retrain."""
        return max(0, FEWEST_NEW - self.new)


def retrain(engine: sa.Engine, registry: ModelRegistry) -> tuple[str, str]:
    """Correct the served version by the reviews and save the result, without serving it.

    Returns the new version and, in words, what is known of it. Raises BadData where it has no weights to correct or too
    few reviews are new.
    """
    served = registry.current()
    card = read_card(registry.folder, served.version)
    found = gather(engine, registry, served.version)
    if found.missing:
        raise BadData(
            f"{counted(found.new, 'new review')} since the served version was made or retrained; {FEWEST_NEW} are "
            f"needed (and of messages whose text the log keeps: HAMLET_STORE_TEXT). {_contradictions(found)}"
            "Review more messages on the page Review, then try again."
        )
    if not found.to_learn:
        raise BadData("All new reviews are of messages that are kept apart to measure on, so none is left to learn.")
    examples = drop_copies(_examples(found.to_learn))

    def kept_apart(part: Iterable[Example]) -> list[Example]:
        no_copies = drop_copies([*examples, *part])[len(examples) :]  # a copy of an example may be of any bucket
        return [example for example in no_copies if bucket(example.text) in HOLDOUT_BUCKETS]

    held_out = kept_apart(_examples(found.held_out))
    sample = kept_apart(sampled_examples(engine, registry, [served.version]))
    pipeline = fine_tune(served, examples, _anchors(engine, card))

    new = make_model(pipeline, "the new version", served.threshold, served.labels)
    compared = compare(served, new, held_out)
    metrics = {"held_out": training.report(new, sample)} if sample else {}
    retraining = Retraining(parent=served.version, reviews=len(examples))
    new_card = card.model_copy(update={"metrics": metrics, "retraining": retraining})
    known = artifact.verify(registry.folder, served.version).learnt
    known = fingerprints((form for review in found.to_learn for form in artifact.forms(review.text)), known)
    version = artifact.save(registry.folder, pipeline, new_card, card.model_file.format, dt.datetime.now(dt.UTC), known)
    return version, _told(len(examples), found, compared)


def gather(engine: sa.Engine, registry: ModelRegistry, version: str) -> Reviews:
    """Decide what becomes of each reviewed message if a version is corrected.

    Messages that it has learnt, in a file or from reviews, are never kept apart. A review is new if it came after the
    version was made or, if others were retrained from it, after the newest of those was made.
    """
    cards = {version: read_card(registry.folder, version)} | registry.cards()
    made = [name for name, card in cards.items() if card.retraining and card.retraining.parent == version]
    child = next((name for name in reversed(made) if registry.inspect(name)[0]), None)
    before, made_at = artifact.Learnt(registry.folder, [child or version]), first_id(cards[child or version].created_at)
    found = _divide(engine, registry, cards[version].labels, [version])
    new = sum(review.text not in before for review in found.to_learn)
    new += sum(review.review_id > made_at for review in found.held_out)
    return found._replace(new=new, child=child)


def reviews_to_learn(engine: sa.Engine, registry: ModelRegistry, labels: Labels) -> Dataset:
    """Return the reviewed messages for `train --with-reviews`.

    Those of the buckets that are kept apart are measured on and never learnt.
    """
    found = _divide(engine, registry, labels, [])
    examples = _examples(found.to_learn) + _examples(found.held_out, HOLDOUT)
    return Dataset(REVIEWS, "", examples, labels=labels)


def _divide(engine: sa.Engine, registry: ModelRegistry, labels: Labels, versions: Sequence[str]) -> Reviews:
    """Divide the reviews that may teach a model with these labels; what the versions have learnt is not kept apart."""
    learnt = artifact.Learnt(registry.folder, versions)
    to_learn, held_out, waiting = [], [], []
    for review in reviewed_messages(engine, registry.with_other_labels(labels)):
        if bucket(review.text) in HOLDOUT_BUCKETS and review.text not in learnt:
            held_out.append(review)
        elif review.is_doubtful:
            waiting.append(review)
        else:
            to_learn.append(review)
    return Reviews(to_learn, held_out, waiting)


def _examples(reviewed: Iterable[ReviewedMessage], part: str = "") -> list[Example]:
    return [Example(review.text, review.true_label == "spam", REVIEWS, part) for review in reviewed]


def _anchors(engine: sa.Engine, card: Card) -> dict[str, float]:
    """Return texts that hold the model where it was, with how much each counts.

    They are the project's own messages if its card names these, else the newest of the log that nobody reviewed.
    """
    own = read_labelled(PROJECT_SET)
    if any(entry.sha256 == own.sha256 for entry in card.data):
        return {example.text: card.weights.get(example.source, 1.0) for example in drop_copies(own.examples)}
    shown = predictions.c
    unreviewed = ~sa.exists().where(reviews.c.prediction_id == shown.id)
    newest = sa.select(shown.text).where(shown.text.is_not(None), unreviewed).order_by(shown.id.desc()).limit(ANCHORS)
    with engine.connect() as connection:
        return dict.fromkeys(connection.execute(newest).scalars(), ANCHOR_WEIGHT)


def _told(learnt: int, found: Reviews, compared: Comparison) -> str:
    words = f"The served version was corrected with {learnt:,} reviews. {_contradictions(found)}"
    served, new = compared.first_accuracy, compared.second_accuracy
    if not new.n:
        return words + "No reviewed message was kept apart, so how good it is is not known yet."
    words += f"Of {new.n:,} that were kept apart, the new one is right on {new}, the served one on {served}. "
    return words + compared.duel.sentence("the served version", "the new one")


def _contradictions(found: Reviews) -> str:
    count = counted(len(found.unconfirmed), "review")
    words = f"Against a verdict of at least 99 %, and not counted until you confirm it on the page Models: {count}. "
    return words if found.unconfirmed else ""


# --- The correction: the messages that the model was fitted on are not needed ---


def fine_tune(
    model: SpamModel,
    reviews: Sequence[Example],
    anchors: Mapping[str, float],
    weight: float = REVIEW_WEIGHT,
    prior_precision: float = PRIOR_PRECISION,
) -> Pipeline:
    """Return the model with weights w and an intercept b that suit the reviews, near those that it had, w0 and b0.

    `anchors` are other texts, with how much each counts: the new model is to score them as the old one did.

    They minimise, over both, sum s (log(1 + exp(z)) - t z) + prior_precision / 2 (|w - w0|^2 + (b - b0)^2), where
    z = w x + b are a message's log-odds, s is how much it counts, and t its spam probability: 1 or 0, or the old one.
    That is logistic regression with the old weights as its prior mean (Chelba & Acero 2004, Adaptation of Maximum
    Entropy Capitalizer, EMNLP, section 3); the old probabilities as aims are those of Li & Hoiem 2016, Learning without
    Forgetting, ECCV, section 3. Any model whose log-odds are linear can be corrected, naive Bayes too: the classifier
    of the result is a logistic regression. Raises BadData for another.
    """
    texts = [*(example.text for example in reviews), *anchors]
    *steps, (name, _) = model.pipeline.steps
    values, old = _linear(model, texts)
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
    corrected = LogisticRegression()
    corrected.classes_ = np.array(["ham", "spam"])
    corrected.coef_, corrected.intercept_ = old[np.newaxis, :-1], old[-1:]
    return Pipeline([*steps, (name, corrected)])


def _linear(model: SpamModel, texts: Sequence[str]) -> tuple[sparse.csr_matrix, np.ndarray]:
    """Return the values of texts and a 1 for the intercept, and their weights; raises BadData for another model."""
    if linear := linear_terms(model.pipeline[-1]):
        weights = np.append(*linear) * (1 if model.spam_index == 1 else -1)
        values = sparse.csr_matrix(transform(model.pipeline, texts))
        values = sparse.hstack([values, np.ones((len(texts), 1))], format="csr")
        probability = model.spam_probabilities(texts[:CHECKED])
        if np.allclose(expit(values[:CHECKED] @ weights), probability, atol=1e-6):
            return values, weights
    raise BadData(
        f"A {type(model.pipeline[-1]).__name__} is no sum of weights that could be corrected. Train anew with the "
        f"reviews instead: {FLASK} train FILES --with-reviews"
    )

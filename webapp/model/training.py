"""Step 1, train: fit on one part of the messages, measure on the other, then fit on all. Read it from top to bottom.

    make_pipeline   the model: what it looks at, and what learns
    train           the whole way, from labelled files to a fitted Pipeline and the card that describes it
    fit             one fit
    report          measure a model on other messages
    leave_kinds_out, hide_in_ham, calibrate    what our own model has besides

cli/train.py calls `train`, then artifact.save. own_model.py puts a user's Pipeline in place of make_pipeline.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

from webapp.errors import BadData
from webapp.model.card import Card, DataFile
from webapp.model.data import HOLDOUT, Dataset, Example, drop_copies, fingerprints, split
from webapp.model.evaluation import Counts, Metrics, measure
from webapp.model.features import MessageVectorizer
from webapp.model.labels import Labels
from webapp.model.scoring import SpamModel, make_model
from webapp.model.tokenizer import tokenize

FEWEST = 10  # messages of each label in each part: with fewer, no figure means anything
REVIEW_WEIGHT = 3.0  # how much a reviewed message counts; docs/lifecycle.md says why
THRESHOLD = 0.5  # from here upwards spam is likelier than ham
MOST_WEIGHT = 1_000  # of a source: with 1e300 a fit does not end
MOST_SOURCES = 20  # that are measured apart: a column named source may hold a sender, another one in each row

Fit = Callable[[Sequence[Example], Mapping[str, float]], Pipeline]


def make_pipeline() -> Pipeline:
    """Return the unfitted model: message to terms, terms to spam probability."""
    return Pipeline(
        [
            ("features", MessageVectorizer()),
            # C: how freely a term may weigh. Chosen by cross-validation, see docs/model.md.
            ("classifier", LogisticRegression(C=20, solver="liblinear", random_state=0)),
        ]
    )


class Training(NamedTuple):
    """What came out of a training run."""

    pipeline: Pipeline  # fitted on all messages, but for those that are kept apart
    card: Card  # everything about it but its files
    held_out: list[Example]  # what the measured model never saw
    learnt: str  # data.fingerprints of all that the model was fitted on


def train(
    datasets: Sequence[Dataset],
    unseen: Sequence[Dataset] = (),
    weights: Mapping[str, float] | None = None,
    threshold: float = THRESHOLD,
    progress: Callable[[str], None] = lambda step: None,
    own_fit: Fit | None = None,
) -> Training:
    """Train on labelled files and measure on messages that the measured model never saw; raises BadData.

    `unseen` are files of other origin, only ever measured on. `weights` says how much a message of a source counts in
    the fit (1 where it does not say). `progress` is called as each step begins. `own_fit` fits the user's own model in
    place of ours.
    """
    # 1. Drop copies, over all files: one that is in both parts would be measured on after it was learnt.
    progress("dropping copies")
    labels, weights = datasets[0].labels, weights or {}
    examples = [example for dataset in datasets for example in dataset.examples]
    kept = drop_copies(examples)

    # 2. Split what is left, and say what is measured on.
    training_part, held_out = split(kept)
    _check(training_part, held_out, labels, weights)
    measured_on = {"held_out": held_out}
    sources = sorted({example.source for example in held_out} - {"held_out", "kinds left out"})  # names that are taken
    if 1 < len(sources) <= MOST_SOURCES:
        for source in sources:
            measured_on[source] = [example for example in held_out if example.source == source]
    for dataset in unseen:
        new = drop_copies([*kept, *dataset.examples])[len(kept) :]  # there is no copy in `kept`, so it stays in front
        if not new:
            raise BadData(f"{dataset.name}: holds no message that the training files do not hold too")
        measured_on[f"unseen: {dataset.name}"] = new

    # 3. Where each message's kind is known (its campaign or template): measure on kinds left out, and calibrate.
    metrics = {}
    calibration = None
    if not own_fit and len({example.kind for example in training_part if example.kind}) >= KIND_FOLDS:
        progress("leaving kinds out")
        known, log_odds = leave_kinds_out(training_part, weights)
        truth = [example.is_spam for example in known]
        calibration = LogisticRegression(C=np.inf).fit(log_odds, truth)  # two numbers, so without a penalty
        metrics["kinds left out"] = measure(truth, calibration.predict_proba(log_odds)[:, 1], threshold)

    def fit_calibrated(chosen: Sequence[Example]) -> Pipeline:
        pipeline = (own_fit or fit)(chosen, weights)
        return calibrate(pipeline, calibration) if calibration else pipeline

    # 4. Fit on the training part and measure: these figures come from a model that has seen nothing else.
    progress("fitting on the training part")
    measured = make_model(fit_calibrated(training_part), "training part", threshold, labels)
    for name, part in measured_on.items():
        progress(f"measuring on {name}")
        metrics[name] = report(measured, part)

    # 5. Fit on everything but what is kept apart: what is saved has learnt from more messages, so it is no worse.
    progress("fitting on everything")
    final = fit_calibrated([example for example in kept if example.part != HOLDOUT])
    card = Card(
        labels=labels,
        threshold=threshold,
        weights=dict(weights),
        data=[
            DataFile(file=dataset.name, sha256=dataset.sha256, licence=dataset.licence, **_count(dataset.examples))
            for dataset in datasets
        ],
        messages=Counts(**_count(kept)),
        metrics=metrics,
    )
    # Copies too: another file may hold them without the one that was kept.
    learnt = fingerprints(example.text for example in examples if example.part != HOLDOUT)
    return Training(final, card, held_out, learnt)


def fit(examples: Sequence[Example], weights: Mapping[str, float], recipe: Pipeline | None = None) -> Pipeline:
    """Return the model fitted on examples, each counting as its source's weight says; raises BadData.

    What it learns to tell apart is called "spam" and "ham", whatever the words in the files.
    """
    if recipe is None:
        pipeline, examples = make_pipeline(), [*examples, *hide_in_ham(examples)]
    else:
        pipeline = deepcopy(recipe)
    last, classifier = pipeline.steps[-1]
    options = {}
    if has_fit_parameter(classifier, "sample_weight"):
        # A Pipeline hands it on to the step of that name.
        options[f"{last}__sample_weight"] = [weights.get(example.source, 1.0) for example in examples]
    elif weights:
        raise BadData(f"--weight: {type(classifier).__name__} cannot weigh messages")
    texts = [example.text for example in examples]
    y = ["spam" if example.is_spam else "ham" for example in examples]
    with warnings.catch_warnings():
        if recipe is None:  # of another recipe scikit-learn's warning is enough, as in a notebook
            warnings.simplefilter("error", ConvergenceWarning)
        return pipeline.fit(texts, y, **options)


def report(model: SpamModel, examples: Sequence[Example]) -> Metrics:
    """Measure a model on examples that it never saw."""
    probability = model.spam_probabilities([example.text for example in examples])
    return measure([example.is_spam for example in examples], probability, model.threshold)


def _check(
    training_part: Sequence[Example], held_out: Sequence[Example], labels: Labels, weights: Mapping[str, float]
) -> None:
    first, second = _count(training_part), _count(held_out)
    if min(first["ham"], first["spam"], second["ham"], second["spam"]) < FEWEST:
        parts = (f"{count['ham']:,} {labels.ham} and {count['spam']:,} {labels.spam}" for count in (first, second))
        raise BadData(
            "Too few messages: the training part has {}, the held-out part {}; ".format(*parts)
            + f"each needs {FEWEST} different ones of both. If no column split says it, a hash chooses the part: have "
            + f"{4 * FEWEST} of each in all."
        )
    sources = {example.source for example in (*training_part, *held_out)}
    for source, weight in weights.items():
        if source not in sources:
            raise BadData(f"A weight is given for {source}, but the sources are {', '.join(sorted(sources)[:20])}.")
        if not 0 < weight <= MOST_WEIGHT:
            most = f"must be above 0 and at most {MOST_WEIGHT:,}"
            raise BadData(f"The weight of {source} {most}; leave out files that are not to count.")


def _count(examples: Sequence[Example]) -> dict[str, int]:
    spam = sum(example.is_spam for example in examples)
    return {"messages": len(examples), "spam": spam, "ham": len(examples) - spam}


# --- Our own model alone: friendly words do not hide a scam, and probabilities hold for messages of new kinds ---

SHORT = 400  # characters
KIND_FOLDS = 5  # fits, in each of which a fifth of the messages, whole kinds, is left out


def hide_in_ham(examples: Sequence[Example]) -> list[Example]:
    """Return half of the short spam once more, each with three friendly messages behind it.

    From these the model learns that friendly words, however many, do not make up for a scam. Friendly is short ham of
    words alone, as people write to each other: no link, number or amount.
    """
    random = np.random.default_rng(0)
    short = [example for example in examples if len(example.text) <= SHORT]
    spam = [example for example in short if example.is_spam]
    friendly = [
        example.text
        for example in short
        if not example.is_spam and not any(token.startswith("[") for token in tokenize(example.text))
    ]
    if not friendly:
        return []
    chosen = random.choice(len(spam), len(spam) // 2, replace=False)
    behind = random.integers(len(friendly), size=(len(chosen), 3))
    return [
        spam[i]._replace(text=" ".join([spam[i].text, *(friendly[j] for j in places)]))
        for i, places in zip(chosen, behind, strict=True)
    ]


def leave_kinds_out(examples: Sequence[Example], weights: Mapping[str, float]) -> tuple[list[Example], np.ndarray]:
    """Return the examples of known kind, and the log-odds of spam of each by a model that saw none of its kind."""
    known = [example for example in examples if example.kind]
    others = [example for example in examples if not example.kind]
    log_odds = np.zeros((len(known), 1))
    for seen, unseen in GroupKFold(KIND_FOLDS).split(known, groups=[example.kind for example in known]):
        pipeline = fit([*others, *(known[i] for i in seen)], weights)
        log_odds[unseen, 0] = pipeline.decision_function([known[i].text for i in unseen])
    return known, log_odds


def calibrate(pipeline: Pipeline, line: LogisticRegression) -> Pipeline:
    """Change a fitted Pipeline's log-odds to slope x log-odds + shift, and return it: it stays one sum.

    Slope and shift are those of a logistic regression of the truth on log-odds (Platt 1999, Advances in Large Margin
    Classifiers).
    """
    classifier, slope = pipeline[-1], line.coef_[0, 0]
    classifier.coef_ = slope * classifier.coef_
    classifier.intercept_ = slope * classifier.intercept_ + line.intercept_
    return pipeline

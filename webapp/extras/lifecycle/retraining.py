"""A new version of the served model, from what it was made of and from what people corrected since.

Of the reviewed messages those of two buckets in ten, by a hash of their text, are kept apart: no version is ever fitted
on them, so that any two can be compared on them. Why, and what the figures below come from: docs/lifecycle.md.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from webapp.config import PROJECT_SET
from webapp.errors import BadData
from webapp.extras.lifecycle.comparison import Comparison, compare
from webapp.extras.lifecycle.correction import correct
from webapp.extras.review.fitted import fitted_by, note_fitted, reviewed_messages
from webapp.extras.review.samples import counted_members
from webapp.model import artifact, training
from webapp.model.card import Card, read_card
from webapp.model.data import APART, Dataset, Example, bucket, copy_keys, drop_copies, read_labelled
from webapp.model.pipeline_model import PipelineModel, as_model
from webapp.model.recipe import fit_with
from webapp.model.registry import ModelRegistry
from webapp.model.spam_model import SpamModel

REVIEWS = "reviews"  # the source of the reviewed messages, beside the files'
FEWEST_NEW = 50  # reviews: fewer change little, and a version a day is more than anybody looks at
APART_BUCKETS = (8, 9)  # of ten
DOUBT = 0.2  # a p-value below which "worse" is no mere chance: a refusal costs less than a worse version
WEIGHTS = {"anew": 3.0, "correction": 3.0}  # how much a reviewed message counts

Report = Callable[[float | None, str], None]


class Retrained(NamedTuple):
    """The new version, and how it does on messages that it was not fitted on."""

    version: str
    how: str  # "anew" or "correction"
    missing: list[str]  # files of the card that were not at hand: if any, it was a correction
    new_reviews: int
    without_text: int  # reviewed messages that could not be used, as the log kept no text
    held_out: dict[str, Any]  # fitted without them, measured on them (as in every card)
    random_sample: dict[str, Any]  # the version itself, on members of random samples that were kept apart
    comparison: Comparison  # with the served version, on all messages that were kept apart
    worse: bool


class _Reviews(NamedTuple):
    """The reviewed messages as they are to be used."""

    examples: list[Example]  # the one that was reviewed last first
    fitted: list[str]  # prediction ids of those that are not kept apart
    sampled: set[str]  # the texts that belong to a random sample
    new: int
    without_text: int
    last: str  # id of the newest review


def retrain(
    engine: sa.Engine, registry: ModelRegistry, data_folder: Path | None, anyway: bool, progress: Report
) -> Retrained:
    """Save a new version, and serve it not.

    Where all files of the served version's card are at hand, in `data_folder` or in the project, it is fitted anew on
    these and the reviews; else the weights of the served version are corrected. Raises BadData, with the reason, where
    a file is not the one of the card, too few reviews are new, or the new version is worse (unless `anyway`), and
    ModelUnusable or LogUnavailable; then nothing is saved.
    """
    progress(0.0, "Reading the reviews")
    served = registry.current()
    card = read_card(registry.folder, served.version)
    files, missing = _files(card, data_folder)
    how = "correction" if missing else "anew"
    reviews = _reviews(engine, served.version, card, files, how)
    if reviews.new < FEWEST_NEW:
        raise BadData(_too_few(reviews))
    result = _fit(how, served, card, files, reviews, partial(_step, progress))

    progress(0.8, "Comparing it with the served version")
    new = as_model(result.pipeline, "the new version", served.threshold, served.labels)
    apart = [example for example in drop_copies(reviews.examples) if example.part == APART]
    compared = compare(served, new, apart)
    sample = [example for example in apart if example.text in reviews.sampled]
    sampled = training.report(sample, training.predict(new, sample), new.threshold)
    worse = compared.only_first_right > compared.only_second_right and compared.p_value < DOUBT
    if worse and not anyway:
        raise BadData(_is_worse(compared))

    fitted = {*reviews.fitted, *(fitted_by(engine, served.version) if how == "correction" else ())}
    recipe = {"pipeline": card["pipeline"]} if "pipeline" in card else {}
    new_card = (
        result.card
        | recipe
        | {
            "data": card["data"],
            "weights": card["weights"] | {REVIEWS: WEIGHTS[how]},
            "metrics": result.card["metrics"] | {"random_sample": sampled},
            "retraining": {
                "parent": served.version,
                "how": how,
                "new_reviews": reviews.new,
                "reviews_fitted": len(reviews.fitted),
                "reviews_kept_apart": len(apart),
                "last_review": reviews.last,
                "only_parent_right": compared.only_first_right,
                "only_this_right": compared.only_second_right,
                "p_value": compared.p_value,
            },
        }
    )
    # A corrected version's own held-out messages are too few to compare traffic with later.
    kept = artifact.read_reference(registry.folder, served.version) if how == "correction" else None
    progress(0.9, "Saving it")
    version = artifact.save(
        registry.folder,
        result.pipeline,
        new_card,
        card["model_file"]["format"],
        dt.datetime.now(dt.UTC),
        kept or result.reference,
        announce=lambda version: note_fitted(engine, version, fitted),
    )
    held_out = new_card["metrics"]["held_out"]
    return Retrained(version, how, missing, reviews.new, reviews.without_text, held_out, sampled, compared, worse)


def new_reviews(engine: sa.Engine, registry: ModelRegistry, version: str) -> int:
    """Return how many reviews are new since a version was made, as `retrain` counts them; raises ModelUnusable."""
    before = fitted_by(engine, version)
    last = read_card(registry.folder, version).get("retraining", {}).get("last_review", "")
    return sum(
        one.prediction_id not in before and (one.review_id > last or bucket(one.text) not in APART_BUCKETS)
        for one in reviewed_messages(engine)
        if one.text is not None
    )


def _step(progress: Report, step: str) -> None:
    done = {"fitting on the training part": 0.1, "fitting on everything": 0.5}
    progress(done.get(step), step.capitalize())


def _files(card: Card, folder: Path | None) -> tuple[list[Dataset], list[str]]:
    """Return the files of a card that are at hand, and the names of the others; raises BadData for another file."""
    found, missing = [], []
    for entry in card["data"]:
        name = entry["file"]
        path = folder / name if folder else None
        if path is None or not path.exists():
            path = PROJECT_SET if name == PROJECT_SET.name else None
        if path is None:
            missing.append(name)
            continue
        dataset = read_labelled(
            path,
            entry.get("text_column"),
            entry.get("label_column"),
            card["labels"][:: -1 if entry.get("zero_is_spam") else 1],
        )
        dataset.licence = entry["licence"]
        if dataset.sha256 == entry["sha256"]:
            found.append(dataset)
        elif path == PROJECT_SET:
            missing.append(f"{name} as it was then")
        else:
            raise BadData(
                f"{path} is not the file that model {card['model_version']} was trained on: its SHA-256 is "
                f"{dataset.sha256}, the card says {entry['sha256']}. Put the right file there, or take this one away."
            )
    return found, missing


def _reviews(engine: sa.Engine, version: str, card: Card, files: Sequence[Dataset], how: str) -> _Reviews:
    """Decide what becomes of each reviewed message.

    The served version has learnt those that it was fitted on, and copies of messages in the files. They are never kept
    apart, and where its weights are what a correction starts from, nothing is measured on them.
    """
    found = reviewed_messages(engine)
    usable = [(one, one.text) for one in found if one.text is not None]
    before, last = fitted_by(engine, version), card.get("retraining", {}).get("last_review", "")
    learnt = {key for file in files for example in file.examples for key in copy_keys(example.text)}
    learnt |= {key for one, text in usable if one.prediction_id in before for key in copy_keys(text)}
    until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    in_sample = {row.prediction_id for row in counted_members(engine, dt.datetime(1970, 1, 1, tzinfo=dt.UTC), until)}
    examples, fitted, new = [], [], 0
    for one, text in usable:
        if copy_keys(text) & learnt:
            part = "train" if how == "correction" else ""
        else:
            part = APART if bucket(text) in APART_BUCKETS else ""
        examples.append(Example(text, one.true_label == "spam", REVIEWS, part))
        if part == APART:
            new += one.review_id > last
        else:
            new += one.prediction_id not in before
            fitted.append(one.prediction_id)
    sampled = {text for one, text in usable if one.prediction_id in in_sample}
    return _Reviews(examples, fitted, sampled, new, len(found) - len(usable), found[0].review_id if found else "")


def _fit(
    how: str,
    served: SpamModel,
    card: Card,
    files: Sequence[Dataset],
    reviews: _Reviews,
    progress: Callable[[str], None],
) -> training.Training:
    # First, as what people say of a message counts, not its copy in a file.
    datasets = [Dataset(REVIEWS, "", reviews.examples, labels=served.labels), *files]
    if how == "correction":
        for file in files:
            file.examples = [example._replace(part="train") for example in file.examples]  # learnt long ago
    sources = {example.source for dataset in datasets for example in dataset.examples}
    weights = card["weights"] | {REVIEWS: WEIGHTS[how]}
    weights = {source: weight for source, weight in weights.items() if source in sources}
    if how == "anew":
        fit = fit_with(card["pipeline"]) if "pipeline" in card else training.fit
        return training.train(datasets, (), weights, served.threshold, progress, fit)
    if isinstance(served, PipelineModel):
        raise BadData(
            "The served model is a Pipeline of your own, which can only be fitted anew: give the files of its card "
            "with --data FOLDER."
        )
    fit = partial(correct, served.pipeline, learnt=sources - {REVIEWS})
    return training.train(datasets, (), weights, served.threshold, progress, fit, fewest=0)


def _too_few(reviews: _Reviews) -> str:
    words = f"Only {reviews.new} reviews are new since the served version was made; {FEWEST_NEW} are needed. "
    if reviews.without_text:
        words += f"{reviews.without_text:,} more cannot be used, as the log keeps no texts (HAMLET_STORE_TEXT). "
    return words + "Review more messages on the page Review, then try again."


def _is_worse(compared: Comparison) -> str:
    return (
        f"The new version is worse, so nothing was saved: of the {compared.messages:,} reviewed messages that neither "
        f"was fitted on, {compared.only_first_right} are right with the served version only, and "
        f"{compared.only_second_right} with the new one only (p = {compared.p_value:.2g}). "
        "Review more messages, or save it all the same with --anyway."
    )

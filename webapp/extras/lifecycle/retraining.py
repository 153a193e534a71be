"""Retrain: a new version of the served model, its weights corrected by what people said of messages since.

Of the reviewed messages those of three buckets in ten, by a hash of their text, are kept apart: no version is ever
fitted on them, so that any two can be compared on them. docs/lifecycle.md says why, and where the figures come from.
"""

import datetime as dt
from collections.abc import Callable
from typing import NamedTuple

import sqlalchemy as sa

from webapp.config import PROJECT_SET
from webapp.errors import BadData, ModelUnusable
from webapp.extras.lifecycle.comparison import Comparison, compare
from webapp.extras.lifecycle.correction import fine_tune
from webapp.extras.lifecycle.reviewed import EVER, Learnt
from webapp.extras.review.fitted import ReviewedMessage, fitted_by, note_fitted, reviewed_messages
from webapp.extras.review.samples import counted_members
from webapp.log.tables import predictions, reviews
from webapp.model import artifact, training
from webapp.model.card import Card, Retraining, read_card
from webapp.model.data import APART, Dataset, Example, bucket, drop_copies, read_labelled
from webapp.model.labels import Labels
from webapp.model.registry import ModelRegistry
from webapp.model.scoring import make_model

REVIEWS = "reviews"  # the source of the reviewed messages, beside the files'
FEWEST_NEW = 50  # reviews: fewer change little, and a version a day is more than anybody looks at
HOLDOUT_BUCKETS = (7, 8, 9)  # of ten
DOUBT = 2.0  # evidence above which "worse" is no mere chance: a refusal costs less than a worse version
SURE = 0.99  # a review that contradicts a verdict that was so sure is asked about once more before it teaches
ANCHORS = 5_000  # messages of the log that hold the model where its training messages are not at hand
ANCHOR_WEIGHT = 0.3  # of one of these

Report = Callable[[float | None, str], None]


class Retrained(NamedTuple):
    """The new version, and how it does on reviewed messages that neither it nor its parent has learnt."""

    version: str
    reviews: int  # that it was corrected with
    new_reviews: int
    unconfirmed: int  # reviews that contradict a very sure verdict and have not taught it
    without_text: int  # reviewed messages that could not be used, as the log kept no text
    comparison: Comparison  # first the served version, then the new one


class Reviews(NamedTuple):
    """The reviewed messages as they are to be used."""

    to_learn: list[ReviewedMessage]
    held_out: list[Example]  # kept apart, copies dropped; source "random" where it is of a random sample
    unconfirmed: list[ReviewedMessage]  # that contradict a very sure verdict, and have been said once
    new: int  # since the version was made
    without_text: int
    last: str  # id of the newest review


def retrain(engine: sa.Engine, registry: ModelRegistry, force: bool, progress: Report) -> Retrained:
    """Correct the served version by the reviews and save the result, without serving it.

    Raises BadData, with the reason, where it has no weights to correct, too few reviews are new, or the new version is
    worse (unless `force`), and ModelUnusable or LogUnavailable; then nothing is saved.
    """
    progress(0.0, "Reading the reviews")
    served = registry.current()
    card = read_card(registry.folder, served.version)
    found = gather(engine, registry, served.version)
    if found.new < FEWEST_NEW:
        raise BadData(_too_few(found))
    progress(0.1, "Correcting the served version")
    examples = drop_copies(Example(one.text or "", one.true_label == "spam", REVIEWS) for one in found.to_learn)
    pipeline = fine_tune(served, examples, _anchors(engine, card))

    progress(0.7, "Comparing it with the served version")
    new = make_model(pipeline, "the new version", served.threshold, served.labels)
    compared = compare(served, new, found.held_out)
    if compared.duel.only_first > compared.duel.only_second and compared.duel.evidence > DOUBT and not force:
        raise BadData(_is_worse(compared))
    sample = [example for example in found.held_out if example.source == "random"]
    measured = training.report(sample, training.predict(new, sample), new.threshold)
    new_card = card.model_copy(
        update={
            "metrics": {"held_out": measured} if sample else {},
            "retraining": Retraining(
                parent=served.version,
                reviews=len(examples),
                held_out=len(found.held_out),
                last_review=found.last,
                only_parent_right=compared.duel.only_first,
                only_this_right=compared.duel.only_second,
            ),
        }
    )
    fitted = {*(one.prediction_id for one in found.to_learn), *fitted_by(engine, served.version)}
    progress(0.9, "Saving it")
    version = artifact.save(
        registry.folder,
        pipeline,
        new_card,
        card.model_file.format,
        dt.datetime.now(dt.UTC),
        artifact.read_learnt(registry.folder, served.version),
        announce=lambda version: note_fitted(engine, version, fitted),
    )
    return Retrained(version, len(examples), found.new, len(found.unconfirmed), found.without_text, compared)


def gather(engine: sa.Engine, registry: ModelRegistry, version: str) -> Reviews:
    """Decide what becomes of each reviewed message if a version is corrected.

    What it has learnt, in a file or from reviews, is never kept apart. New are reviews since it was made or, if one was
    retrained from it already, since the newest of these was.
    """
    base = newest_child(registry, version) or version
    retraining = read_card(registry.folder, base).retraining
    before, last = fitted_by(engine, base), retraining.last_review if retraining else ""
    learnt, unconfirmed = Learnt(engine, registry, [version]), _unconfirmed(engine)
    in_sample = {row.prediction_id for row in counted_members(engine, *EVER)}
    found = reviewed_messages(engine)
    to_learn, held_out, waiting, new, without_text = [], [], [], 0, 0
    for one in found:
        if one.text is None:
            without_text += 1
        elif bucket(one.text) in HOLDOUT_BUCKETS and one.text not in learnt:
            source = "random" if one.prediction_id in in_sample else REVIEWS
            held_out.append(Example(one.text, one.true_label == "spam", source))
            new += one.review_id > last
        elif one.prediction_id in unconfirmed:
            waiting.append(one)
        else:
            to_learn.append(one)
            new += one.prediction_id not in before
    newest = found[0].review_id if found else ""
    return Reviews(to_learn, drop_copies(held_out), waiting, new, without_text, newest)


def newest_child(registry: ModelRegistry, version: str) -> str | None:
    """Return the newest version that was retrained from this one, None if there is none."""
    children = (name for name in registry.versions() if _parent(registry, name) == version)
    return max(children, default=None)


def _parent(registry: ModelRegistry, version: str) -> str | None:
    try:
        retraining = read_card(registry.folder, version).retraining
    except ModelUnusable:
        return None
    return retraining.parent if retraining else None


def reviews_to_learn(engine: sa.Engine, labels: Labels) -> tuple[Dataset, Callable[[str], None]]:
    """Return the reviewed messages for `train --with-reviews`, and what notes which version has learnt them.

    Those of the buckets that are kept apart are measured on and never learnt.
    """
    unconfirmed = _unconfirmed(engine)
    found = [one for one in reviewed_messages(engine) if one.text and one.prediction_id not in unconfirmed]
    parts = [APART if bucket(one.text or "") in HOLDOUT_BUCKETS else "" for one in found]
    examples = [
        Example(one.text or "", one.true_label == "spam", REVIEWS, part) for one, part in zip(found, parts, strict=True)
    ]
    fitted = [one.prediction_id for one, part in zip(found, parts, strict=True) if part != APART]
    return Dataset(REVIEWS, "", examples, labels=labels), lambda version: note_fitted(engine, version, fitted)


def _unconfirmed(engine: sa.Engine) -> set[str]:
    """Return the predictions whose one review contradicts a verdict that was very sure."""
    shown = predictions.c
    sure = sa.case((shown.label == "spam", shown.spam_probability), else_=1 - shown.spam_probability) >= SURE
    query = (
        sa.select(shown.id)
        .join(reviews, reviews.c.prediction_id == shown.id)
        .where(sure, reviews.c.true_label.in_(("spam", "ham")), reviews.c.true_label != shown.label)
        .group_by(shown.id)
        .having(sa.func.count() == 1)
    )
    with engine.connect() as connection:
        return set(connection.execute(query).scalars())


def _anchors(engine: sa.Engine, card: Card) -> dict[str, float]:
    """Return texts that hold the model where it was, with how much each counts.

    They are the project's own messages if its card names these, else the newest of the log that nobody reviewed.
    """
    if any(entry.file == PROJECT_SET.name for entry in card.data):
        return {one.text: card.weights.get(one.source, 1.0) for one in drop_copies(read_labelled(PROJECT_SET).examples)}
    shown = predictions.c
    unreviewed = ~sa.exists().where(reviews.c.prediction_id == shown.id)
    newest = sa.select(shown.text).where(shown.text.is_not(None), unreviewed).order_by(shown.id.desc()).limit(ANCHORS)
    with engine.connect() as connection:
        return dict.fromkeys(connection.execute(newest).scalars(), ANCHOR_WEIGHT)


def _too_few(found: Reviews) -> str:
    words = f"{found.new} reviews are new since the served version was made or retrained; {FEWEST_NEW} are needed. "
    if found.unconfirmed:
        words += (
            f"{len(found.unconfirmed):,} more contradict a verdict that was at least 99 % sure: look at these once "
            "more on the page Models. "
        )
    if found.without_text:
        words += f"{found.without_text:,} more cannot be used, as the log keeps no texts (HAMLET_STORE_TEXT). "
    return words + "Review more messages on the page Review, then try again."


def _is_worse(compared: Comparison) -> str:
    return (
        f"The new version is worse, so nothing was saved: of {compared.messages:,} reviewed messages that were kept "
        f"apart, {compared.duel.only_first} are right with the served version only, and {compared.duel.only_second} "
        "with the new one only. Review more messages, or save it all the same with --anyway."
    )


def told(result: Retrained) -> str:
    """Return what is known of a new version, in words: the same for the command and on the page."""
    words = f"The served version was corrected with {result.reviews:,} reviews. "
    found = result.comparison
    if not found.messages:
        return words + "No reviewed message was kept apart, so how good it is is not known yet."
    right = found.both_right + found.duel.only_second
    words += (
        f"Of {found.messages:,} that were kept apart, the new one gets {right:,} right, "
        f"the served one {found.both_right + found.duel.only_first:,}. "
    )
    return words + found.duel.sentence("the served version", "the new one")

"""flask train, evaluate and predict: the five steps in a terminal."""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import wraps
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import click
from flask import current_app
from flask.cli import with_appcontext

from webapp.cli.command import FriendlyCommand, current_inference, print_report
from webapp.cli.models import who
from webapp.config import FLASK
from webapp.errors import BadData, HamletError
from webapp.model import artifact, training
from webapp.model.data import HOLDOUT, Dataset, Example, drop_copies, fingerprints, read_labelled, summary
from webapp.model.evaluation import Metrics
from webapp.model.labels import SPAM_OR_HAM, Labels, read_labels
from webapp.model.own_model import fit_with

OPPOSITE = 0.2  # ROC-AUC: no spam model puts ham so far above spam, but for what it calls spam


class Reader(NamedTuple):
    """Reads labelled files as the options of a command say."""

    text_column: str | None
    label_column: str | None
    labels: Labels | None

    def read(self, files: Iterable[str], labels: Labels = SPAM_OR_HAM) -> list[Dataset]:
        """Return the files' datasets, and say what was taken, cut and left out; raises BadData."""
        words = self.labels or labels
        datasets = [read_labelled(Path(file), self.text_column, self.label_column, words) for file in files]
        for notice in (notice for dataset in datasets for notice in dataset.notices):
            click.echo(notice, err=True)
        return datasets


def data_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that say how labelled files are to be read; the command gets a `reader`."""

    @click.option("--text-column", help="The column with the messages, where it has no usual name such as text.")
    @click.option("--label-column", help="The column with the labels, where it has no usual name such as label.")
    @click.option(
        "--labels",
        "words",
        metavar="NEGATIVE,POSITIVE",
        help="The two labels, the one that is looked for last, such as normal,urgent; 0 and 1 may stand for them. By "
        "default ham,spam. With spam,ham they are these two, but 0 is spam and 1 is ham.",
    )
    @wraps(command)
    def with_reader(text_column: str | None, label_column: str | None, words: str | None, **others: Any) -> None:
        command(reader=Reader(text_column, label_column, read_labels(words) if words else None), **others)

    return with_reader


def check_threshold(_context: click.Context, _option: click.Parameter, threshold: float) -> float:
    """Return a threshold that a model may have; click's own range takes NaN."""
    if not 0.01 <= threshold <= 0.99:
        raise click.BadParameter(f"{threshold} is not from 0.01 to 0.99")
    return threshold


threshold_option = click.option(
    "--threshold",
    type=float,
    callback=check_threshold,
    default=0.5,
    show_default=True,
    help="From which probability a message is called spam (or what your second label is): higher blocks less ham, "
    "lower catches more spam.",
)


@click.command(cls=FriendlyCommand)
@click.argument("files", nargs=-1, required=True)
@data_options
@click.option("--test", "tests", multiple=True, help="A file that is only measured on. May be repeated.")
@click.option(
    "--licence",
    "licences",
    multiple=True,
    type=(str, str),
    metavar="NAME TEXT",
    help="The licence of the files whose name begins with NAME, for the model card.",
)
@click.option(
    "--weight",
    "weights",
    multiple=True,
    type=(str, float),
    metavar="SOURCE NUMBER",
    help="How much a message of a source counts; else 1.",
)
@click.option(
    "--pipeline",
    metavar="MODULE:NAME",
    help="Your own recipe: an unfitted scikit-learn Pipeline or GridSearchCV, or a function that returns one. See "
    "docs/own_model.md.",
)
@threshold_option
@click.option(
    "--with-reviews",
    is_flag=True,
    help="Learn what people said of logged messages, too; three in ten are kept apart to measure on.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(list(artifact.MODEL_FILES)),
    default="joblib",
    show_default=True,
    help="Of the model file. One of skops runs no code when it is loaded. See docs/model_files.md.",
)
@click.option("--use", "use_now", is_flag=True, help="Serve the new version at once.")
@with_appcontext
def train(
    reader: Reader,
    files: tuple[str, ...],
    tests: tuple[str, ...],
    licences: tuple[tuple[str, str], ...],
    weights: tuple[tuple[str, float], ...],
    pipeline: str | None,
    threshold: float,
    with_reviews: bool,
    file_format: str,
    use_now: bool,
) -> None:
    """Train a new version of the model on labelled FILES, of any kind that docs/files.md names."""
    registry, by_source = current_inference().registry, dict(weights)
    if file_format == "skops":
        artifact.skops_io()  # now, and not after the training
    registry.folder.mkdir(parents=True, exist_ok=True)
    TemporaryFile(dir=registry.folder).close()  # raises OSError now where the version could not be saved
    datasets, unseen = reader.read(files), reader.read(tests)
    for dataset in datasets:
        named = [licence for start, licence in licences if dataset.name.startswith(start)]
        dataset.licence = named[-1] if named else dataset.licence
    labels = datasets[0].labels
    own_fit = fit_with(pipeline) if pipeline else None
    reviews: Dataset | None = None
    if with_reviews:
        reviews_to_learn = current_app.extensions.get("reviews_to_learn")  # of an extra
        reviews = reviews_to_learn(labels) if reviews_to_learn else None
        if not reviews or not reviews.examples:
            raise BadData("--with-reviews: no message whose text is in the log has been reviewed yet. See Review.")
        datasets.insert(0, reviews)  # first, as what people say of a message counts, not its copy in a file
        if not pipeline:
            by_source.setdefault(reviews.name, training.REVIEW_WEIGHT)
    if labels != SPAM_OR_HAM:
        click.echo(f"The labels are {labels.ham} and {labels.spam}; {labels.spam} is the one that is looked for.")
    say_kept(datasets, labels)
    result = training.train(datasets, unseen, by_source, threshold, lambda step: click.echo(f"{step} ..."), own_fit)
    card = result.card.model_copy(update={"pipeline": pipeline})
    for name, metrics in card.metrics.items():
        print_report(name.replace("_", "-"), metrics, labels)

    learnt, now = result.learnt, dt.datetime.now(dt.UTC)
    if reviews:  # their copies that differ only in signs are recognised too, as after `retrain`
        taught = (
            form for example in reviews.examples if example.part != HOLDOUT for form in artifact.forms(example.text)
        )
        learnt = fingerprints(taught, learnt)
    version = artifact.save(registry.folder, result.pipeline, card, file_format, now, learnt)
    click.echo(f"\nSaved {registry.folder / version}")
    is_first = not registry.served.read()
    with suppress(HamletError):  # there need not be a version that can be served
        if (served := registry.current()).labels == labels:
            warn_if_opposite(training.report(served, result.held_out))
    if use_now or is_first:
        registry.use(version, who(), "train --use" if use_now else "")
        click.echo("It is served now.")
    else:
        click.echo(f"To serve it: {FLASK} models use {version}")


@click.command(cls=FriendlyCommand)
@click.argument("files", nargs=-1, required=True)
@data_options
@with_appcontext
def evaluate(reader: Reader, files: tuple[str, ...]) -> None:
    """Measure the current model on labelled FILES."""
    registry = current_inference().registry
    model = registry.current()
    kept = say_kept(reader.read(files, model.labels), model.labels)
    learnt = artifact.Learnt(registry.folder, [model.version])
    if known := sum(example.text in learnt for example in kept):
        of_these = f"{known:,} of these {len(kept):,} messages"
        click.echo(f"Notice: {model.version} has learnt {of_these}, so this says little about new ones.", err=True)
    report = training.report(model, kept)
    print_report(f"model {model.version}", report, model.labels)
    warn_if_opposite(report)


def say_kept(datasets: Sequence[Dataset], labels: Labels) -> list[Example]:
    """Return the messages of labelled files without copies, and say how many there are; raises BadData if none."""
    examples = [example for dataset in datasets for example in dataset.examples]
    kept = drop_copies(examples)
    click.echo(summary(examples, kept, labels))
    if not kept:
        raise BadData("There is no message in these files.")
    return kept


def warn_if_opposite(report: Metrics) -> None:
    """Say so loudly where a model of the same labels takes nearly all spam for ham, and the other way round."""
    if report.roc_auc.value is not None and report.roc_auc.value < OPPOSITE:
        click.secho(
            "WARNING: nearly all verdicts are the opposite. Does 0 mean spam and 1 ham in your files? Then say so with "
            "--labels spam,ham.",
            err=True,
            bold=True,
        )


@click.command(cls=FriendlyCommand)
@click.argument("text")
@with_appcontext
def predict(text: str) -> None:
    """Say whether TEXT is spam, and log it; for many messages there is `batch`."""
    inference = current_inference()
    model = inference.registry.current()
    row = inference.predict([text], "cli", model=model)[0]
    terms = ", ".join(f"{item['term']} {item['contribution']:+.2f}" for item in (row["explanation"] or [])[:5])
    click.echo(f"{model.labels.word(row['label'])}  {row['spam_probability']:.4f}  {terms}")

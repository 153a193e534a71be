"""The command line: `flask --app wsgi COMMAND`. One command per verb; each only reads, calls and prints."""

import datetime as dt
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext

from webapp.errors import BadData, HamletError
from webapp.inference import Inference
from webapp.model import artifact
from webapp.model.registry import ModelRegistry

# The server imports this file too, so what only training needs (pandas, metrics) is imported inside the commands.

METRIC_NAMES = {
    "accuracy": "accuracy",
    "spam_caught": "spam caught",
    "ham_blocked": "ham blocked",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "brier": "Brier score",
}


def register(app: Flask) -> None:
    """Add Hamlet's commands to `flask`."""
    for command in (train, evaluate, predict, download_data, models, log):
        app.cli.add_command(command)


class _Clear(click.Command):
    """A command that ends with one clear line and exit code 2 when something cannot be used."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except HamletError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2)


class _ClearGroup(AppGroup):
    command_class = _Clear


def _inference() -> Inference:
    inference: Inference = current_app.extensions["inference"]
    return inference


def _registry() -> ModelRegistry:
    return _inference().registry


DATA_OPTIONS = (
    click.option("--text-column", help="The column with the messages, where it is not text, v2, content or message."),
    click.option(
        "--label-column", help="The column with spam/ham or 1/0, where it is not label, v1, class or category."
    ),
)


def _data_options(command: Any) -> Any:
    for option in DATA_OPTIONS:
        command = option(command)
    return command


def _read(
    files: Iterable[str], text_column: str | None, label_column: str | None, licences: dict[str, str]
) -> list[Any]:
    from webapp.model.datasets import read_labelled

    datasets = []
    for file in files:
        dataset = read_labelled(Path(file), text_column, label_column)
        dataset.licence = next(
            (licence for start, licence in licences.items() if dataset.name.startswith(start)), dataset.licence
        )
        for notice in dataset.notices:
            click.echo(notice, err=True)
        datasets.append(dataset)
    return datasets


@click.command(cls=_Clear)
@click.argument("files", nargs=-1, required=True)
@_data_options
@click.option(
    "--test",
    "tests",
    multiple=True,
    help="A file of other origin, never trained on, only measured on. May be repeated.",
)
@click.option(
    "--licence",
    "licences",
    multiple=True,
    metavar="NAME=TEXT",
    help="The licence of the files whose name begins with NAME, for the model card.",
)
@click.option(
    "--weight", "weights", multiple=True, metavar="SOURCE=NUMBER", help="How much a message of a source counts; else 1."
)
@click.option(
    "--threshold",
    type=click.FloatRange(0.01, 0.99),
    default=0.5,
    show_default=True,
    help="From which probability a message is called spam: higher blocks less ham, lower catches more spam.",
)
@click.option(
    "--format", "file_format", type=click.Choice(list(artifact.MODEL_FILES)), default="joblib", show_default=True
)
@click.option("--use", "use_now", is_flag=True, help="Serve the new version at once.")
@with_appcontext
def train(
    files: tuple[str, ...],
    text_column: str | None,
    label_column: str | None,
    tests: tuple[str, ...],
    licences: tuple[str, ...],
    weights: tuple[str, ...],
    threshold: float,
    file_format: str,
    use_now: bool,
) -> None:
    """Train a new version of the model on labelled FILES (CSV or TSV, plain or gzip'd)."""
    from webapp.model import training

    by_name = dict(item.partition("=")[::2] for item in licences)
    by_source = {}
    for item in weights:
        source, _, number = item.partition("=")
        if not re.fullmatch(r"\d+(\.\d+)?", number):
            raise BadData(f"--weight {item}: write it as SOURCE=NUMBER, such as spamassassin=0.5")
        by_source[source] = float(number)
    datasets = _read(files, text_column, label_column, by_name)
    unseen = _read(tests, text_column, label_column, by_name)
    with click.progressbar(length=6 + len(unseen), label="Training", item_show_func=lambda step: step or "") as bar:
        result = training.train(datasets, unseen, by_source, threshold, lambda step: bar.update(1, step))
    messages = result.card["messages"]
    click.echo(
        f"{messages['messages']:,} messages ({messages['spam']:,} spam), {messages['copies_dropped']:,} copies dropped."
    )
    for name, report in result.card["metrics"].items():
        _print_report(name.replace("_", "-"), report)

    registry = _registry()
    version = artifact.save(registry.folder, result.pipeline, result.card, file_format, dt.datetime.now(dt.UTC))
    click.echo(f"\nSaved {registry.folder / version}")
    _compare_with_current(registry, version, [example.text for example in result.held_out])
    if use_now or not (registry.folder / "current").exists():
        registry.use(version)
        click.echo("It is served now.")
    else:
        click.echo(f"To serve it: flask --app wsgi models use {version}")


def _compare_with_current(registry: ModelRegistry, version: str, texts: list[str]) -> None:
    try:
        current = registry.current()
    except HamletError:
        return
    new = artifact.load(registry.folder, version)
    pairs = [(current.score(text).spam_probability, new.score(text).spam_probability) for text in texts]
    differ = sum(current.label(old) != new.label(fresh) for old, fresh in pairs)
    largest = max(abs(old - fresh) for old, fresh in pairs)
    if largest == 0:
        click.echo(f"It is the same as {current.version}, which is served now: every held-out probability is equal.")
    else:
        click.echo(
            f"Compared with {current.version}, which is served now, {differ} of {len(texts):,} "
            f"held-out verdicts differ; the largest difference in probability is {largest:.2g}."
        )


def _print_report(name: str, report: dict[str, Any]) -> None:
    click.echo(f"\n{name}: {report['messages']:,} messages, {report['spam']:,} spam")
    for key, shown in METRIC_NAMES.items():
        figure = report[key]
        if figure["value"] is not None:
            click.echo(
                f"  {shown:12} {figure['value']:.4f}   95 % interval {figure['low']:.4f} to {figure['high']:.4f}"
            )
    matrix = report["confusion_matrix"]
    click.echo("                called spam   called ham")
    click.echo(f"  spam          {matrix['spam_called_spam']:11,}  {matrix['spam_called_ham']:11,}")
    click.echo(f"  ham           {matrix['ham_called_spam']:11,}  {matrix['ham_called_ham']:11,}")


@click.command(cls=_Clear)
@click.argument("files", nargs=-1, required=True)
@_data_options
@with_appcontext
def evaluate(files: tuple[str, ...], text_column: str | None, label_column: str | None) -> None:
    """Measure the current model on labelled FILES."""
    from webapp.model import training

    registry = _registry()
    model = registry.current()
    datasets = _read(files, text_column, label_column, {})
    trained_on = {item["sha256"] for item in artifact.read_card(registry.folder, model.version)["data"]}
    for dataset in datasets:
        if dataset.sha256 in trained_on:
            click.echo(
                f"Notice: the model was trained on {dataset.name}, so this says nothing about new messages.", err=True
            )
    _print_report(f"model {model.version}", training.evaluate(model, datasets))


@click.command(cls=_Clear)
@click.argument("text")
@with_appcontext
def predict(text: str) -> None:
    """Say whether TEXT is spam; - reads one message a line from standard input."""
    for message in (line.rstrip("\n") for line in sys.stdin if line.strip()) if text == "-" else [text]:
        row = _inference().predict(message, "cli")
        terms = ", ".join(f"{item['term']} {item['contribution']:+.2f}" for item in (row["explanation"] or [])[:5])
        click.echo(f"{row['label']}  {row['spam_probability']:.4f}  {terms}")


@click.command("download-data", cls=_Clear)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--base-url", default=None, hidden=True, help="Where the archives are; for tests.")
@with_appcontext
def download_data(folder: Path, base_url: str | None) -> None:
    """Download UCI's SMS and YouTube spam collections into FOLDER."""
    from webapp.model.download import ARCHIVES, BASE_URL, fetch

    for name, archive in ARCHIVES.items():
        with click.progressbar(length=1, label=f"Downloading {name}") as bar:

            def show(so_far: int, size: int | None, bar: Any = bar) -> None:
                bar.length = size or so_far + 1
                bar.update(so_far - bar.pos)

            files, digest = fetch(archive, folder, base_url or BASE_URL, show)
        known = "as expected" if archive.sha256 else "not known beforehand, so not compared"
        click.echo(f"SHA-256 {digest} ({known})\n" + "\n".join(f"  {file}" for file in files))
    click.echo(f"To train on the SMS: flask --app wsgi train {folder / 'SMSSpamCollection'}")


models = _ClearGroup("models", help="List the saved versions of the model and choose the one that is served.")


@models.command("list")
def list_models() -> None:
    """List all versions; the served one is marked by *."""
    registry = _registry()
    try:
        current = registry.current_version()
    except HamletError:
        current = ""
    for version in registry.versions():
        try:
            card = artifact.verify(registry.folder, version)
            accuracy, file = card["metrics"]["held_out"]["accuracy"], card["model_file"]
            interval = f"{accuracy['low']:.4f} to {accuracy['high']:.4f}"
            state = f"accuracy {accuracy['value']:.4f} ({interval}), {file['bytes']:,} bytes"
        except (HamletError, KeyError, TypeError) as error:  # a card may have been written by hand
            state = f"NOT USABLE: {error}"
        click.echo(f"{'*' if version == current else ' '} {version}  {state}")


@models.command("use")
@click.argument("version")
def use_model(version: str) -> None:
    """Serve VERSION from now on; running servers change over within a second."""
    _registry().use(version)
    click.echo(f"{version} is served now.")


log = _ClearGroup("log", help="Export or purge the prediction log.")


@log.command("export")
@click.option(
    "--since", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]), help="Only predictions from this time (UTC) on."
)
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True)
def export_log(since: dt.datetime | None, file_format: str) -> None:
    """Write the logged predictions to standard output, oldest first."""
    from webapp.log.export import export

    export(current_app.extensions["engine"], sys.stdout, file_format, since and since.replace(tzinfo=dt.UTC))


@log.command("purge")
@click.option("--older-than", required=True, metavar="DAYSd", help="An age such as 90d.")
def purge_log(older_than: str) -> None:
    """Delete old predictions for good: people's messages are personal data."""
    from webapp.log.export import purge

    age = re.fullmatch(r"(\d{1,5})d", older_than)
    if not age:
        raise BadData(f"--older-than {older_than}: write the age in days, such as 90d")
    count = purge(current_app.extensions["engine"], dt.datetime.now(dt.UTC) - dt.timedelta(days=int(age[1])))
    click.echo(f"{count:,} predictions deleted.")

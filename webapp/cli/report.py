"""The figures of a model, for a terminal."""

import click

from webapp.model.evaluation import Metrics
from webapp.model.labels import SPAM_OR_HAM, Labels


def metric_names(labels: Labels) -> dict[str, str]:
    """Return what people call each metric of a model with these labels."""
    return {
        "accuracy": "accuracy",
        "recall": f"{labels.spam} caught",
        "false_positive_rate": "ham blocked" if labels == SPAM_OR_HAM else f"{labels.ham} called {labels.spam}",
        "precision": "precision",
        "roc_auc": "ROC-AUC",
        "brier": "Brier score",
    }


def print_report(name: str, metrics: Metrics, labels: Labels) -> None:
    """Print what was measured of a model."""
    click.echo(f"\n{name}: {metrics.messages:,} messages, {metrics.spam:,} {labels.spam}")
    names = metric_names(labels)
    wide = max(12, *map(len, names.values()))
    for key, shown in names.items():
        if getattr(metrics, key).value is not None:
            click.echo(f"  {shown:{wide}} {getattr(metrics, key)}")
    cell = max(map(len, labels)) + 9
    click.echo(f"  {'':12}{'called ' + labels.spam:>{cell}}{'called ' + labels.ham:>{cell}}")
    for truth in ("spam", "ham"):
        caught, missed = (metrics.confusion_matrix.get(f"{truth}_called_{verdict}", 0) for verdict in ("spam", "ham"))
        click.echo(f"  {labels.word(truth):12}{caught:{cell},}{missed:{cell},}")

"""The figures of a model card, for a terminal."""

from typing import Any

import click

from webapp.model.labels import Labels

METRIC_NAMES = {
    "accuracy": "accuracy",
    "spam_caught": "spam caught",
    "ham_blocked": "ham blocked",
    "mcc": "MCC",
    "roc_auc": "ROC-AUC",
    "brier": "Brier score",
}


def print_report(name: str, report: dict[str, Any], labels: Labels) -> None:
    """Print the metrics of a model card."""
    ham, spam = labels
    click.echo(f"\n{name}: {report['messages']:,} messages, {report['spam']:,} {spam}")
    names = {key: labels.sentence(name) for key, name in METRIC_NAMES.items()}
    wide = max(12, *map(len, names.values()))
    for key, shown in names.items():
        figure = report[key]
        if figure["value"] is not None:
            value, low, high = (f"{figure[name]:.4f}" for name in ("value", "low", "high"))
            click.echo(f"  {shown:{wide}} {value}   95 % interval {low} to {high}")
    matrix, cell = report["confusion_matrix"], max(map(len, labels)) + 9
    click.echo(f"  {'':12}{'called ' + spam:>{cell}}{'called ' + ham:>{cell}}")
    click.echo(f"  {spam:12}{matrix['spam_called_spam']:{cell},}{matrix['spam_called_ham']:{cell},}")
    click.echo(f"  {ham:12}{matrix['ham_called_spam']:{cell},}{matrix['ham_called_ham']:{cell},}")

"""What commands have in common: the app's parts, a clear line when something cannot be used, a model's figures."""

import io
import os
import sys
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from webapp.errors import HamletError, counted
from webapp.inference import Inference
from webapp.model.evaluation import Metrics
from webapp.model.labels import SPAM_OR_HAM, Labels

INTERRUPTED = 130  # the exit code after Ctrl-C, as shells have it


class FriendlyCommand(click.Command):
    """A command that ends with one clear line: exit code 2 when something cannot be used, 130 after Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        if isinstance(sys.stdout, io.TextIOWrapper):  # Windows writes to files in an encoding without most signs
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except HamletError as error:
            click.echo(f"Error: {error}{f' ({error.reason})' if error.reason else ''}", err=True)
            ctx.exit(2)
        except BrokenPipeError:  # `log export | head`: click knows
            raise
        except OSError as error:
            click.echo(f"Error: {error}", err=True)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Python would try again to print what is left, and fail
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            ctx.exit(INTERRUPTED)


class FriendlyGroup(AppGroup):
    command_class = FriendlyCommand


def current_inference() -> Inference:
    inference: Inference = current_app.extensions["inference"]
    return inference


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
    click.echo(f"\n{name}: {counted(metrics.messages, 'message')}, {metrics.spam:,} {labels.spam}")
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

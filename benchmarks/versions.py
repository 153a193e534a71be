"""Other versions of the shipped model, made in a moment: for what is measured of switching and of a challenger."""

import datetime as dt
import shutil
from pathlib import Path

from webapp.config import ROOT
from webapp.model import artifact


def copy_models(folder: Path) -> tuple[Path, str]:
    """Copy saved_models/ into a folder; return the copy and the version that is served there."""
    models = folder / "saved_models"
    shutil.copytree(ROOT / "saved_models", models)
    return models, (models / "current").read_text().strip()


def make_version(models: Path, factor: float) -> str:
    """Save a version that is the served one, but so much surer (or, below 1, less sure) of everything."""
    served = (models / "current").read_text().strip()
    card = artifact.read_card(models, served)
    pipeline = artifact.load(models, served).pipeline
    pipeline[-1].coef_ = pipeline[-1].coef_ * factor
    reference = artifact.verify(models, served).learnt
    if reference is None:
        raise ValueError(f"{served} has no reference")
    return artifact.save(models, pipeline, card, "joblib", dt.datetime.now(dt.UTC), reference)

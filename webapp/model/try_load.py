"""Load a version in a process of its own, as the next start of a server will: nothing is served that cannot be loaded.

This process may have modules that a server will not find, or have loaded the version long ago; and a file may end the
process that loads it, or never come to an end.
"""

import os
import subprocess
import sys
from pathlib import Path

from webapp import config
from webapp.errors import ModelUnusable
from webapp.model import artifact

WITHIN_S = 600  # it takes 3 s; under load on a busy machine some minutes


def try_load(models_folder: Path, version: str) -> None:
    """Load a version and let it score a message, elsewhere; raises ModelUnusable with the reason why that fails."""
    key = {"HAMLET_MODEL_KEY": config.MODEL_KEY} if config.MODEL_KEY else {}
    try:
        done = subprocess.run(  # noqa: S603  no shell; the version is a folder's name, and was verified
            [sys.executable, "-m", __name__, str(models_folder.resolve()), version],
            cwd=config.ROOT,
            env={**os.environ, **key},
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelUnusable(f"Model {version} could not be tried in a process apart ({error}).") from error
    if done.returncode:
        last = (done.stdout.strip() or done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ModelUnusable(last if version in last else f"Model {version} ends the process that loads it ({last}).")


if __name__ == "__main__":
    try:
        artifact.load(Path(sys.argv[1]), sys.argv[2]).score("Hello, are you there?")
    except ModelUnusable as error:
        print(" ".join(str(error).split()))
        sys.exit(1)

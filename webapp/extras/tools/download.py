"""Step 1, train: fetch the public SMS Spam Collection (Almeida & Hidalgo, CC BY 4.0) from UCI's repository."""

import hashlib
import io
import urllib.request
import zipfile
from pathlib import Path

from webapp.errors import BadData

URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
SHA256 = "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3"
NAME = "SMSSpamCollection"


def download(folder: Path, url: str = URL, sha256: str = SHA256) -> Path:
    """Download the collection into a folder and return its file; raises BadData, and writes nothing then."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  a URL of ours; tests give another
            content = answer.read()
    except (OSError, ValueError) as error:
        raise BadData(f"{url} cannot be downloaded ({error}). Are you online? Start again when you are.") from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise BadData(f"{url}: its SHA-256 is {found}, not {sha256}. Nothing was kept.")
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (folder / NAME).write_bytes(archive.read(NAME))
    return folder / NAME

"""Step 1, train: fetch the public data sets from the UCI Machine Learning Repository.

SMS Spam Collection (Almeida & Hidalgo, CC BY 4.0) and YouTube Spam Collection (Alberto, Lochter & Almeida 2015).
"""

import hashlib
import io
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from webapp.errors import BadData

BASE_URL = "https://archive.ics.uci.edu/static/public"
CHUNK = 64 * 1024  # bytes
LARGEST = 50 * 1024 * 1024  # bytes, zipped or not: far above both sets, far below what would hurt


class Archive(NamedTuple):
    """A zip file at UCI, what to take out of it, and the checksum of the zip where one is known."""

    path: str
    suffixes: tuple[str, ...]
    sha256: str | None


ARCHIVES = {
    "sms": Archive(
        "/228/sms+spam+collection.zip",
        ("SMSSpamCollection",),
        "1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    ),
    # No checksum of this one was at hand when this was written; the command prints the one it found.
    "youtube": Archive("/380/youtube+spam+collection.zip", (".csv",), None),
}


def fetch(
    archive: Archive, folder: Path, base_url: str, progress: Callable[[int, int | None], None]
) -> tuple[list[Path], str]:
    """Download and unpack one archive; return the files written and the archive's SHA-256.

    `progress` is told (bytes so far, bytes in all or None). Nothing is written unless the download is complete and its
    checksum right, so it can simply be started again. Raises BadData.
    """
    url = base_url + archive.path
    content = bytearray()
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  a URL of ours; tests give another
            size = int(answer.headers["Content-Length"]) if answer.headers["Content-Length"] else None
            while chunk := answer.read(CHUNK):
                content += chunk
                progress(len(content), size)
                if len(content) > LARGEST:
                    raise BadData(f"{url}: larger than {LARGEST:,} bytes, that cannot be it")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise BadData(
            f"{url} cannot be downloaded ({reason}). Is there a connection to the internet? Start again when there is."
        ) from error
    if size is not None and len(content) != size:
        raise BadData(f"{url}: the connection broke after {len(content):,} of {size:,} bytes. Start again.")
    digest = hashlib.sha256(content).hexdigest()
    if archive.sha256 and digest != archive.sha256:
        raise BadData(f"{url}: its SHA-256 is {digest}, not {archive.sha256}. Nothing was kept.")
    return _unpack(content, archive.suffixes, folder, url), digest


def _unpack(content: bytearray, suffixes: tuple[str, ...], folder: Path, url: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for info in archive.infolist():
                name = Path(info.filename).name  # never a path: a zip may name ../../anything
                if name.endswith(suffixes) and not name.startswith(".") and info.file_size <= LARGEST:
                    (folder / name).write_bytes(archive.read(info))
                    written.append(folder / name)
    except zipfile.BadZipFile as error:
        raise BadData(f"{url}: not a zip file") from error
    if not written:
        raise BadData(f"{url}: holds no {' or '.join(suffixes)}")
    return written

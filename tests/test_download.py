"""flask download-data: UCI's SMS collection, whole or not at all."""

import hashlib
import io
import zipfile

import pytest

from webapp.errors import BadData
from webapp.extras.tools.download import download


@pytest.fixture
def collection(tmp_path):
    """A zip as UCI gives it, as (address, SHA-256)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("SMSSpamCollection", "ham\thello\nspam\twin\n")
        archive.writestr("readme", "...")
    (tmp_path / "sms.zip").write_bytes(buffer.getvalue())
    return (tmp_path / "sms.zip").as_uri(), hashlib.sha256(buffer.getvalue()).hexdigest()


def test_the_collection_is_unpacked_and_nothing_else(tmp_path, collection):
    file = download(tmp_path / "data", *collection)
    assert file.read_text() == "ham\thello\nspam\twin\n"
    assert list((tmp_path / "data").iterdir()) == [file]


def test_with_a_wrong_checksum_nothing_is_kept(tmp_path, collection):
    with pytest.raises(BadData, match="Nothing was kept"):
        download(tmp_path / "data", collection[0])
    assert not (tmp_path / "data").exists()


def test_without_internet_one_line_says_so(tmp_path):
    with pytest.raises(BadData, match="Are you online"):
        download(tmp_path / "data", "http://127.0.0.1:9")

from __future__ import annotations

import hashlib
import os

import pytest

from glassformer.runs.files import FileRecord, hash_file, readable_bytes, replace_durably, write_durably


def test_what_is_written_is_what_its_record_says(tmp_path):
    data = os.urandom(100_000)
    record = write_durably(tmp_path / "file", data)
    assert record == FileRecord(100_000, hashlib.sha256(data).hexdigest()) == hash_file(tmp_path / "file")
    with pytest.raises(FileExistsError):
        write_durably(tmp_path / "file", b"never over another")


def test_replacing_is_all_or_nothing(tmp_path):
    replace_durably(tmp_path / "file", b"old")
    replace_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        replace_durably(tmp_path / "folder", b"cannot be")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB (1,000 bytes)"), (3 * 10**15, "3000.0 TB ({:,} bytes)")],
)
def test_bytes_are_readable_and_exact(count, text):
    assert readable_bytes(count) == text.format(count)

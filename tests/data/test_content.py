"""The identity of a file is its content, and a large file that did not change is hashed once."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from glassformer.data import content
from glassformer.data.content import file_sha256
from glassformer.errors import DataError

FIRST, SECOND = b"a text of some words\n" * 50, b"a text of other word\n" * 50


@pytest.fixture
def hashed(monkeypatch, tmp_path):
    """The paths that were read to be hashed, in order; files of any size and age are remembered."""
    read = []
    plain = content._hashed
    monkeypatch.setattr(content, "_hashed", lambda path: read.append(path) or plain(path))
    monkeypatch.setattr(content, "REMEMBERED_BYTES", 0)
    monkeypatch.setattr(content, "SETTLED_NS", -1)
    monkeypatch.setenv("GLASSFORMER_CACHE", str(tmp_path / "cache"))
    return read


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(FIRST)
    return path


def sha256(of: bytes) -> str:
    return hashlib.sha256(of).hexdigest()


def test_a_file_that_did_not_change_is_hashed_once(hashed, file):
    assert [file_sha256(file) for _ in range(3)] == [sha256(FIRST)] * 3
    assert hashed == [file]


@pytest.mark.parametrize("change", ["touch", "copy", "rename", "hard link", "moved folder", "link"])
def test_what_changes_a_path_or_a_time_changes_no_identity(hashed, file, tmp_path, change):
    before = file_sha256(file)
    other = tmp_path / "other.txt"
    if change == "touch":
        os.utime(file, ns=(1, 1))
        other = file
    elif change == "copy":
        shutil.copy(file, other)
    elif change == "rename":
        file.rename(other)
    elif change == "hard link":
        other.hardlink_to(file)
    elif change == "link":
        other.symlink_to(file)
    else:
        (tmp_path / "folder").mkdir()
        file.rename(tmp_path / "folder" / "text.txt")
        other = (tmp_path / "folder").rename(tmp_path / "moved") / "text.txt"
    assert file_sha256(other) == before


@pytest.mark.parametrize("how", ["written", "replaced", "one byte", "through a link"])
def test_an_edit_of_the_same_size_with_the_old_time_is_noticed(hashed, file, tmp_path, how):
    file_sha256(file)
    status = file.stat()
    if how == "written":
        file.write_bytes(SECOND)
    elif how == "replaced":
        (tmp_path / "new").write_bytes(SECOND)
        os.utime(tmp_path / "new", ns=(status.st_atime_ns, status.st_mtime_ns))
        (tmp_path / "new").replace(file)
    elif how == "through a link":
        (tmp_path / "link").hardlink_to(file)
        (tmp_path / "link").write_bytes(SECOND)
    else:
        changed = bytearray(FIRST)
        changed[7] ^= 1
        with file.open("r+b") as opened:
            opened.write(changed)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert file_sha256(file) == sha256(file.read_bytes()) != sha256(FIRST)


def test_a_file_that_changed_just_now_is_not_remembered(hashed, file, monkeypatch):
    """The clock of a file system may not tell a second change from the first."""
    monkeypatch.setattr(content, "SETTLED_NS", 10**15)
    assert file_sha256(file) == file_sha256(file)
    assert hashed == [file, file]


def test_small_files_are_not_remembered(hashed, file, tmp_path, monkeypatch):
    monkeypatch.setattr(content, "REMEMBERED_BYTES", 1 << 20)
    file_sha256(file)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "entry", ["", "{", "[]", "null", '{"stamp": 1}', '{"stamp": [], "sha256": "0"}', "[" * 100_000, '{"sha256": "x"}']
)
def test_a_damaged_memory_costs_a_hash_and_nothing_else(hashed, file, tmp_path, entry):
    file_sha256(file)
    (remembered,) = (tmp_path / "cache" / "hashes").iterdir()
    remembered.write_text(entry)
    assert file_sha256(file) == sha256(FIRST)
    assert hashed == [file, file]


def test_a_cache_that_cannot_be_written_costs_a_hash_and_nothing_else(hashed, file, tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    assert [file_sha256(file), file_sha256(file)] == [sha256(FIRST)] * 2


def test_a_missing_file_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        file_sha256(tmp_path / "nothing")

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest

from glassformer.data import token_files
from glassformer.data.token_files import TokenFile, TokenWriter, temporary_token_file, token_dtype
from glassformer.errors import DataError


@pytest.mark.parametrize(("vocab_size", "size"), [(2, 2), (65_536, 2), (65_537, 4)])
def test_ids_take_two_bytes_as_long_as_they_fit(tmp_path, vocab_size, size):
    ids = np.array([0, 1, vocab_size - 1])
    with (tmp_path / "t.bin").open("wb") as file:
        writer = TokenWriter(file, token_dtype(vocab_size))
        writer.write(ids[:1])
        writer.write(ids[1:])
    content = (tmp_path / "t.bin").read_bytes()
    assert len(content) == 3 * size
    assert writer.tokens == 3
    assert writer.sha256 == hashlib.sha256(content).hexdigest()
    tokens = TokenFile.open(tmp_path / "t.bin", token_dtype(vocab_size))
    assert len(tokens) == 3
    assert tokens[0:3].tolist() == ids.tolist()
    assert tokens[1:3].dtype == np.int64


def test_windows_are_the_slices_they_name_also_after_pages_were_given_back(monkeypatch):
    monkeypatch.setattr(token_files, "_RELEASE_AFTER_WINDOWS", 4)
    monkeypatch.setattr(token_files, "_MAY_STAY_BYTES", 0)
    ids = np.arange(400_000) % 50_000
    tokens = temporary_token_file([ids], 50_000)
    assert tokens.windows(np.arange(11), 3).tolist() == [[at, at + 1, at + 2] for at in range(11)]
    for start in range(0, 390_000, 39_999):
        rows = tokens.windows(np.array([start, start + 7]), 5)
        assert rows.tolist() == [ids[start : start + 5].tolist(), ids[start + 7 : start + 12].tolist()]


@pytest.mark.parametrize("size", [1, 3, 10, 11, 100])
def test_chunks_join_to_the_whole_and_overlap_as_asked(size):
    ids = np.arange(11)
    tokens = temporary_token_file([ids[:4], ids[4:]], 11)
    assert np.concatenate(list(tokens.chunks(size))).tolist() == ids.tolist()
    pairs = [pair for chunk in tokens.chunks(size, overlap=1) for pair in itertools.pairwise(chunk.tolist())]
    assert pairs == list(itertools.pairwise(ids.tolist()))


def test_an_empty_missing_or_ragged_file_is_a_data_error(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "ragged").write_bytes(b"abc")
    for name in ("empty", "ragged", "missing"):
        with pytest.raises(DataError, match="cannot be read"):
            TokenFile.open(tmp_path / name, token_dtype(10))

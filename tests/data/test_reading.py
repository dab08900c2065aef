from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glassformer.data import reading
from glassformer.data.reading import NotTextError, ending_with_newline, read_text, why_not_text
from glassformer.errors import DataError


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(text=st.text(alphabet=st.sampled_from("aé한😀\r\n\ufeff"), max_size=60), piece=st.integers(1, 7))
def test_pieces_of_any_size_join_to_the_same_text(tmp_path_factory, monkeypatch, text, piece):
    path = tmp_path_factory.mktemp("text") / "text"
    path.write_bytes(text.encode())
    monkeypatch.setattr(reading, "PIECE_BYTES", max(piece, 3))  # a byte order mark needs 3
    assert "".join(read_text(path)) == text.removeprefix("\ufeff").replace("\r\n", "\n")


def test_a_byte_order_mark_is_dropped_and_windows_line_ends_become_newlines(tmp_path):
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\ntwo\rthree\r\n")
    assert "".join(read_text(path)) == "one\ntwo\rthree\n"


def test_a_line_end_that_two_pieces_share_is_one_newline(tmp_path):
    path = tmp_path / "long"
    path.write_bytes(b"a" * (reading.PIECE_BYTES - 1) + b"\r\nb")
    assert "".join(read_text(path))[-3:] == "a\nb"


@pytest.mark.parametrize("before", [0, 10, reading.PIECE_BYTES - 1, reading.PIECE_BYTES + 5])
def test_invalid_utf8_is_refused_with_its_position(tmp_path, before):
    path = tmp_path / "latin1.txt"
    path.write_bytes(b"a" * before + b"\xe9t\xe9")
    with pytest.raises(NotTextError, match=f"0xE9 at position {before:,}"):
        list(read_text(path))


def test_a_character_cut_off_at_the_end_is_refused(tmp_path):
    path = tmp_path / "cut.txt"
    path.write_bytes("한".encode()[:2])
    with pytest.raises(NotTextError, match="not valid UTF-8"):
        list(read_text(path))


def test_binary_and_utf16_files_are_named_for_what_they_are(tmp_path):
    (tmp_path / "binary").write_bytes(b"abc\0def")
    (tmp_path / "utf16").write_bytes("text".encode("utf-16"))
    assert "binary" in str(why_not_text(tmp_path / "binary"))
    assert "UTF-16" in str(why_not_text(tmp_path / "utf16"))


def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_text(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("pieces", "whole"), [(["a"], "a\n"), (["a\n"], "a\n"), ([], ""), (["a\n", "b", ""], "a\nb\n")]
)
def test_a_document_ends_with_exactly_the_newline_it_needs(pieces, whole):
    assert "".join(ending_with_newline(pieces)) == whole

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma

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


TEXT = "한글 and Latin é,\r\nthree lines\nof text 😀\n"


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be", "utf-32-be"])
@pytest.mark.parametrize("name", ["text", "text.txt", "text.gz"])
def test_text_is_read_in_every_encoding_that_a_mark_announces_gzipped_or_not(tmp_path, name, encoding, packed):
    mark = {"utf-16-be": codecs.BOM_UTF16_BE, "utf-32-be": codecs.BOM_UTF32_BE}.get(encoding, b"")
    content = mark + (TEXT * 50).encode(encoding)
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    assert "".join(read_text(tmp_path / name)) == (TEXT * 50).replace("\r\n", "\n")


@pytest.mark.parametrize(
    ("content", "reason", "advice"),
    [
        (b"abc\0def", "is binary", "UTF-8"),
        (("plain words " * 9).encode("utf-16-le"), "UTF-16LE without a byte order mark", "iconv -f utf-16le"),
        (("plain words " * 9).encode("utf-16-be"), "UTF-16BE without a byte order mark", "iconv -f utf-16be"),
        (("plain words " * 9).encode("utf-32-le"), "UTF-32LE without a byte order mark", "iconv -f utf-32le"),
        (("plain words " * 9).encode("utf-32-be"), "UTF-32BE without a byte order mark", "iconv -f utf-32be"),
        ("text".encode("utf-16") + b"\xd8", "is not valid UTF-16", "iconv -c -f utf-16"),
        (b"\xff\xfe\0\0abc", "is not valid UTF-32", "iconv -c -f utf-32"),
        (bz2.compress(b"words " * 99), "compressed with bzip2", "bunzip2"),
        (lzma.compress(b"words " * 99), "compressed with xz", "unxz"),
        (b"PK\x03\x04 and more", "is a ZIP archive", "plain text"),
        (b"%PDF-1.7\n", "is a PDF", "pdftotext"),
        (gzip.compress(b"words " * 999, mtime=0)[:-9], "is not a whole gzip file", "Get it again"),
        (b"\x1f\x8b and no more", "is not a whole gzip file", "Get it again"),
        (gzip.compress(b"caf\xe9", mtime=0), "is not valid UTF-8: byte 0xE9 at position 3", "latin1"),
    ],
)
def test_what_is_not_read_is_named_for_what_it_is(tmp_path, content, reason, advice):
    (tmp_path / "file").write_bytes(content)
    assert reason in str(why_not_text(tmp_path / "file"))
    with pytest.raises(NotTextError, match=reason) as caught:
        list(read_text(tmp_path / "file"))
    assert advice in str(caught.value)


def test_a_text_that_begins_like_a_packed_file_is_text(tmp_path):
    for words in ("BZh is a postal code", "PK is a player", "7z is an archive", "%PD"):
        (tmp_path / "file").write_text(words)
        assert "".join(read_text(tmp_path / "file")) == words


def test_a_file_that_cannot_be_opened_is_a_data_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        list(read_text(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("pieces", "whole"), [(["a"], "a\n"), (["a\n"], "a\n"), ([], ""), (["a\n", "b", ""], "a\nb\n")]
)
def test_a_document_ends_with_exactly_the_newline_it_needs(pieces, whole):
    assert "".join(ending_with_newline(pieces)) == whole

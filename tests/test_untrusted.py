"""Files that somebody else may have written: read whole and strictly, or refused with a reason; never waited for."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from glassformer.errors import shown
from glassformer.untrusted import (
    DEEPEST,
    JSON_LIMIT,
    open_regular,
    open_to_append,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


NOT_REGULAR = {
    "a FIFO": (os.mkfifo, "Not a regular file but a FIFO"),
    "a socket": (a_socket, "Not a regular file"),
    "a folder": (Path.mkdir, "Is a directory"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "Not a regular file but a device"),
    "a link to itself": (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    "a link to nothing": (lambda path: path.symlink_to("gone"), "No such file or directory"),
    "nothing": (lambda path: None, "No such file or directory"),
}


@pytest.mark.parametrize("kind", NOT_REGULAR)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind, monkeypatch):
    make, reason = NOT_REGULAR[kind]
    monkeypatch.chdir(tmp_path)  # a socket's name may be short only
    make(Path("it"))
    for read in (open_regular, read_bytes, read_text, read_json):
        with pytest.raises(OSError, match=reason):
            read(Path("it"))


@pytest.mark.parametrize(
    "kind", ["a FIFO", "a socket", "a folder", "a device", "a link to itself", "a link to nothing"]
)
def test_nothing_is_appended_to_what_is_no_regular_file(tmp_path, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)
    NOT_REGULAR[kind][0](Path("it"))
    with pytest.raises(OSError, match=r"Not a regular file|Is a directory"):
        open_to_append(Path("it"))


def test_nothing_is_appended_through_a_link_and_what_it_points_to_stays_as_it_was(tmp_path):
    target = tmp_path / "mine"
    target.write_text("mine")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(OSError, match="Not a regular file but a symbolic link"):
        open_to_append(tmp_path / "link")
    assert target.read_text() == "mine"
    assert read_text(tmp_path / "link") == "mine"  # reading through one is fine
    with open_to_append(target) as file:
        file.write(b" too")
    assert target.read_text() == "mine too"


def test_a_file_larger_than_the_limit_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 2**40)  # a terabyte of nothing, which takes no room
    with pytest.raises(
        OSError, match=r"Larger than the 16 MB that are read of such a file \(1,099,511,627,776 bytes\)"
    ):
        read_json(path)
    path.write_bytes(b"x" * 11)
    assert read_bytes(path, limit=11) == b"x" * 11
    with pytest.raises(OSError, match="Larger"):
        read_bytes(path, limit=10)
    assert JSON_LIMIT == 16 * 2**20


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_an_os_error_like_any_other(name):
    with pytest.raises(OSError, match="not a file's name"):
        read_bytes(Path(name))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b"\xff{}", "can't decode byte 0xff"),
        ("{}".encode("utf-16"), "can't decode"),
        (b"[" * 100_000 + b"]" * 100_000, f"nested deeper than {DEEPEST} levels"),
        (b'{"a":' * 500 + b"1" + b"}" * 500, f"nested deeper than {DEEPEST} levels"),
        (b'{"a": NaN}', "NaN is not a number in JSON"),
        (b"[-Infinity]", "-Infinity is not a number in JSON"),
        (b"[1e999]", "larger than a floating-point number can be"),
        (b"9" * 400, "of 400 digits, and at most 64 bits are read"),
        (b"9" * 5000, "of 5000 digits, and at most 64 bits are read"),
        (b"18446744073709551616", "at most 64 bits are read"),
        (b"-9223372036854775809", "at most 64 bits are read"),
        (b'{"n": 2, "n": 4}', "has the key 'n' twice"),
        (b'["\\ud800"]', "half of a surrogate pair"),
        (b"{} {}", "Extra data"),
        (b"{'a': 1}", "Expecting property name"),
    ],
)
def test_what_no_program_can_compute_with_is_no_json(content, reason):
    with pytest.raises(ValueError, match=reason):
        parse_json(content)


def test_what_can_be_computed_with_comes_through():
    assert parse_json(b'\xef\xbb\xbf{"a": [1, -0.5, null, true, "\\ud83d\\ude00", "\\u0000"]}\r\n') == {
        "a": [1, -0.5, None, True, "😀", "\0"]
    }
    assert parse_json(b"[18446744073709551615, -9223372036854775808]") == [2**64 - 1, -(2**63)]
    assert parse_json(b"[" * DEEPEST + b"1" + b"]" * DEEPEST)


def test_a_lenient_reading_takes_any_integer_and_any_text_but_not_what_is_no_json():
    assert parse_json(b"[1" + b"0" * 100 + b', "\\ud800"]', lenient=True) == [10**100, "\ud800"]
    with pytest.raises(ValueError, match="nested deeper"):
        parse_json(b"[" * 100 + b"]" * 100, lenient=True)
    with pytest.raises(ValueError, match="NaN"):
        parse_json(b"NaN", lenient=True)


def test_a_long_value_is_shown_short():
    assert shown("x" * 1_000_000, 10) == "'xxxxxxxxx … (1,000,000 characters)"
    assert shown([1, 2]) == "[1, 2]"
    assert len(shown({"a": list(range(1000))})) < 250

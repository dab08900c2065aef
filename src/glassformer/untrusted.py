"""Reading files that somebody else may have written: regular files only, of a bounded size, and strict JSON.

    tree = read_json(path)                      # OSError or ValueError, with a reason in words, and nothing else
    content = read_bytes(path, limit=2**20)

A run's folder, a study's or a model's may come from anywhere. Opening a file of it never waits (a FIFO has no end),
never reads a device, never fills the memory, and never hands out what later code cannot compute with: a number of 400
digits, an object nested a thousand deep, half of a surrogate pair.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from glassformer.errors import shown

MEGABYTE = 2**20
JSON_LIMIT = 16 * MEGABYTE
"""Bytes of a JSON file; ours have a few thousand."""
TOKENIZER_LIMIT = 256 * MEGABYTE
"""Bytes of a vocabulary or a tokenizer; the largest in use have some 30 million."""
DEEPEST = 64
"""Levels of lists and objects inside one another; ours have six."""
SMALLEST_INTEGER, LARGEST_INTEGER = -(2**63), 2**64 - 1  # what 64 bits hold; a seed is unsigned
LONGEST_INTEGER = 20  # characters of these

_KINDS = (
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path, *, limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading, without waiting and without reading anything yet.

    Args:
        limit: the most bytes that it may have; None means any number.

    Raises:
        OSError: there is none, it may not be read, is not a regular file, or is larger; ``strerror`` says which.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError as error:  # a null byte, or half of a surrogate pair, in a name read from a file
        raise OSError(errno.EINVAL, f"not a file's name: {error}", str(path)) from None
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise OSError(errno.EINVAL, "Not a regular file", str(path)) from None
        raise
    try:
        _check_regular(descriptor, path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def open_to_append(path: Path) -> io.FileIO:
    """Open a regular file, or make one, to write behind what is in it, without a buffer.

    A symbolic link in its place is rejected: whoever made the folder could have it point at any file of ours.

    Raises:
        OSError: it may not be written, or is not a regular file; ``strerror`` says which.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_BINARY", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a FIFO or socket that nobody reads
            what = "a symbolic link" if error.errno == errno.ELOOP else "a FIFO or a socket"
            raise OSError(errno.EINVAL, f"Not a regular file but {what}", str(path)) from None
        raise
    try:
        _check_regular(descriptor, path, None)
        return io.FileIO(descriptor, "ab")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(descriptor: int, path: Path, limit: int | None) -> None:
    """Raise ``OSError`` if an open file is not a regular one, or has more bytes than the limit."""
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for is_kind, name in _KINDS if is_kind(found.st_mode)), "something else")
        raise OSError(errno.EINVAL, f"Not a regular file but {kind}", str(path))
    if limit is not None and found.st_size > limit:
        raise OSError(errno.EFBIG, _too_large(found.st_size, limit), str(path))


def read_bytes(path: Path, *, limit: int = JSON_LIMIT) -> bytes:
    """The content of a regular file of at most ``limit`` bytes. Raises ``OSError`` as :func:`open_regular` does."""
    with open_regular(path, limit=limit) as file:
        content = file.read(limit + 1)  # it may have grown since it was opened
    if len(content) > limit:
        raise OSError(errno.EFBIG, _too_large(len(content), limit), str(path))
    return content


def read_text(path: Path, *, limit: int = JSON_LIMIT) -> str:
    """The same as text in UTF-8, a byte order mark left out. Raises ``OSError``, and ``ValueError`` for other bytes."""
    return read_bytes(path, limit=limit).decode("utf-8-sig")


def read_json(path: Path, *, limit: int = JSON_LIMIT) -> Any:
    """What a JSON file holds. Raises ``OSError`` as :func:`read_bytes`, and ``ValueError`` as :func:`parse_json`."""
    return parse_json(read_bytes(path, limit=limit))


def parse_json(content: bytes, *, lenient: bool = False) -> Any:
    """JSON as the standard has it, and as a program can use it.

    Args:
        lenient: the last two below are read too; whoever uses the values has to look at them first.

    Raises:
        ValueError: it is not UTF-8 or not JSON; it is nested deeper than DEEPEST; a number is not finite; an object
            has a key twice; an integer has more than 64 bits; a text holds half of a surrogate pair.
    """
    text = content.decode("utf-8-sig")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=int if lenient else _integer,
            parse_constant=_reject_constant,
        )
    except RecursionError:
        raise ValueError(f"it is nested deeper than {DEEPEST} levels") from None
    _check_values(value)
    if not lenient and "\\u" in text:  # only an escape can write half of a pair
        _check_surrogates(text)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return made


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER or not SMALLEST_INTEGER <= (value := int(digits)) <= LARGEST_INTEGER:
        raise ValueError(
            f"it has the integer {shown(digits, 20)} of {len(digits)} digits, and at most 64 bits are read"
        )
    return value


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")


def _check_values(value: Any) -> None:
    """Raise ValueError for what is nested too deep and for numbers such as 1e999."""
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"it is nested deeper than {DEEPEST} levels")
        inner: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                inner.extend(each.values())
            elif isinstance(each, list):
                inner.extend(each)
            elif isinstance(each, float) and not math.isfinite(each):
                raise ValueError("it has a number that is larger than a floating-point number can be")
        level, depth = inner, depth + 1


def _check_surrogates(text: str) -> None:
    """Raise ValueError where an escape in JSON stands for half of a surrogate pair, which no UTF-8 text can hold."""
    try:
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it has the escape \\u{ord(error.object[error.start]):x}, half of a surrogate pair") from None


def _too_large(size: int, limit: int) -> str:
    return f"Larger than the {limit // MEGABYTE:,} MB that are read of such a file ({size:,} bytes)"

"""Lines of text in and out of ``translate``: as many come out as went in, and nothing is written by halves."""

from __future__ import annotations

import codecs
import sys
from pathlib import Path

from glassformer.cli.terminal import emit_payload
from glassformer.errors import DataError
from glassformer.runs.files import replace_durably

STANDARD_INPUT = "standard input"


def read_sentences(path: Path | None) -> list[str]:
    r"""The lines of a file, or of standard input, without their ends: those of :func:`split_sentences`."""
    if path is None:
        if sys.stdin is None:
            raise DataError("There is no standard input to read; give --text or --input.")
        return split_sentences(sys.stdin.buffer.read(), STANDARD_INPUT)
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return split_sentences(content, repr(str(path)))


def split_sentences(content: bytes, name: str) -> list[str]:
    r"""The lines of UTF-8 text. Only ``\n`` and ``\r\n`` end one: U+2028 or a lone ``\r`` is a part of its line.

    A byte order mark is dropped; nothing at all is no line; the last line need not end. Raises :class:`DataError` with
    the number of the first line that is not text.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise DataError(f"{_capital(name)} is UTF-16, not UTF-8. Give UTF-8 (iconv -f utf-16 -t utf-8 IN > OUT).")
    sentences = []
    for number, raw in enumerate(content.removeprefix(codecs.BOM_UTF8).removesuffix(b"\n").split(b"\n"), start=1):
        if b"\0" in raw:
            raise DataError(f"Line {number:,} of {name} holds a NUL byte, so it is not text. Give lines of UTF-8 text.")
        try:
            sentences.append(raw.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise DataError(
                f"Line {number:,} of {name} is not valid UTF-8: byte 0x{raw[error.start]:02X} at its position "
                f"{error.start:,}. Give UTF-8 (iconv -f latin1 -t utf-8 IN > OUT, if it is Latin-1)."
            ) from None
    return sentences if content.removeprefix(codecs.BOM_UTF8) else []


def write_lines(lines: list[str], path: Path | None) -> None:
    """The lines in UTF-8, each ended, to standard output or to a file, which is written whole or not at all.

    Where they are looked at, at a terminal, their control characters are escaped.

    Raises :class:`DataError` if the file cannot be written.
    """
    content = "".join(line + "\n" for line in lines).encode()
    if path is None:
        if sys.stdout.isatty():
            emit_payload(content.decode())
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
        return
    try:
        if path.absolute().is_relative_to("/dev") or (path.exists() and not path.is_file()):
            with path.open("ab") as file:  # a pipe, a device or /dev/stdout is written to, not replaced
                file.write(content)
        else:
            replace_durably(path.resolve(), content)
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def check_writable(path: Path) -> None:
    """Find out before the work whether a file can be written. Raises :class:`DataError` if not."""
    try:
        if path.is_dir():
            raise DataError(f"{str(path)!r} is a folder; name a file to write.")
        if not path.parent.is_dir():
            raise DataError(f"{str(path)!r} cannot be written: there is no folder {str(path.parent)!r}.")
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> DataError:
    """What to say of a file or folder that the system does not let us write."""
    return DataError(f"{str(path)!r} cannot be written: {getattr(error, 'strerror', None) or error}.")


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]

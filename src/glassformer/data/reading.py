r"""Text files as a stream of pieces, never whole in memory.

What counts as text: UTF-8 without a NUL byte near its beginning, or UTF-16 or UTF-32 that a byte order mark announces;
each may be gzipped, which its first bytes say, whatever its name ends in. The byte order mark is dropped, and Windows'
line ends (``\r\n``) become ``\n``, so that a text gives the same tokens whichever system saved it; a lone ``\r`` is
kept.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, cast

from glassformer.errors import DataError

PIECE_BYTES = 1 << 20
LOOKED_AT = 1 << 16  # bytes at the beginning in which a NUL byte means that a file is not text
BYTE_ORDER_MARKS = (  # the longer first: UTF-32's little-endian one begins with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
GZIP = b"\x1f\x8b"
PACKED = {  # first bytes of what is not read here: what it is, and how to unpack it
    **{
        b"BZh%d1AY&SY" % level: ("is compressed with bzip2", "Unpack it (bunzip2 -k FILE) and give the text in it.")
        for level in range(1, 10)
    },
    b"\xfd7zXZ\0": ("is compressed with xz", "Unpack it (unxz -k FILE) and give the text in it."),
    b"\x28\xb5\x2f\xfd": ("is compressed with Zstandard", "Unpack it (unzstd FILE) and give the text in it."),
    b"PK\x03\x04": ("is a ZIP archive (as .docx and .xlsx are too)", "Unpack it, or save it as plain text."),
    b"7z\xbc\xaf\x27\x1c": ("is a 7z archive", "Unpack it and give the text in it."),
    b"%PDF-": ("is a PDF", "Save it as plain text (pdftotext FILE) and give that."),
}


class NotTextError(DataError):
    """A file that cannot be read as text. ``reason`` is short; the message also says what to do."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        self.reason = reason
        super().__init__(f"{str(path)!r} {reason}. {advice}")


def read_text(path: Path) -> Iterator[str]:
    """The text of a file in pieces of about a megabyte.

    Raises :class:`NotTextError` if it is not text, naming the position, and :class:`DataError` if it cannot be read.
    """
    try:
        with _opened(path) as file:
            yield from _decode(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        reason = f"is not a whole gzip file ({error})"
        raise NotTextError(path, reason, "Get it again, or unpack what can be unpacked (gunzip).") from error
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def why_not_text(path: Path) -> str | None:
    """The reason why :func:`read_text` would not give the whole file as text with something in it, or None."""
    try:
        characters = sum(len(piece) for piece in read_text(path))
    except NotTextError as error:
        return error.reason
    except DataError as error:
        return str(error).removeprefix(f"{str(path)!r} ").removesuffix(".")
    return None if characters else "is empty"


def ending_with_newline(pieces: Iterable[str]) -> Iterator[str]:
    """The same pieces; a newline after them if there is any text and the last piece lacks one."""
    last = ""
    for piece in pieces:
        yield piece
        last = piece or last
    if last and not last.endswith("\n"):
        yield "\n"


def _opened(path: Path) -> AbstractContextManager[BinaryIO]:
    """The file's bytes, unpacked if it is gzipped."""
    with path.open("rb") as file:
        packed = file.read(len(GZIP)) == GZIP
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


def _decode(path: Path, file: BinaryIO) -> Iterator[str]:
    raw = file.read(PIECE_BYTES)
    mark, encoding = next(
        ((mark, encoding) for mark, encoding in BYTE_ORDER_MARKS if raw.startswith(mark)), (b"", "utf-8")
    )
    if not mark:
        _check_not_binary(path, raw)
    decoder = codecs.getincrementaldecoder(encoding)()
    position, lines, held = 0, 1, ""
    while True:
        undecoded = len(decoder.getstate()[0])
        try:
            text = held + decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].decode(encoding, errors="ignore").count("\n")
            raise _not_of(path, encoding, error, position - undecoded + error.start, line) from None
        if position == 0:
            text = text.removeprefix("\ufeff")
        position += len(raw)
        held = "\r" if raw and text.endswith("\r") else ""  # it may be the first half of a line end
        text = text[: len(text) - len(held)].replace("\r\n", "\n")
        lines += text.count("\n")
        if text:
            yield text
        if not raw:
            return
        raw = file.read(PIECE_BYTES)


def _not_of(path: Path, encoding: str, error: UnicodeDecodeError, position: int, line: int) -> NotTextError:
    """What is not valid in which encoding, where, and what to do."""
    where = f"byte 0x{error.object[error.start]:02X} at position {position:,} in line {line:,}"
    if encoding != "utf-8":
        advice = f"Save the original as UTF-8 again; to drop what is damaged: iconv -c -f {encoding} -t utf-8."
        return NotTextError(path, f"is not valid {encoding.upper()}, which its byte order mark says: {where}", advice)
    advice = "Save it as UTF-8 (iconv -f latin1 -t utf-8 IN > OUT, if it is Latin-1) and try again."
    return NotTextError(path, f"is not valid UTF-8: {where}", advice)


def _check_not_binary(path: Path, beginning: bytes) -> None:
    """Raise :class:`NotTextError` if a file that begins so, without a byte order mark, is not UTF-8 text."""
    for first_bytes, (reason, advice) in PACKED.items():
        if beginning.startswith(first_bytes):
            raise NotTextError(path, reason, advice)
    looked_at = beginning[:LOOKED_AT]
    if b"\0" not in looked_at:
        return
    if encoding := _encoding_without_mark(looked_at):
        reason = f"seems to be {encoding.upper()} without a byte order mark"
        raise NotTextError(path, reason, f"Save it as UTF-8 (iconv -f {encoding} -t utf-8 IN > OUT) and try again.")
    raise NotTextError(path, "is binary (it holds NUL bytes)", "Give a file of UTF-8 text.")


def _encoding_without_mark(beginning: bytes) -> str | None:
    """UTF-16 or UTF-32, where nearly all of the high bytes are zero and hardly any of the low ones; else None."""
    if len(beginning) < 16:
        return None
    for width in (4, 2):
        columns = [beginning[place::width] for place in range(width)]
        zeros = [column.count(0) / len(column) for column in columns]
        for order, high in (("le", zeros[1:]), ("be", zeros[:-1])):
            low = zeros[0] if order == "le" else zeros[-1]
            if min(high) > 0.7 and low < 0.05:
                return f"utf-{8 * width}{order}"
    return None

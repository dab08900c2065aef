r"""Text files as a stream of pieces, never whole in memory.

What counts as text: a file that is valid UTF-8 and holds no NUL byte near its beginning. A byte order mark at the
beginning is dropped, and Windows' line ends (``\r\n``) become ``\n``, so that a text gives the same tokens whichever
system saved it; a lone ``\r`` is kept.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from glassformer.errors import DataError

PIECE_BYTES = 1 << 20
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class NotTextError(DataError):
    """A file that is not UTF-8 text. ``reason`` is short; the message also says what to do."""

    def __init__(self, path: Path, reason: str, advice: str) -> None:
        self.reason = reason
        super().__init__(f"{str(path)!r} {reason}. {advice}")


def read_text(path: Path) -> Iterator[str]:
    """The text of a UTF-8 file in pieces of about a megabyte.

    Raises :class:`NotTextError` if it is not text, naming the position, and :class:`DataError` if it cannot be read.
    """
    try:
        with path.open("rb") as file:
            yield from _decode(path, file)
    except OSError as error:
        raise DataError(f"{str(path)!r} cannot be read: {error.strerror or error}.") from error


def why_not_text(path: Path) -> str | None:
    """The reason why :func:`read_text` would not give the whole file as text with something in it, or None."""
    try:
        characters = sum(len(piece) for piece in read_text(path))
    except NotTextError as error:
        return error.reason
    except DataError as error:
        return str(error)
    return None if characters else "is empty"


def ending_with_newline(pieces: Iterable[str]) -> Iterator[str]:
    """The same pieces; a newline after them if there is any text and the last piece lacks one."""
    last = ""
    for piece in pieces:
        yield piece
        last = piece or last
    if last and not last.endswith("\n"):
        yield "\n"


def _decode(path: Path, file: BinaryIO) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    position, held = 0, ""
    while True:
        raw = file.read(PIECE_BYTES)
        if position == 0:
            refuse_binary(path, raw)
        undecoded = len(decoder.getstate()[0])
        try:
            text = held + decoder.decode(raw, final=not raw)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise NotTextError(
                path,
                f"is not valid UTF-8: byte 0x{byte:02X} at position {position - undecoded + error.start:,}",
                "Save it as UTF-8 (iconv -f latin1 -t utf-8 IN > OUT, if it is Latin-1) and try again.",
            ) from None
        if position == 0:
            text = text.removeprefix("\ufeff")
        position += len(raw)
        held = "\r" if raw and text.endswith("\r") else ""  # it may be the first half of a line end
        text = text[: len(text) - len(held)].replace("\r\n", "\n")
        if text:
            yield text
        if not raw:
            return


def refuse_binary(path: Path, beginning: bytes) -> None:
    """Raise :class:`NotTextError` if a file that begins so is no UTF-8 text: UTF-16, or one with NUL bytes."""
    if beginning.startswith(_UTF16_MARKS):
        advice = "Save it as UTF-8 (iconv -f utf-16 -t utf-8 IN > OUT) and try again."
        raise NotTextError(path, "is UTF-16, not UTF-8", advice)
    if b"\0" in beginning[:65536]:
        raise NotTextError(path, "is binary (it holds NUL bytes)", "Give a file of UTF-8 text.")

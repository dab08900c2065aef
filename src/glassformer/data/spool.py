"""A text read once from its source into a file of our own, so that it can be measured, split and read again.

A source may be a stream from a network, may be slow, or may change while it is read; the spool is none of that. It
is removed when the tokens are written.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from glassformer.data.reading import PIECE_BYTES
from glassformer.data.tokenizer import utf8

Progress = Callable[[str, int, int | None], None]
"""Called now and then with what is being done, how many bytes of text are done, and of how many (None: unknown)."""


def no_progress(_stage: str, _done: int, _total: int | None) -> None:
    """The progress of a preparation that nobody watches."""


class Spool:
    """A UTF-8 file that knows its length in characters and bytes."""

    def __init__(self, path: Path, texts: Iterable[str], progress: Progress) -> None:
        self.path = path
        self.characters = 0
        self.bytes = 0
        self._marks = [(0, 0)]  # (characters, bytes) at least a piece apart: where a count of characters can begin
        with path.open("wb") as file:
            for text in texts:
                content = utf8(text)
                file.write(content)
                self.characters += len(text)
                self.bytes += len(content)
                if self.bytes - self._marks[-1][1] >= PIECE_BYTES:
                    self._marks.append((self.characters, self.bytes))
                    progress("reading", self.bytes, None)

    def byte_of(self, character: int) -> int:
        """Where in the file a character begins, both counted from 0."""
        characters, position = max(mark for mark in self._marks if mark[0] <= character)
        for text in self.pieces(position, self.bytes):
            wanted = text[: character - characters]
            characters, position = characters + len(wanted), position + len(wanted.encode())
            if characters == character:
                break
        return position

    def pieces(self, start: int, end: int) -> Iterator[str]:
        """The text between two bytes at which characters begin, about a megabyte at a time."""
        decoder = codecs.getincrementaldecoder("utf-8")()
        with self.path.open("rb") as file:
            file.seek(start)
            while start < end:
                raw = file.read(min(PIECE_BYTES, end - start))
                start += len(raw)
                yield decoder.decode(raw, final=start >= end)

"""What every source of text is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator


class Source(ABC):
    """A text, as a stream."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.skipped: list[str] = []
        """What was left out and why, one entry a file; known once :meth:`texts` has run to its end."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """The text, piece by piece, from its beginning at each call. Raises :class:`DataError` if it has none."""

    @abstractmethod
    def fingerprint(self) -> str:
        """The identity of the text: a hash of its content, the same whatever it is called and wherever it lies."""

"""Tokens into text as they are generated: whole characters, and nothing of a stop string.

A tokenizer's stream decoder gives text as soon as its characters are complete. A stop string may begin in one token and
end in another, so what could be the beginning of one is held back until it is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from glassformer.data.task_tokenizer import TokenDecoder
from glassformer.errors import ConfigError


class DecodesStreams(Protocol):
    """What generation needs of a tokenizer."""

    def stream_decoder(self) -> TokenDecoder:
        """A new decoder, fed one id at a time."""
        ...


class TextStream:
    """One sequence's text, up to the first stop string.

    >>> from glassformer.data.tokenizers import ByteTokenizer
    >>> stream = TextStream(ByteTokenizer().stream_decoder(), stop=["END"])
    >>> [stream.feed(byte) for byte in b"an ENDing"]
    ['a', 'n', ' ', '', '', '', '', '', '']
    >>> stream.stopped, stream.text
    (True, 'an ')
    """

    def __init__(self, decoder: TokenDecoder, stop: Sequence[str] = ()) -> None:
        self._decoder, self._stop = decoder, list(stop)
        self._held = ""
        self.text = ""
        self.stopped = False

    def feed(self, token: int) -> str:
        """The text that is certain now: complete characters, and no part of a stop string."""
        if self.stopped:
            return ""
        self._held += self._decoder.feed(token)
        found = [position for stop in self._stop if (position := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._release(min(found))
        return self._release(len(self._held) - self._undecided())

    def finish(self) -> str:
        """The rest, when no more tokens come."""
        if self.stopped:
            return ""
        self._held += self._decoder.finish()
        return self._release(len(self._held))

    def _undecided(self) -> int:
        """How many characters at the end could be the beginning of a stop string."""
        return max(
            (n for stop in self._stop for n in range(1, len(stop)) if self._held.endswith(stop[:n])),
            default=0,
        )

    def _release(self, n: int) -> str:
        certain, self._held = self._held[:n], self._held[n:]
        self.text += certain
        return certain


def check_stop_strings(stop: Sequence[str], tokenizer: DecodesStreams | None) -> None:
    """Check that the stop strings can stop something.

    Raises:
        ConfigError: an empty stop string, or stop strings without a tokenizer to make text.
    """
    complaints = []
    if isinstance(stop, str):
        complaints.append(f"stop takes a list of strings, got {stop!r}; write [{stop!r}].")
    elif "" in stop:
        complaints.append("a stop string is empty, and matches everywhere; leave it out.")
    if stop and tokenizer is None:
        complaints.append("stop strings are matched in text, and no tokenizer was given to decode it.")
    if complaints:
        raise ConfigError(complaints, subject="generation")

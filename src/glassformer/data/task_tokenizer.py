"""What a task's tokenizer can do: the contract of a tokenizer of your own, which needs no base class.

Every task's tokenizer is a :class:`TaskTokenizer`. A language model's is a :class:`TextTokenizer` too, as are all of
:mod:`glassformer.data.tokenizers`; a translator's is a :class:`~glassformer.data.sentence_tokenizers.PairTokenizer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from glassformer.data.tokenizer import Ids


@runtime_checkable
class TaskTokenizer(Protocol):
    """What every run asks of its tokenizer."""

    def save(self, folder: Path, /) -> object:
        """Write it into a run's folder, from which the task's ``load_tokenizer`` reads it."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """It as plain JSON values: equal for two tokenizers only where both give the same tokens."""
        ...


class TokenDecoder(Protocol):
    """Ids in, printable text out, for one sequence."""

    def feed(self, token: int, /) -> str:
        """The text that is complete now; it may be empty."""
        ...

    def finish(self) -> str:
        """What an unfinished character at the end leaves."""
        ...


@runtime_checkable
class TextTokenizer(TaskTokenizer, Protocol):
    """What sampling from a language model and inspecting it ask besides."""

    @property
    def unknown_id(self) -> int | None:
        """The id of text that has no token; None where all text has its own."""
        ...

    def encode(self, text: str, /) -> Sequence[int] | Ids:
        """The ids of a text. Raises :class:`DataError` for what cannot be encoded."""
        ...

    def decode(self, ids: Any, /) -> str:
        """The text of the ids."""
        ...

    def token_text(self, token: int, /) -> str:
        """One token for display."""
        ...

    def stream_decoder(self) -> TokenDecoder:
        """A new decoder, fed one id at a time."""
        ...

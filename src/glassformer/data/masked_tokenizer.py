"""A text's tokenizer with one more token, [MASK]: for text that a masked language model is to fill in."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Self

import numpy as np
import torch

from glassformer.data.tokenizer import Ids, Tokenizer
from glassformer.data.tokenizers import tokenizer_from_dict
from glassformer.errors import DataError

MASK = "[MASK]"
"""As it is typed."""


class MaskedTokenizer(Tokenizer):
    """The text's own tokens, and [MASK] behind them.

    Tokens of byte pairs begin with the space before a word, so there [MASK] stands for that space too: "the [MASK] sat"
    is "the", [MASK], " sat". Where a token is a character or a byte, the space is a token of its own.
    """

    kind = "masked"

    def __init__(self, text: Tokenizer) -> None:
        self.text = text
        self.takes_space = text.kind in ("bpe", "gpt2")

    @property
    def mask_id(self) -> int:
        """The id of [MASK]."""
        return self.text.vocab_size

    @property
    def unknown_id(self) -> int | None:
        """The text's own."""
        return self.text.unknown_id

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The text's tokens, and [MASK] as it is typed."""
        return [*self.text.token_bytes, f"{' ' if self.takes_space else ''}{MASK}".encode()]

    def encode(self, text: str) -> Ids:
        """The ids of a text in which [MASK] is one token."""
        pieces = text.split(MASK)
        if self.takes_space:
            pieces = [piece.removesuffix(" ") for piece in pieces[:-1]] + pieces[-1:]
        ids: list[Ids] = []
        for index, piece in enumerate(pieces):
            if index:
                ids.append(np.array([self.mask_id], dtype=np.int64))
            if piece:
                ids.append(self.text.encode(piece))
        return np.concatenate(ids) if ids else np.zeros(0, dtype=np.int64)

    def encode_tensor(self, text: str) -> torch.Tensor:
        """The same as a tensor, int64 [n]."""
        return torch.from_numpy(self.encode(text))

    def token_text(self, token: int) -> str:
        """One token for display."""
        return MASK if token == self.mask_id else self.text.token_text(token)

    def to_dict(self) -> dict[str, Any]:
        """The text's tokenizer."""
        return {"kind": self.kind, "text": self.text.to_dict()}

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> Self:
        """The reverse of :meth:`to_dict`."""
        return cls(tokenizer_from_dict(tree["text"]))


def masked_tokenizer_from_dict(tree: dict[str, Any]) -> MaskedTokenizer:
    """The tokenizer that ``to_dict`` described. Raises :class:`DataError` for one of another kind."""
    if tree.get("kind") != MaskedTokenizer.kind:
        raise DataError(
            f"This is a tokenizer of kind {tree.get('kind')!r}, and a masked language model's is expected here. "
            "Name a run of a masked language model."
        )
    return MaskedTokenizer.from_dict(tree)

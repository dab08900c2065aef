"""Tokens and positions into vectors."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glassformer.parts.dropout import Dropout
from glassformer.parts.positions import PositionEncoding
from glassformer.parts.probes import Probe


class Embedding(nn.Module):
    """dropout(norm(token vector [× √d_model] + position vector + type vector)); most models have no norm and no types.

    Args:
        vocab_size: rows of the table.
        tokens: False leaves the tokens out: the model sees positions only.
        scale: multiply the token vectors by √d_model (Vaswani et al. 2017, §3.4), before positions are added.
        types: vectors for the segments of a text (Devlin et al. 2019, §3.2), of which the first is added: a text here
            is one segment.
        norm: applied to the sum.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int,
        positions: PositionEncoding,
        *,
        tokens: bool = True,
        scale: bool = False,
        types: int = 0,
        norm: nn.Module | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocab_size, d_model) if tokens else None
        self.positions = positions
        self.types = nn.Embedding(types, d_model) if types else None
        self.norm = norm
        self.factor = math.sqrt(d_model) if scale else 1.0
        self.dropout = Dropout(dropout)
        if tokens:
            self.token_vectors = Probe()  # [B, T, d_model]
        if positions.embed(torch.zeros(1, dtype=torch.long)) is not None:
            self.position_vectors = Probe()  # [T, d_model], or [B, T, d_model] where pads shift them
        self.output = Probe()  # [B, T, d_model]

    def forward(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Token ids [B, T] and positions [T] or [B, T] → [B, T, d_model]."""
        x = self.positions.embed(positions)
        if x is not None:
            x = self.position_vectors(x).expand(*tokens.shape, -1)
        if self.tokens is not None:
            vectors = self.tokens(tokens)
            if self.factor != 1.0:
                vectors = vectors * self.factor
            vectors = self.token_vectors(vectors)
            x = vectors if x is None else vectors + x
        assert x is not None, "ModelConfig rejects a model without tokens and without added positions"
        if self.types is not None:
            x = x + self.types.weight[0]
        if self.norm is not None:
            x = self.norm(x)
        output: Tensor = self.output(self.dropout(x))
        return output

"""A one-layer Transformer as tutorials write it: the smallest benchmark's peer. Nothing in it is meant to be fast."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class NaiveTransformer(nn.Module):
    """Post-norm, learned positions, separate projections, a mask filled in at every call."""

    def __init__(self, vocab_size: int, d_model: int, n_heads: int, d_ff: int, context: int) -> None:
        super().__init__()
        self.n_heads, self.d_head = n_heads, d_model // n_heads
        self.token_embedding = nn.Embedding(vocab_size, d_model)
        self.position_embedding = nn.Embedding(context, d_model)
        self.query, self.key, self.value = (nn.Linear(d_model, d_model) for _ in range(3))
        self.out_proj = nn.Linear(d_model, d_model)
        self.norm1, self.norm2 = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.feed_forward = nn.Sequential(nn.Linear(d_model, d_ff), nn.ReLU(), nn.Linear(d_ff, d_model))
        self.head = nn.Linear(d_model, vocab_size)

    def attend(self, x: Tensor) -> Tensor:
        """Multi-head attention by hand, [B, T, d_model] → [B, T, d_model]."""
        batch, length, width = x.shape
        query, key, value = (
            layer(x).view(batch, length, self.n_heads, self.d_head).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        scores = torch.matmul(query, key.transpose(-2, -1)) / math.sqrt(self.d_head)
        mask = torch.tril(torch.ones(length, length))
        scores = scores.masked_fill(mask == 0, float("-inf"))
        mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
        mixed = mixed.transpose(1, 2).contiguous().view(batch, length, width)
        projected: Tensor = self.out_proj(mixed)
        return projected

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, T] → logits [B, T, vocab_size]."""
        x = self.token_embedding(tokens) + self.position_embedding(torch.arange(tokens.shape[1]))
        x = self.norm1(x + self.attend(x))
        x = self.norm2(x + self.feed_forward(x))
        logits: Tensor = self.head(x)
        return logits

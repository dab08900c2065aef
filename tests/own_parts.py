"""A part of each kind, as a user would write it in a file of their own: each has weights that no part of ours has."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cross_attention import CrossAttention
from glassformer.parts.feedforward import FeedForward
from glassformer.parts.patterns import Blocks, Window
from glassformer.parts.positions import PositionEncoding
from glassformer.registry import register


@register("feedforward", "own-geglu")
class GEGLU(FeedForward):
    """W₂ · (gelu(W_gate x) ⊙ W₁ x) (Shazeer 2020, arXiv 2002.05202)."""

    def __init__(self, d_model, d_ff, *, bias=True, dropout=0.0, linear=nn.Linear):
        super().__init__(d_model, d_ff, bias=bias, dropout=dropout, linear=linear)
        self.w_gate = linear(d_model, d_ff, bias=bias)

    def forward(self, x):
        hidden = self.hidden(F.gelu(self.w_gate(x)) * self.w_1(x))
        return self.output(self.w_2(self.dropout(hidden)))


class Gated:
    """Attention whose output is gated by a matrix of the input, σ(W_g x) ⊙ y."""

    def __init__(self, d_model, n_heads, **options):
        super().__init__(d_model, n_heads, **options)
        self.w_gate = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x, *others):
        return torch.sigmoid(self.w_gate(x)) * super().forward(x, *others)


@register("attention", "own-gated")
class GatedAttention(Gated, MultiHeadAttention):
    pass


@register("attention", "own-window")
class WindowedAttention(MultiHeadAttention):
    """A token sees itself and the one before it: a pattern of the layer's own."""

    pattern = Window(2)


@register("attention", "own-blocks")
class BlockwiseAttention(MultiHeadAttention):
    """A token sees its block of three tokens."""

    pattern = Blocks(3)


@register("cross-attention", "own-gated")
class GatedCrossAttention(Gated, CrossAttention):
    pass


@register("norm", "own-mixing")
class MixingNorm(nn.Module):
    """tanh(x) times a weight, plus a low-rank mixture of the features."""

    def __init__(self, d_model, *, eps=1e-5, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(d_model))
        self.down, self.up = nn.Linear(d_model, 2, bias=False), nn.Linear(2, d_model, bias=bias)

    def forward(self, x):
        return torch.tanh(x) * self.weight + self.up(self.down(x))


@register("positions", "own-low-rank")
class LowRankPositions(PositionEncoding):
    """A learned table of few numbers a position, and a matrix that makes vectors of them."""

    def __init__(self, *, d_model, max_seq_len, n_heads, d_head, theta=10_000.0):
        super().__init__(d_model=d_model, max_seq_len=max_seq_len, n_heads=n_heads, d_head=d_head)
        self.table, self.widen = nn.Embedding(max_seq_len, 3), nn.Linear(3, d_model, bias=False)

    def embed(self, positions):
        return self.widen(self.table(positions))

"""Attention from one sequence to another: the decoder's queries, the encoder's keys and values (the paper, §3.2.3).

Shapes: B batch, H heads, G key-value heads, T queries (target tokens), S keys (source tokens), d_head per head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.patterns import SourcePadding, additive
from glassformer.registry import register


@dataclass(frozen=True)
class LayerMemory:
    """What one layer's cross-attention attends to.

    Attributes:
        hidden: the encoder's output, [B, S, d_model].
        mask: added to the scores, [B, 1, 1, S]: −∞ at pads; None where there are none.
        projected: this layer's keys and values [B, G, S, d_head] if they are computed already.
    """

    hidden: Tensor
    mask: Tensor | None = None
    projected: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class Memory:
    """The encoder's output, to which every layer of the decoder attends.

    Attributes:
        hidden, mask: as in :class:`LayerMemory`.
        layers: each layer's keys and values, once computed; decoding computes them once and never moves them, since
            all hypotheses for a sentence share them.
    """

    hidden: Tensor
    mask: Tensor | None = None
    layers: tuple[tuple[Tensor, Tensor], ...] = field(default=())

    @classmethod
    def of(cls, hidden: Tensor, pads: Tensor | None) -> Memory:
        """The memory of an encoder's output, whose tokens are pads where ``pads``, bool [B, S], is True."""
        if pads is None:
            return cls(hidden)
        keys = torch.arange(hidden.shape[1], device=hidden.device)
        visible = SourcePadding(pads).dense(keys[:1], keys)  # [B, 1, S], for every query the same
        return cls(hidden, additive(visible[:, None], hidden.dtype))

    def layer(self, index: int) -> LayerMemory:
        """What layer ``index`` attends to."""
        return LayerMemory(self.hidden, self.mask, self.layers[index] if self.layers else None)

    def select(self, rows: Tensor) -> Memory:
        """The memory of some sentences: ``rows`` are their indices [n]."""
        return Memory(
            self.hidden[rows],
            None if self.mask is None else self.mask[rows],
            tuple((keys[rows], values[rows]) for keys, values in self.layers),
        )


@register("cross-attention", "multi-head")
class CrossAttention(MultiHeadAttention):
    """Concat(head_1 … head_H) W^O, with head_i = Attention(x W_i^Q, memory W_i^K, memory W_i^V).

    The arguments are those of :class:`~glassformer.parts.attention.MultiHeadAttention`; "fused" makes keys and values
    by one matrix. Positions of the two sequences have no common origin, so nothing is rotated here and no distance
    biases the scores, whatever the encoding.
    """

    def forward(self, x: Tensor, memory: LayerMemory) -> Tensor:  # type: ignore[override] # another sequence comes in
        """[B, T, d_model] and the memory of the same B sentences → [B, T, d_model]."""
        q = self.query(self.query_norm(self._split(self._queries(x))))
        k, v = self.project(memory.hidden) if memory.projected is None else memory.projected
        return self._attend(q, self.key(k), self.value(v), memory.mask, causal=False)

    def project(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The encoder's output [B, S, d_model] → its keys and values, [B, G, S, d_head] each."""
        if self.projection == "fused":
            k, v = torch.chunk(self._split(self.w_kv(hidden)), 2, dim=1)  # of [B, 2 G, S, d_head]
        elif self.projection == "separate":
            k, v = self._split(self.w_k(hidden)), self._split(self.w_v(hidden))
        else:
            k = v = self._split(self.w_shared(hidden))
        return self.key_norm(k), v

    def _queries(self, x: Tensor) -> Tensor:
        queries: Tensor = self.w_shared(x) if self.projection == "shared" else self.w_q(x)
        return queries

    def _make_projections(self, d_model: int, q_width: int, kv_width: int, *, bias: bool) -> None:
        if self.projection == "shared":
            self.w_shared = nn.Linear(d_model, q_width, bias=bias)
            return
        self.w_q = nn.Linear(d_model, q_width, bias=bias)
        if self.projection == "fused":
            self.w_kv = nn.Linear(d_model, 2 * kv_width, bias=bias)
        else:
            self.w_k = nn.Linear(d_model, kv_width, bias=bias)
            self.w_v = nn.Linear(d_model, kv_width, bias=bias)

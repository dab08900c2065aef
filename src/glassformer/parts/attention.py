"""Attention(Q, K, V) = softmax(Q Kᵀ / √d_k) V, in several heads (Vaswani et al. 2017, §3.2).

Shapes: B batch, H heads, G key-value heads, T queries, S keys, d_head per head.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glassformer.parts.bigbird import BigBird, RandomBlocks
from glassformer.parts.cache import LayerCache
from glassformer.parts.context import Context
from glassformer.parts.dropout import Dropout
from glassformer.parts.patterns import Causal, Pattern, additive
from glassformer.parts.probes import Probe
from glassformer.registry import find, register


@register("attention", "multi-head")
class MultiHeadAttention(nn.Module):
    """Concat(head_1 … head_H) W^O, with head_i = Attention(x W_i^Q, x W_i^K, x W_i^V).

    Two paths compute the same function. The *fused* one is ``F.scaled_dot_product_attention``, or, where a pattern
    leaves out most of the keys, the blocks that are needed (:mod:`glassformer.parts.gathered`): each call decides. The
    *explicit* one forms the weights, and is taken where ``path`` says so or a probe on the scores or the weights is
    watched.

    Args:
        n_kv_heads: fewer than n_heads gives grouped-query attention (Ainslie et al. 2023); 1 is multi-query.
        projection: "fused" (one matrix for Q, K and V), "separate" (three), or "shared" (one, used as all three).
        scale: divide the scores by √d_head.
        qk_norm: the registered norm of each head's queries and keys ("none" for none; Henry et al. 2020).
        dropout: on the attention weights.
        pattern: which keys this layer may attend to of those that the context allows; None: all of them.
        random_blocks: the draws of the pattern's random blocks; None: it has none.

    Attributes:
        pattern: as given; a class may set one of its own.
    """

    pattern: Pattern | None = None

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        *,
        n_kv_heads: int | None = None,
        d_head: int | None = None,
        projection: str = "fused",
        scale: bool = True,
        qk_norm: str = "none",
        bias: bool = True,
        output_bias: bool = True,
        dropout: float = 0.0,
        pattern: Pattern | None = None,
        random_blocks: RandomBlocks | None = None,
    ) -> None:
        super().__init__()
        if pattern is not None:
            self.pattern = pattern
        if random_blocks is not None:
            self.random_blocks = random_blocks
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        self.d_head = d_head or d_model // n_heads
        self.projection = projection
        self.scale = 1 / math.sqrt(self.d_head) if scale else 1.0
        self.path = "fused"

        q_width, kv_width = self.n_heads * self.d_head, self.n_kv_heads * self.d_head
        self._make_projections(d_model, q_width, kv_width, bias=bias)
        self.w_o = nn.Linear(q_width, d_model, bias=output_bias)
        self.query_norm = find("norm", qk_norm)(self.d_head)
        self.key_norm = find("norm", qk_norm)(self.d_head)
        self.dropout = Dropout(dropout)

        self.query, self.key, self.value = Probe(), Probe(), Probe()  # [B, H, T, d_head], [B, G, S, d_head] × 2
        self.scores, self.masked_scores = Probe(), Probe()  # [B, H, T, S], Q Kᵀ; the same scaled, masked and biased
        self.weights = Probe()  # [B, H, T, S], after the softmax
        self.heads, self.output = Probe(), Probe()  # [B, H, T, d_head], before W^O; [B, T, d_model]

    def forward(self, x: Tensor, context: Context, cache: LayerCache | None = None) -> Tensor:
        """[B, T, d_model] → [B, T, d_model]; with a cache, the new tokens also see those before them."""
        q, k, v = self._project(x)
        q = self.query(context.encoding.rotate(self.query_norm(q), context.positions))
        k = self.key(context.encoding.rotate(self.key_norm(k), context.positions))
        v = self.value(v)
        if cache is not None:
            context = context if context.whole else cache.view(context)
            assert context.slots is not None
            seen = cache.write(k, v, context.slots, context.visible)
            k, v = (k, v) if context.whole else seen
        pattern = self.own_pattern()
        gathered = None if self._takes_the_explicit_path() else context.gathered(pattern)
        if gathered is not None:
            dropout = self.dropout.p if self.training else 0.0
            return self._from_heads(gathered.attend(q, k, v, scale=self.scale, dropout=dropout))
        causal = context.is_causal(pattern)
        return self._attend(q, k, v, None if causal else context.mask(pattern), causal=causal)

    def own_pattern(self) -> Pattern | None:
        """The pattern with the random blocks that are in the buffers now."""
        if isinstance(self.pattern, BigBird) and hasattr(self, "random_blocks"):
            return self.random_blocks.of(self.pattern)
        return self.pattern

    def _takes_the_explicit_path(self) -> bool:
        return self.path == "explicit" or any(
            probe.watched for probe in (self.scores, self.masked_scores, self.weights)
        )

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
        """Queries [B, H, T, d_head], keys and values [B, G, S, d_head] → [B, T, d_model], by either path."""
        explicit = self._takes_the_explicit_path()
        return self._from_heads((self._explicit if explicit else self._fused)(q, k, v, mask, causal=causal))

    def _from_heads(self, heads: Tensor) -> Tensor:
        heads = self.heads(heads)  # [B, H, T, d_head]
        output: Tensor = self.output(self.w_o(heads.transpose(1, 2).flatten(2)))
        return output

    def _make_projections(self, d_model: int, q_width: int, kv_width: int, *, bias: bool) -> None:
        """The matrices that make queries, keys and values."""
        if self.projection == "fused":
            self.w_qkv = nn.Linear(d_model, q_width + 2 * kv_width, bias=bias)
        elif self.projection == "separate":
            self.w_q = nn.Linear(d_model, q_width, bias=bias)
            self.w_k = nn.Linear(d_model, kv_width, bias=bias)
            self.w_v = nn.Linear(d_model, kv_width, bias=bias)
        else:
            self.w_shared = nn.Linear(d_model, q_width, bias=bias)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, d_model] → queries [B, H, T, d_head], keys and values [B, G, T, d_head]."""
        if self.projection == "fused":
            heads = self._split(self.w_qkv(x))  # [B, H + 2 G, T, d_head]
            q, k, v = torch.split(heads, [self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)
            return q, k, v
        if self.projection == "separate":
            return self._split(self.w_q(x)), self._split(self.w_k(x)), self._split(self.w_v(x))
        shared = self._split(self.w_shared(x))
        return shared, shared, shared

    def _split(self, x: Tensor) -> Tensor:
        """[B, T, heads · d_head] → [B, heads, T, d_head]."""
        return x.view(*x.shape[:-1], -1, self.d_head).transpose(1, 2)

    def _fused(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=None if mask is None else mask.to(q.dtype),
            dropout_p=self.dropout.p if self.training else 0.0,
            is_causal=mask is None and causal,
            scale=self.scale,
            enable_gqa=self.n_kv_heads != self.n_heads,
        )

    def _explicit(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool) -> Tensor:
        if self.n_kv_heads != self.n_heads:
            group = self.n_heads // self.n_kv_heads
            k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        scores = self.scores(q @ k.transpose(-2, -1)) * self.scale  # [B, H, T, S]
        if mask is None and causal:
            index = torch.arange(q.shape[-2], device=q.device)
            mask = additive(Causal().dense(index, index), q.dtype)
        if mask is not None:
            scores = scores + mask.to(scores.dtype)
        weights = self.weights(torch.softmax(self.masked_scores(scores), dim=-1))
        return self.dropout(weights) @ v

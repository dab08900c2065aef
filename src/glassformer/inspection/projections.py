"""The projections of each head: which slice of the weights makes its queries, keys, values and output.

However the projection is stored (one matrix, three, or one used as all three; keys and values of cross-attention
apart), a head has its own W_Q, W_K, W_V and W_O. In terms of these (Elhage et al. 2021, *A Mathematical Framework for
Transformer Circuits*) a head does two things that do not depend on each other: W_Q W_Kᵀ, the *QK circuit*, says where
it attends, and W_V W_O, the *OV circuit*, says what it writes for what it finds there.

Shapes: H heads, G key-value heads (the G-th serves H/G heads in a row), d_head per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cross_attention import CrossAttention


@dataclass(frozen=True)
class ProjectionSlices:
    """One layer's projections, head by head: q = x @ w_q[h] + b_q[h], and out = Σ_h head_h @ w_o[h] + b_o.

    Biases that the layer does not have are zeros. With one shared projection, the three are the same numbers.

    Attributes:
        w_q: [H, d_model, d_head]; b_q: [H, d_head].
        w_k, w_v: [G, d_model, d_head]; b_k, b_v: [G, d_head].
        w_o: [H, d_head, d_model]; b_o: [d_model].
    """

    w_q: Tensor
    w_k: Tensor
    w_v: Tensor
    w_o: Tensor
    b_q: Tensor
    b_k: Tensor
    b_v: Tensor
    b_o: Tensor

    @property
    def group(self) -> int:
        """How many heads share a key-value head, H/G."""
        return len(self.w_q) // len(self.w_k)

    def qk_circuits(self) -> Tensor:
        """W_Q W_Kᵀ of each head, [H, d_model, d_model]: the score of a query x for a key y is x (W_Q W_Kᵀ) yᵀ.

        Biases, the norm of queries and keys, rotation and 1/√d_head are left out.
        """
        return self.w_q @ self._for_each_head(self.w_k).transpose(1, 2)

    def ov_circuits(self) -> Tensor:
        """W_V W_O of each head, [H, d_model, d_model]: what it writes, y (W_V W_O), for a token y it attends to."""
        return self._for_each_head(self.w_v) @ self.w_o

    def qk_singular_values(self) -> Tensor:
        """Of W_Q W_Kᵀ, [H, d_head], the largest first; the others of the d_model are zero."""
        return _singular_values(self.w_q, self._for_each_head(self.w_k).transpose(1, 2))

    def ov_singular_values(self) -> Tensor:
        """Of W_V W_O, [H, d_head], the largest first; the others of the d_model are zero."""
        return _singular_values(self._for_each_head(self.w_v), self.w_o)

    def _for_each_head(self, grouped: Tensor) -> Tensor:
        """[G, ...] → [H, ...]."""
        return grouped.repeat_interleave(self.group, dim=0)


def slices(attention: nn.Module) -> ProjectionSlices:
    """The projections of one layer's attention, or cross-attention, as copies.

    Raises:
        ConfigError: an attention of your own, whose projections may be anywhere.
    """
    if not isinstance(attention, MultiHeadAttention):
        raise ConfigError(
            f"{type(attention).__qualname__} is not a MultiHeadAttention, so which of its weights make queries, keys "
            "and values is not known; derive it from glassformer.parts.attention.MultiHeadAttention.",
            subject="inspection",
        )
    (w_q, b_q), (w_k, b_k), (w_v, b_v) = (_by_head(*stored, attention.d_head) for stored in _projections(attention))
    w_o, b_o = _weight_and_bias(attention.w_o)
    w_o = w_o.T.reshape(attention.n_heads, attention.d_head, -1)
    return ProjectionSlices(w_q=w_q, w_k=w_k, w_v=w_v, w_o=w_o, b_q=b_q, b_k=b_k, b_v=b_v, b_o=b_o)


def _by_head(weight: Tensor, bias: Tensor, d_head: int) -> tuple[Tensor, Tensor]:
    """As stored, [heads · d_head, d_model] and [heads · d_head] → [heads, d_model, d_head] and [heads, d_head]."""
    return weight.view(-1, d_head, weight.shape[1]).transpose(1, 2).contiguous(), bias.view(-1, d_head)


def _projections(attention: MultiHeadAttention) -> list[tuple[Tensor, Tensor]]:
    """Weight [heads · d_head, d_model] and bias [heads · d_head] of Q, K and V, however they are stored."""
    if attention.projection == "shared":
        return [_weight_and_bias(attention.w_shared)] * 3
    if attention.projection == "separate":
        return [_weight_and_bias(layer) for layer in (attention.w_q, attention.w_k, attention.w_v)]
    q_width, kv_width = attention.n_heads * attention.d_head, attention.n_kv_heads * attention.d_head
    if isinstance(attention, CrossAttention):
        fused = _weight_and_bias(attention.w_kv)
        return [_weight_and_bias(attention.w_q), *_cut(fused, [kv_width, kv_width])]
    return _cut(_weight_and_bias(attention.w_qkv), [q_width, kv_width, kv_width])


def _cut(fused: tuple[Tensor, Tensor], widths: list[int]) -> list[tuple[Tensor, Tensor]]:
    weight, bias = fused
    return list(zip(torch.split(weight, widths), torch.split(bias, widths), strict=True))


def _weight_and_bias(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Both as copies; zeros for a bias that the layer does not have."""
    weight = layer.weight.detach().clone()
    bias: Tensor | None = layer.bias
    return weight, weight.new_zeros(len(weight)) if bias is None else bias.detach().clone()


def _singular_values(left: Tensor, right: Tensor) -> Tensor:
    """Of the product of [H, d_model, d_head] and [H, d_head, d_model], without forming it: [H, d_head]."""
    small = torch.linalg.qr(left.float()).R @ torch.linalg.qr(right.float().transpose(1, 2)).R.transpose(1, 2)
    return torch.linalg.svdvals(small)

"""Queries, keys and values: which slice of the weights makes them for each head, and a head step by step.

However the projection is stored (one matrix, three, or one used as all three; keys and values of cross-attention
apart), a head has its own W_Q, W_K, W_V and W_O. In terms of these (Elhage et al. 2021, *A Mathematical Framework for
Transformer Circuits*) a head does two things that do not depend on each other: W_Q W_Kᵀ, the *QK circuit*, says where
it attends, and W_V W_O, the *OV circuit*, says what it writes for what it finds there.

Shapes: H heads, G key-value heads (the G-th serves H/G heads in a row), T queries, S keys, d_head per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import ConfigError
from glassformer.inspection.attention import attention_layers, attention_name, attention_title
from glassformer.inspection.residual_points import kept, labels
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cross_attention import CrossAttention

# --- the weights of a head --------------------------------------------------------------------------------------------


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


# --- a head step by step ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeadSteps:
    """What one head computes, from its queries to what it hands to the output projection.

    Attributes:
        query: [T, d_head]; key, value: [S, d_head]; queries and keys after their norm and rotation, if there are any.
        scores: Q Kᵀ, [T, S].
        scaled: the scores times the scale, 1/√d_head as a rule.
        masked: the same plus the mask and any bias of the distance: −∞ where a key is hidden.
        weights: softmax of that over the keys.
        output: weights @ value, [T, d_head].
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scores: Tensor
    scaled: Tensor
    masked: Tensor
    weights: Tensor
    output: Tensor


def head_steps(
    trace: Trace, layer: int, head: int, *, side: Side | None = None, cross: bool = False, row: int = 0
) -> HeadSteps:
    """The steps of one head in a traced pass.

    Raises:
        ConfigError: there is no such layer or head, or the trace does not hold what it takes.
    """
    name, _ = attention_name(trace, side, cross=cross)
    attention, known = _attentions(trace, side, cross=cross), attention_layers(trace, side, cross=cross)
    complaints = []
    if layer not in known:
        complaints.append(f"There is no attention in a layer {layer}; there is in {', '.join(map(str, known))}.")
    n_heads = attention[0].n_heads
    if not 0 <= head < n_heads:
        complaints.append(f"There is no head {head}; the {n_heads} heads are 0 to {n_heads - 1}.")
    if complaints:
        raise ConfigError(complaints, subject="inspection")
    part = attention[known.index(layer)]

    def step(what: str, index: int) -> Tensor:
        return kept(trace, f"{name.format(layer)}.{what}")[row, index]

    serving = head // (part.n_heads // part.n_kv_heads)
    scores = step("scores", head)
    return HeadSteps(
        step("query", head),
        step("key", serving),
        step("value", serving),
        scores,
        scores * part.scale,
        step("masked_scores", head),
        step("weights", head),
        step("heads", head),
    )


# --- all heads, for the figure ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class QueriesKeysValues(Drawable):
    """What the scores of every head are made of: enough to go through a head's steps by hand.

    Attributes:
        query: [L, H, T, d_head]; key, value: [L, G, S, d_head], float32.
        mask: [1 or H, T, S], added to the scaled scores: −∞ where a key is hidden, and any bias of the distance.
        scale: what the scores are multiplied by.
        queries, keys, layers, title: as in :class:`~glassformer.inspection.attention.AttentionPatterns`.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor
    scale: float
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    layers: tuple[str, ...]
    title: str = "Attention"

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The steps of the last checkpoint; those of every one would be too large."""
        from glassformer.charts.attention_steps import AttentionSteps

        last = results[-1]
        description = (
            "Q Kᵀ, then the same scaled, then with the mask, then the softmax of each row: choose a cell to see the "
            "query and the key behind it."
        )
        if len(results) > 1:
            description += " The numbers are those of the last checkpoint, whatever the slider says."
        return [
            AttentionSteps(
                last.query.numpy(),
                last.key.numpy(),
                last.value.numpy(),
                mask=last.mask.numpy(),
                scale=last.scale,
                title=f"{last.title}: queries, keys and values",
                queries=last.queries,
                keys=last.keys,
                layers=last.layers,
                follows=last.title,
                description=description,
            )
        ]


def queries_keys_values(
    trace: Trace,
    *,
    side: Side | None = None,
    cross: bool = False,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
    layers: Sequence[int] | None = None,
) -> QueriesKeysValues:
    """Queries, keys, values and mask of every head in a traced pass, pads included.

    Args:
        trace: with ``query``, ``key``, ``value``, ``scores`` and ``masked_scores`` of the layers kept.
        side, cross, tokens, source, row, layers: as in :func:`~glassformer.inspection.attention.attention_patterns`.

    Raises:
        ConfigError: there is no such stack or layer, no attention in it, or the trace does not hold what it takes.
        DataError: there is no such row, or another number of texts than of tokens.
    """
    name, stacks = attention_name(trace, side, cross=cross)
    layers = attention_layers(trace, side, cross=cross, wanted=layers)
    queries, keys = (labels(trace, tokens, source, side=stack.side, row=row) for stack in stacks)
    scale = _attentions(trace, side, cross=cross)[0].scale

    def stacked(what: str) -> Tensor:
        return torch.stack([kept(trace, f"{name.format(layer)}.{what}")[row].float().cpu() for layer in layers])

    first = name.format(layers[0])  # all layers of a stack share one mask
    scaled = kept(trace, f"{first}.scores")[row].float().cpu() * scale
    mask = kept(trace, f"{first}.masked_scores")[row].float().cpu() - scaled  # [H, T, S]
    return QueriesKeysValues(
        stacked("query"),
        stacked("key"),
        stacked("value"),
        mask[:1] if torch.equal(mask, mask[:1].expand_as(mask)) else mask,
        scale,
        queries,
        keys,
        tuple(f"layer {layer}" for layer in layers),
        attention_title(trace, side, cross=cross),
    )


def _attentions(trace: Trace, side: Side | None, *, cross: bool) -> list[MultiHeadAttention]:
    """The attention parts of the layers that have one.

    Raises:
        ConfigError: one of them is of the user's own making.
    """
    name, _ = attention_name(trace, side, cross=cross)
    parts = [trace.model.get_submodule(name.format(layer)) for layer in attention_layers(trace, side, cross=cross)]
    found = [part for part in parts if isinstance(part, MultiHeadAttention)]
    if len(found) < len(parts):
        strange = next(part for part in parts if not isinstance(part, MultiHeadAttention))
        raise ConfigError(
            f"{type(strange).__qualname__} is not a MultiHeadAttention, so its steps are not known.",
            subject="inspection",
        )
    return found

"""What one head computes step by step, and the queries, keys and values of all heads.

Shapes: H heads, G key-value heads (the G-th serves H/G heads in a row), T queries, S keys, d_head per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import ConfigError
from glassformer.inspection.attention import attention_layers, attention_name, attention_title
from glassformer.inspection.residual_points import kept, labels
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.attention import MultiHeadAttention


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
        complaints.append(f"layer {layer} has no attention; those that have are {', '.join(map(str, known))}.")
    n_heads = attention[0].n_heads
    if not 0 <= head < n_heads:
        complaints.append(f"head {head} does not exist; the {n_heads} heads are 0 to {n_heads - 1}.")
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

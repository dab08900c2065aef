"""The sum behind direct logit attribution, term by term: what each component adds along a direction of the stream.

It is computed backwards. The direction in the stream that the head reads is pulled through every norm and skip down to
the embedding, and each component is multiplied by the direction where it joins. So nothing of the size components ×
tokens × d_model is made, and nothing over the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from glassformer.errors import ConfigError
from glassformer.inspection.frozen_norms import FrozenNorm, freeze
from glassformer.inspection.residual_points import FINAL_NORM, Sublayer, kept, sublayers
from glassformer.models.trace import Trace
from glassformer.parts.attention import MultiHeadAttention


@dataclass(frozen=True)
class Component:
    """A part of the model that adds to the stream, or to the logits.

    Attributes:
        name: "token embedding", "3 attention head 1", "3 feed-forward", "final norm bias", ...
        group: what it belongs to, for a coarser figure: "3 attention" for all heads of that sublayer and its biases.
    """

    name: str
    group: str


def contributions(
    trace: Trace, directions: Tensor, offset: Tensor | None = None, *, row: int = 0
) -> Iterator[tuple[Component, Tensor]]:
    """What each component adds to ``directions · stream + offset``, the last one first.

    Args:
        directions: [K, T, d_model], what the head's input is multiplied by at each position.
        offset: [K, T], what is added there (the head's bias); None for nothing.

    Yields:
        a component and what it adds, [K, T], in the model's precision.

    Raises:
        ConfigError: a norm whose linear map is not known; a trace without the activations that are needed.
    """
    if trace.model.config.head.transform:
        raise ConfigError(
            "head.transform has an activation between the final norm and the head, so the logits are not a sum of what "
            "the components add; attribute a model without it.",
            subject="inspection",
        )
    spec = trace.model.family.stack()
    prefix, stack = spec.prefix, spec.module(trace.model)
    below = sublayers(trace)
    if offset is not None and trace.model.head.bias is not None:
        yield Component("output bias", "output bias"), offset
    stream = kept(trace, below[-1].after.probe if below else f"{prefix}embedding.output")[row]
    norm = freeze(stack.final_norm, stream, name="the final norm")
    if f"{prefix}final" in trace:
        yield from _changed(FINAL_NORM, FINAL_NORM, trace[f"{prefix}final"][row], norm(stream), directions)
    yield from _bias(norm, FINAL_NORM, FINAL_NORM, directions)
    directions = norm.pull_back(directions)
    for sublayer in reversed(below):
        before, added = kept(trace, sublayer.before.probe)[row], sublayer.output(trace)[row]
        whole = before + added if sublayer.skip else added
        norm = FrozenNorm()
        if sublayer.placement == "post":
            norm = freeze(sublayer.norm, whole, name=f"of {sublayer.name}")
        after = kept(trace, sublayer.after.probe)[row]
        yield from _changed(sublayer.name, sublayer.name, after, norm(whole), directions)
        yield from _bias(norm, f"{sublayer.name} norm", sublayer.name, directions)
        directions = norm.pull_back(directions)
        yield from _sublayer(trace, sublayer, added, directions, row)
        if not sublayer.skip:
            directions = torch.zeros_like(directions)
    yield from _embedding(trace, directions, row)


def _sublayer(
    trace: Trace, sublayer: Sublayer, added: Tensor, directions: Tensor, row: int
) -> Iterator[tuple[Component, Tensor]]:
    """Heads and bias of an attention; any other sublayer whole."""
    attention, name = sublayer.module, f"{sublayer.probe}heads"
    heads = trace[name][row] if isinstance(attention, MultiHeadAttention) and name in trace else None  # [H, T, d_head]
    if heads is None or not _is_sum_of_heads(attention, heads, added):
        yield Component(sublayer.name, sublayer.name), _product(directions, added)
        return
    assert isinstance(attention, MultiHeadAttention)
    bias: Tensor | None = attention.w_o.bias
    if bias is not None:
        yield Component(f"{sublayer.name} bias", sublayer.name), directions @ bias.detach()
    # W^O of a head, [d_model, d_head], pulls the direction back to the head's output
    at_heads = (directions @ attention.w_o.weight.detach()).view(*directions.shape[:-1], *heads.shape[::2])
    values = torch.einsum("kthd,htd->hkt", at_heads, heads)
    for head in reversed(range(len(heads))):
        yield Component(f"{sublayer.name} head {head}", sublayer.name), values[head]


def _is_sum_of_heads(attention: nn.Module, heads: Tensor, output: Tensor) -> bool:
    """Whether heads and bias are all of the output: an intervention on it, or an attention of one's own, says no."""
    assert isinstance(attention, MultiHeadAttention)
    return _same(attention.w_o(heads.transpose(0, 1).flatten(1)).detach(), output)


def _embedding(trace: Trace, directions: Tensor, row: int) -> Iterator[tuple[Component, Tensor]]:
    """Position vectors, and token vectors as the model scales them."""
    spec = trace.model.family.stack()
    prefix, stack = spec.prefix, spec.module(trace.model)
    parts = []
    if stack.embedding.positions.embed(torch.zeros(1, dtype=torch.long, device=directions.device)) is not None:
        vectors = kept(trace, f"{prefix}embedding.position_vectors")  # the same for all sequences, or [B, T, d_model]
        parts.append(("position embedding", vectors if vectors.dim() == 2 else vectors[row]))
    if stack.embedding.tokens is not None:
        parts.append(("token embedding", kept(trace, f"{prefix}embedding.token_vectors")[row]))
    if stack.embedding.types is not None:
        parts.append(("segment embedding", stack.embedding.types.weight[0].detach().expand_as(parts[-1][1])))
    summed = torch.stack([vectors for _, vectors in parts]).sum(0)
    norm = FrozenNorm()
    if stack.embedding.norm is not None:
        norm = freeze(stack.embedding.norm, summed, name="of the embedding")
    embedded = kept(trace, f"{prefix}embedding.output")[row]
    yield from _changed("embedding", "embedding", embedded, norm(summed), directions)
    yield from _bias(norm, "embedding norm", "embedding norm", directions)
    directions = norm.pull_back(directions)
    for name, vectors in parts:
        yield Component(name, name), _product(directions, vectors)


def _bias(norm: FrozenNorm, name: str, group: str, directions: Tensor) -> Iterator[tuple[Component, Tensor]]:
    if norm.bias is not None:
        yield Component(f"{name} bias", group), directions @ norm.bias


def _changed(
    name: str, group: str, found: Tensor, expected: Tensor, directions: Tensor
) -> Iterator[tuple[Component, Tensor]]:
    """What an intervention put into the stream at a point, as a component of its own."""
    if not _same(found, expected):
        yield Component(f"{name} intervention", group), _product(directions, found - expected)


def _same(found: Tensor, expected: Tensor) -> bool:
    tolerance, most = 1e3 * torch.finfo(found.dtype).eps, float(expected.abs().max())
    return math.isfinite(most) and torch.allclose(found, expected, rtol=tolerance, atol=tolerance * most)


def _product(directions: Tensor, vectors: Tensor) -> Tensor:
    """[K, T, d_model] and [T, d_model] → [K, T]."""
    return (directions * vectors).sum(-1)

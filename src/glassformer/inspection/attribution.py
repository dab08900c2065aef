"""Direct logit attribution: how much each part of the model adds to the logit of a token, along the direct path.

The stream that the head reads is a sum: what the embedding put there, plus what every head and every feed-forward layer
added. Each norm on the way is linear once its statistics are frozen (:mod:`~glassformer.inspection.frozen_norms`), so
the logit is a sum as well, one term a component, exactly (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"; Nanda & Bloom 2022 name it direct logit attribution). *Direct*: what a head passes to a later layer counts as
that layer's. The components are

    the token and the position embedding; each head (before W^O is added up) and the bias of W^O; the same of
    cross-attention; each feed-forward layer; the bias of each norm on the path; the head's bias.

Without a skip, x = sublayer(x): nothing from before goes round the sublayer, and the components before it add 0.

It is computed backwards. The direction in the stream that the head reads is pulled through every norm and skip down to
the embedding, and each component is multiplied by the direction where it joins. So nothing of the size components ×
tokens × d_model is made, and nothing over the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor, nn

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import DataError
from glassformer.inspection.frozen_norms import FrozenNorm, freeze
from glassformer.inspection.residual_points import FINAL_NORM, Sublayer, kept, labels, sublayers, token_ids
from glassformer.models.trace import Trace
from glassformer.parts.attention import MultiHeadAttention

if TYPE_CHECKING:
    from glassformer.models.transformer import Transformer

Choice = int | Sequence[int] | Tensor
"""A token for all positions, or one for each."""


@dataclass(frozen=True)
class Component:
    """A part of the model that adds to the stream, or to the logits.

    Attributes:
        name: "token embedding", "3 attention head 1", "3 feed-forward", "final norm bias", ...
        group: what it belongs to, for a coarser figure: "3 attention" for all heads of that sublayer and its biases.
    """

    name: str
    group: str


@dataclass(frozen=True)
class LogitAttribution(Drawable):
    """What each component adds to the logit of a token, at each position of one sequence.

    Attributes:
        components: C of them, in the order of the forward pass.
        values: [C, T]; they sum to ``totals``.
        totals: [T], the logits themselves (less those they are compared with).
        targets: int64 [T], the token whose logit it is.
        against: what it is compared with, in words; empty where it is the bare logit.
        tokens: T texts, the tokens that were read.
    """

    components: tuple[Component, ...]
    values: Tensor
    totals: Tensor
    targets: Tensor
    against: str
    tokens: tuple[str, ...]

    def by_group(self) -> tuple[tuple[str, ...], Tensor]:
        """The groups' names, and their sums [groups, T]: one for each embedding and sublayer, and the rest."""
        names = tuple(dict.fromkeys(component.group for component in self.components))
        place = torch.tensor([names.index(component.group) for component in self.components])
        return names, torch.zeros(len(names), self.values.shape[1]).index_add_(0, place, self.values)

    def strongest(self, position: int = -1, top: int = 10) -> list[tuple[str, float]]:
        """The components that add or take away most at a position: names and logits, the largest size first."""
        at = self.values[:, position]
        order = at.abs().argsort(descending=True, stable=True)[:top].tolist()
        return [(self.components[index].name, float(at[index])) for index in order]

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Two heat maps, component × token: sublayer by sublayer, and every head alone."""
        from glassformer.charts.heat_map import HeatMap

        first = results[0]
        groups = [result.by_group()[1] for result in results]
        less = f", less {first.against}" if first.against else ""

        def drawn(title: str, rows: Sequence[str], values: list[Tensor], described: str) -> Figure:
            return HeatMap(
                torch.stack(values).numpy(),
                title=title,
                rows=rows,
                columns=first.tokens,
                row_title="adds to the logit",
                column_title="token",
                value_title="logit",
                colours="diverging",
                description=described,
            )

        return [
            drawn(
                "Direct logit attribution by sublayer",
                first.by_group()[0],
                groups,
                f"How much each sublayer adds, by itself, to the logit of the token that comes next{less}; a column "
                "sums to it.",
            ),
            drawn(
                "Direct logit attribution by head",
                [component.name for component in first.components],
                [result.values for result in results],
                "The same for each head, feed-forward layer and bias alone.",
            ),
        ]


def logit_attribution(
    trace: Trace,
    *,
    targets: Choice | None = None,
    against: Literal["nothing", "mean"] | Choice = "mean",
    tokens: Sequence[str] | None = None,
    row: int = 0,
) -> LogitAttribution:
    """What each component adds to the logit of the right token, in the stack that the head reads.

    Args:
        targets: the token at each position, [T] (or one for all); unless given the next token of the sequence. Where
            none is known (−1, and the last position) it is the model's best guess.
        against: "mean": less the mean logit over the vocabulary, since adding the same to every logit changes no
            probability; "nothing": the bare logit; token ids (as ``targets``): less the logit of those.
        tokens: a text for each token read.
        row: which sequence of the batch.

    Raises:
        ConfigError: a norm whose linear map is not known; a trace without the activations that are needed.
        DataError: token ids outside the vocabulary, or not one for each position; logits that are not finite.
    """
    ids = token_ids(trace, row=row)
    logits = trace.logits[row]
    if not bool(torch.isfinite(logits).all()):
        raise DataError(
            "The logits are not finite, so there is nothing to attribute; the model's weights have diverged or "
            "are damaged."
        )
    chosen = torch.cat((ids[1:], ids.new_full((1,), -1))) if targets is None else _choice(targets, trace, len(ids))
    chosen = torch.where(chosen < 0, logits.argmax(-1), chosen)
    directions, offset = _unembedding(trace.model, chosen)
    totals = logits.gather(1, chosen[:, None])[:, 0]
    words = ""
    if isinstance(against, str):
        assert against in ("nothing", "mean"), against
        if against == "mean":
            words = "the mean over the vocabulary"
            mean_direction, mean_offset = _mean_unembedding(trace.model)
            directions, offset = directions - mean_direction, offset - mean_offset
            totals = totals - logits.mean(-1)
    else:
        other = _choice(against, trace, len(ids))
        other = torch.where(other < 0, logits.argmax(-1), other)
        words = "that of another token"
        other_directions, other_offset = _unembedding(trace.model, other)
        directions, offset = directions - other_directions, offset - other_offset
        totals = totals - logits.gather(1, other[:, None])[:, 0]
    parts = list(contributions(trace, directions[None], offset[None], row=row))[::-1]
    return LogitAttribution(
        components=tuple(component for component, _ in parts),
        values=torch.stack([value[0] for _, value in parts]).float().cpu(),
        totals=totals.float().cpu(),
        targets=chosen.cpu(),
        against=words,
        tokens=labels(trace, tokens, row=row),
    )


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
        ConfigError: as :func:`logit_attribution`.
    """
    spec = trace.model.family.stack()
    prefix, stack = spec.prefix, spec.module(trace.model)
    below = sublayers(trace)
    if offset is not None and _head_bias(trace.model) is not None:
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
    summed = torch.stack([vectors for _, vectors in parts]).sum(0)
    embedded = kept(trace, f"{prefix}embedding.output")[row]
    yield from _changed("embedding", "embedding", embedded, summed, directions)
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


def _unembedding(model: Transformer, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The head's row and bias for each of the tokens [T]: [T, d_model] and [T]."""
    rows, bias = model.head.weight.detach()[chosen], _head_bias(model)
    return rows, rows.new_zeros(len(chosen)) if bias is None else bias[chosen]


def _mean_unembedding(model: Transformer) -> tuple[Tensor, Tensor]:
    """Their means over the vocabulary, without its padding: [d_model] and []."""
    size, bias = model.config.vocab_size, _head_bias(model)
    mean = model.head.weight.detach()[:size].mean(0)
    return mean, mean.new_zeros(()) if bias is None else bias[:size].mean()


def _head_bias(model: Transformer) -> Tensor | None:
    bias: Tensor | None = model.head.bias
    return None if bias is None else bias.detach()


def _choice(choice: Choice, trace: Trace, length: int) -> Tensor:
    ids = torch.as_tensor(choice, device=trace.logits.device)
    size = trace.logits.shape[-1]
    if ids.is_floating_point() or ids.dim() > 1 or (ids.dim() == 1 and len(ids) != length):
        raise DataError(f"Expected a token id for each of the {length} positions, or one for all; got {choice!r}.")
    if int(ids.min()) < -1 or int(ids.max()) >= size:
        raise DataError(f"Token ids are 0 to {size - 1}, or −1 for none; got {int(ids.min())} to {int(ids.max())}.")
    return ids.expand(length)

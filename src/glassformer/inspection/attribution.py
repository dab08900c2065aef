"""Direct logit attribution: how much each part of the model adds to the logit of a token, along the direct path.

The stream that the head reads is a sum: what the embedding put there, plus what every head and every feed-forward layer
added. Each norm on the way is linear once its statistics are frozen (:mod:`~glassformer.inspection.frozen_norms`), so
the logit is a sum as well, one term a component, exactly (Elhage et al. 2021, "A Mathematical Framework for Transformer
Circuits"; Nanda & Bloom 2022 name it direct logit attribution). *Direct*: what a head passes to a later layer counts as
that layer's. The components are

    the token and the position embedding; each head (before W^O is added up) and the bias of W^O; the same of
    cross-attention; each feed-forward layer; the bias of each norm on the path; the head's bias.

Without a skip, x = sublayer(x): nothing from before goes round the sublayer, and the components before it add 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import DataError
from glassformer.inspection.contributions import Component, contributions
from glassformer.inspection.residual_points import labels, token_ids
from glassformer.models.trace import Trace

if TYPE_CHECKING:
    from glassformer.models.transformer import Transformer

Choice = int | Sequence[int] | Tensor
"""A token for all positions, or one for each."""


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

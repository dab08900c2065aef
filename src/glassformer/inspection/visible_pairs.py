"""The pattern of attention as a picture: which keys each query may attend to, whatever the weights are.

Shapes: L layers, H heads (1 where they do not differ), T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.inspection.attention import attention_layers, attention_title
from glassformer.inspection.residual_points import labels, token_ids
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.attention import MultiHeadAttention


@dataclass(frozen=True)
class VisiblePairs(Drawable):
    """Who may attend to whom.

    Attributes:
        visible: bool [L, H, T, T], queries by keys.
        tokens: T texts.
        layers: L names.
        title: what kind of attention it is.
    """

    visible: Tensor
    tokens: tuple[str, ...]
    layers: tuple[str, ...]
    title: str

    @property
    def share(self) -> Tensor:
        """Of all pairs, those that are attended to, [L, H]."""
        return self.visible.float().mean((-2, -1))

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """A map for each layer, and for each head where heads differ."""
        from glassformer.charts.heat_map import HeatMap

        last = results[-1]
        values = torch.stack([result.visible for result in results]).float()  # [F, L, H, T, T]
        choices = {"layer": list(last.layers)}
        if values.shape[2] > 1:
            choices["head"] = [f"head {head}" for head in range(values.shape[2])]
        else:
            values = values[:, :, 0]
        return [
            HeatMap(
                values.numpy(),
                title=f"{last.title}: the pattern",
                rows=last.tokens,
                columns=last.tokens,
                choices=choices,
                row_title="query",
                column_title="key",
                value_title="1 where the query may attend to the key",
                domain=(0.0, 1.0),
                description="What the pattern allows, before any weight: 1 where a query may attend to a key.",
            )
        ]


def visible_pairs(
    trace: Trace,
    *,
    side: Side | None = None,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
    layers: Sequence[int] | None = None,
) -> VisiblePairs:
    """Of the self-attention of one stack, for a traced text; pads are left out.

    Arguments and errors are as of :func:`glassformer.inspection.attention.attention_patterns`.
    """
    chosen = attention_layers(trace, side, cross=False, wanted=layers)
    spec = trace.model.family.stack(side)
    stack = spec.module(trace.model)
    ids = token_ids(trace, spec.side, row)[None]
    padding = trace.padding_of(spec)
    context = stack.context(ids, None if padding is None else padding[row : row + 1])
    real = torch.ones_like(ids[0], dtype=torch.bool) if padding is None else ~padding[row]
    tables = []
    for layer in chosen:
        attention = cast("MultiHeadAttention", stack.blocks[layer].attention)
        mask = context.mask(attention.own_pattern())
        table = torch.ones_like(ids[0][:, None] * ids[0], dtype=torch.bool) if mask is None else mask > float("-inf")
        tables.append(table.expand(1, table.shape[1] if table.dim() == 4 else 1, *table.shape[-2:])[0])
    n_heads = max(len(table) for table in tables)
    visible = torch.stack([table.expand(n_heads, -1, -1) for table in tables])[..., real, :][..., real].cpu()
    texts = labels(trace, tokens, source, side=spec.side, row=row)
    return VisiblePairs(
        visible,
        tuple(text for text, is_real in zip(texts, real.tolist(), strict=True) if is_real),
        tuple(f"layer {layer}" for layer in chosen),
        attention_title(trace, side, cross=False),
    )

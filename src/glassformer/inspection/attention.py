"""Attention weights of a traced text, and what each head does with them.

trace = model.trace(tokens)
found = attention_patterns(trace, tokens=texts)
found.measures["induction score"]  # [layer, head]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.errors import ConfigError
from glassformer.inspection.attention_scores import cross_attention_measures, divergence, self_attention_measures
from glassformer.inspection.residual_points import kept, labels, token_ids
from glassformer.models.family import Family, Side, StackSpec
from glassformer.models.trace import Trace

WITH_UNITS = ("entropy (nats)", "mean distance (tokens)")
"""The measures that are not shares: each has a figure, and a scale, of its own."""


@dataclass(frozen=True)
class AttentionPatterns(Drawable):
    """The weights of every head on one text, and their measures.

    Attributes:
        weights: [L, H, T, S] float32; every row adds up to 1, and what is masked has exactly 0.
        measures: by name, [L, H] each: those of :mod:`~glassformer.inspection.attention_scores`.
        queries, keys: T and S texts.
        layers: L names, "layer 0" the lowest block.
        title: what kind of attention it is.
    """

    weights: Tensor
    measures: Mapping[str, Tensor]
    queries: tuple[str, ...]
    keys: tuple[str, ...]
    layers: tuple[str, ...]
    title: str = "Attention"

    @cached_property
    def divergence(self) -> Tensor:
        """How much two heads differ: Jensen–Shannon divergence in nats, [L·H, L·H], layer by layer."""
        return divergence(self.weights)

    @property
    def heads(self) -> tuple[str, ...]:
        """H names."""
        return tuple(f"head {head}" for head in range(self.weights.shape[1]))

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The maps, the measures of each head, and how much heads differ."""
        return [cls.maps_of(results), *cls.measures_of(results), *cls.divergence_of(results)]

    @classmethod
    def maps_of(cls, results: Sequence[Self]) -> Figure:
        """Every head's weights."""
        from glassformer.charts.attention_maps import AttentionMaps

        last = results[-1]
        return AttentionMaps(
            _stacked([result.weights for result in results]),
            title=last.title,
            queries=last.queries,
            keys=last.keys,
            layers=last.layers,
            measures={name: _stacked([result.measures[name] for result in results]) for name in last.measures},
            description="A row is a query, a column a key; a cell is the weight that the query gives to the key.",
        )

    @classmethod
    def measures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Each measure by layer and head; shares are in one figure with one scale."""
        from glassformer.charts.heat_map import HeatMap

        last = results[-1]
        measures = {name: _stacked([result.measures[name] for result in results]) for name in last.measures}
        shares = {name: values for name, values in measures.items() if name not in WITH_UNITS}
        grid: dict[str, Any] = {
            "rows": last.layers,
            "columns": last.heads,
            "row_title": "layer",
            "column_title": "head",
        }
        figures: list[Figure] = []
        if shares:
            figures.append(
                HeatMap(
                    np.stack(list(shares.values()), axis=1),  # [F, measures, L, H]
                    title=f"{last.title}: measures of each head",
                    choices={"measure": list(shares)},
                    value_title="from 0 to 1",
                    domain=(0.0, 1.0),
                    description="Means over the queries for which a measure is defined; empty where there is none.",
                    **grid,
                )
            )
        figures += [
            HeatMap(
                measures[name],
                title=f"{last.title}: {name.partition(' (')[0]} of each head",
                value_title=name,
                domain=(0.0, float(np.nanmax(measures[name], initial=0.0)) or 1.0),  # small differences look small
                description="The mean over queries.",
                **grid,
            )
            for name in WITH_UNITS
            if name in measures
        ]
        return figures

    @classmethod
    def divergence_of(cls, results: Sequence[Self]) -> list[Figure]:
        """Every head against every other; nothing for a single head."""
        from glassformer.charts.heat_map import HeatMap

        last = results[-1]
        each = [f"{layer}, {head}" for layer in last.layers for head in last.heads]
        if len(each) < 2:
            return []
        return [
            HeatMap(
                _stacked([result.divergence for result in results]),
                title=f"{last.title}: divergence between heads",
                rows=each,
                columns=each,
                value_title="Jensen–Shannon divergence (nats)",
                scale="sqrt",  # so that small differences show
                domain=(0.0, math.log(2)),
                description="0 where two heads attend alike, ln 2 = 0.693 where they never attend to the same token.",
            )
        ]


def attention_patterns(
    trace: Trace,
    *,
    side: Side | None = None,
    cross: bool = False,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
    layers: Sequence[int] | None = None,
) -> AttentionPatterns:
    """The attention of one stack in a traced pass. Pads are left out: as keys, and in self-attention as queries.

    Args:
        trace: with ``*.weights`` kept; where the ``masked_scores`` of a layer are kept too, they say which keys a
            query sees, and otherwise its weights do.
        side: whose self-attention; of the stack that the head reads unless given.
        cross: the decoder's attention to the encoder instead of to itself.
        tokens: a text for each token that this stack reads, pads included; their ids without it.
        source: the same for the encoder of an encoder-decoder.
        row: which sequence of the batch.
        layers: which blocks, from 0; all that have attention unless given.

    Raises:
        ConfigError: there is no such stack or layer, no attention in it, or the trace does not hold the weights.
        DataError: there is no such row, or another number of texts than of tokens.
    """
    name, stacks = attention_name(trace, side, cross=cross)
    layers = attention_layers(trace, side, cross=cross, wanted=layers)
    queries, keys = (labels(trace, tokens, source, side=stack.side, row=row) for stack in stacks)

    weights = torch.stack([kept(trace, f"{name.format(layer)}.weights")[row].float().cpu() for layer in layers])
    visible = None
    if f"{name.format(layers[0])}.masked_scores" in trace:
        visible = (trace[f"{name.format(layers[0])}.masked_scores"][row] > -math.inf).any(0).cpu()
    ids = token_ids(trace, stacks[1].side, row).cpu()

    padding = trace.padding_of(stacks[1])
    real = None if padding is None else ~padding[row].cpu()  # [S]
    if real is not None:
        across = slice(None) if cross else real
        weights, keys, ids = weights[..., across, :][..., real], _chosen(keys, real), ids[real]
        queries = queries if cross else _chosen(queries, real)
        visible = None if visible is None else visible[across][:, real]
    return AttentionPatterns(
        weights,
        cross_attention_measures(weights, visible) if cross else self_attention_measures(weights, ids, visible),
        queries,
        keys,
        tuple(f"layer {layer}" for layer in layers),
        attention_title(trace, side, cross=cross),
    )


def all_attention_patterns(
    trace: Trace, *, tokens: Sequence[str] | None = None, source: Sequence[str] | None = None, row: int = 0
) -> list[AttentionPatterns]:
    """Every kind that the model has: one for a single stack; encoder, decoder and cross for an encoder-decoder.

    The arguments and errors are those of :func:`attention_patterns`.
    """
    return [
        attention_patterns(trace, side=side, cross=cross, tokens=tokens, source=source, row=row)
        for side, cross in kinds_of_attention(trace.model.family)
    ]


def kinds_of_attention(family: Family) -> list[tuple[Side, bool]]:
    """Side and ``cross`` of every kind that the models of a family have."""
    return [(stack.side, False) for stack in family.stacks] + [
        (stack.side, True) for stack in family.stacks if stack.cross
    ]


def attention_name(trace: Trace, side: Side | None, *, cross: bool) -> tuple[str, tuple[StackSpec, StackSpec]]:
    """How the names of a kind of attention begin, ``{}`` for the layer; and the stacks its queries and keys are of.

    Raises:
        ConfigError: there is no such stack, or ``cross`` of a stack without cross-attention.
    """
    stack = trace.model.family.stack(side)
    if not cross:
        return stack.prefix + "blocks.{}.attention", (stack, stack)
    if not stack.cross:
        raise ConfigError(
            f"The {stack.side} of {trace.model.family.words} has no cross-attention; leave cross out.",
            subject="inspection",
        )
    return stack.prefix + "blocks.{}.cross_attention", (stack, trace.model.family.stacks[0])


def attention_layers(trace: Trace, side: Side | None, *, cross: bool, wanted: Sequence[int] | None = None) -> list[int]:
    """The indices of the blocks that have this kind of attention, or of those of them that are wanted.

    Raises:
        ConfigError: none has, or one that is wanted does not.
    """
    stack = trace.model.family.stack(side).module(trace.model)
    has = "has_cross_attention" if cross else "has_attention"
    layers = [index for index, block in enumerate(stack.blocks) if getattr(block, has)]
    if not layers:
        why = "sublayers=feedforward" if stack.n_layers else "n_layers=0"
        raise ConfigError(f"The model's blocks have no attention ({why}).", subject="inspection")
    if wanted is None:
        return layers
    if strange := [str(layer) for layer in wanted if layer not in layers]:
        raise ConfigError(
            f"There is no attention in layer {', '.join(strange)}; layers with attention: "
            f"{', '.join(map(str, layers))}.",
            subject="inspection",
        )
    return list(wanted)


def attention_title(trace: Trace, side: Side | None, *, cross: bool) -> str:
    """The title of its figures."""
    if cross:
        return "Cross-attention, from target to source"
    several = len(trace.model.family.stacks) > 1
    return f"Self-attention of the {trace.model.family.stack(side).side}" if several else "Self-attention"


def _chosen(texts: tuple[str, ...], real: Tensor) -> tuple[str, ...]:
    return tuple(text for text, is_real in zip(texts, real.tolist(), strict=True) if is_real)


def _stacked(tensors: Sequence[Tensor]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One frame each: [F, ...] float32."""
    return torch.stack(list(tensors)).float().numpy()

"""An offline page of attention weights from anywhere: bare arrays, of any model in any library.

outputs = model(ids, output_attentions=True)  # with attn_implementation="eager", where the library is transformers
attention_page(outputs.attentions, tokens).save("attention.html")
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glassformer.charts.page import Page, Section
from glassformer.errors import ConfigError
from glassformer.inspection.attention import AttentionPatterns
from glassformer.inspection.attention_scores import cross_attention_measures, self_attention_measures

NEAR_ONE = 1e-2
"""How far from 1 the sum of a row may be: half precision rounds by less."""

SHAPES = (
    "Give a list with one [heads, queries, keys] or [batch, heads, queries, keys] for each layer, or one array "
    "[layers, heads, queries, keys], [heads, queries, keys] or [queries, keys]."
)


def attention_page(
    weights: Any,
    tokens: Sequence[Hashable] | Tensor,
    *,
    keys: Sequence[Hashable] | Tensor | None = None,
    row: int | None = None,
    normalised: bool = True,
    title: str = "Attention",
) -> Page:
    """Maps of every head, its measures, and the divergence between heads, as one HTML file.

    Args:
        weights: after the softmax; tensors or arrays. A list or tuple has an entry for each layer, [H, T, S] or
            [B, H, T, S] (as ``outputs.attentions`` of transformers); a single array is [L, H, T, S], [H, T, S], [T, S],
            or [L, B, H, T, S].
        tokens: T texts or ids, of the queries. Equal ones count as the same token.
        keys: S texts or ids, where the keys are of another sequence: cross-attention.
        row: which sequence of the batch, where there are several.
        normalised: whether each row must sum to 1. Off, anything finite from 0 up is drawn (weights after dropout,
            say), and nothing is measured.
        title: of the page.

    Raises:
        ConfigError: weights of another shape or with values that no softmax gives, layers that differ in shape, tokens
            that are not as many as queries or keys; with all reasons.
    """
    layers = [_as_tensor(layer) for layer in _layers_of(weights)]
    queries, targets = _tokens(tokens), None if keys is None else _tokens(keys)
    stacked = _stacked(layers, row)
    complaints = [*_complaints_about_tokens(stacked, queries, targets), *_complaints_about_values(stacked, normalised)]
    if complaints:
        raise ConfigError(complaints, subject="attention page")

    cross = targets is not None
    measures: dict[str, Tensor] = {}
    if normalised:
        measures = cross_attention_measures(stacked) if cross else self_attention_measures(stacked, queries)
    patterns = AttentionPatterns(
        weights=stacked,
        measures=measures,
        queries=_texts(queries),
        keys=_texts(queries if targets is None else targets),
        layers=tuple(f"layer {layer}" for layer in range(len(stacked))),
        title="Cross-attention" if cross else "Attention",
    )
    return Page(title, list(_sections(patterns, normalised=normalised)), facts=_facts(stacked))


def _sections(patterns: AttentionPatterns, *, normalised: bool) -> Iterator[Section]:
    """Maps, measures, divergence; what cannot be measured says why."""
    yield Section(
        "Attention maps",
        "The weights of every head: each query, a row, distributes a weight of 1 over the keys. Look for diagonals (a "
        "fixed distance), columns (one token that every query attends to) and isolated strong cells (a token found by "
        "its content).",
        [patterns.maps_of([patterns])],
    )
    reason = "" if normalised else "The rows need not sum to 1 (normalised=False), so nothing is measured here."
    yield Section(
        "Measures of each head",
        "How widely and how far each head attends, and how well it fits a known pattern. Look for cells near 1: on "
        "this text, such a head does little else.",
        patterns.measures_of([patterns]),
        missing=reason,
    )
    differences = patterns.divergence_of([patterns]) if normalised else []
    yield Section(
        "Divergence between heads",
        "The divergence between the weights of any two heads, averaged over the queries. Look for squares near 0 "
        "along the diagonal: layers whose heads are redundant.",
        differences,
        missing=reason or ("" if differences else "There is only one head."),
    )


def _facts(stacked: Tensor) -> dict[str, str]:
    n_layers, n_heads, queries, keys = stacked.shape
    return {
        "layers": str(n_layers),
        "heads in each": str(n_heads),
        "queries": f"{queries:,}",
        "keys": f"{keys:,}",
    }


# --- from any input to [L, H, T, S] -------------------------------------------------------------------------------


def _layers_of(weights: Any) -> list[Any]:
    """One array a layer, [H, T, S] or [B, H, T, S]."""
    if isinstance(weights, list | tuple):
        if not weights or any(layer is None for layer in weights):
            raise ConfigError(
                "it holds no weights. In transformers, load the model with attn_implementation='eager' and call "
                "it with output_attentions=True: its other implementations never form them.",
                subject="attention page",
            )
        return list(weights)
    if weights is None:
        return _layers_of(())
    whole = _as_tensor(weights)
    if whole.dim() not in (2, 3, 4, 5) or 0 in whole.shape:
        raise ConfigError(f"the weights are {_shape(whole)}. {SHAPES}", subject="attention page")
    return list(whole if whole.dim() > 3 else whole.reshape(1, -1, *whole.shape[-2:]))


def _as_tensor(array: Any) -> Tensor:
    """On the CPU in float32, without history."""
    if isinstance(array, Tensor):
        return array.detach().cpu().float()
    try:
        return torch.from_numpy(np.array(array, dtype=np.float32))  # a copy: the input may be read-only
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"expected numbers, got a {type(array).__name__}. {SHAPES}", subject="attention page"
        ) from error


def _stacked(layers: Sequence[Tensor], row: int | None) -> Tensor:
    """[L, H, T, S] of one sequence.

    Raises:
        ConfigError: layers with other axes or of different shapes; a batch without a row, or without that row.
    """
    complaints = [
        f"layer {index} is {_shape(layer)}. {SHAPES}"
        for index, layer in enumerate(layers)
        if layer.dim() not in (3, 4) or 0 in layer.shape
    ]
    shapes = {tuple(layer.shape): index for index, layer in reversed(list(enumerate(layers)))}
    if not complaints and len(shapes) > 1:
        named = ", ".join(f"layer {index} is {list(shape)}" for shape, index in sorted(shapes.items(), key=_second))
        complaints.append(
            f"the layers differ in shape: {named}. A page draws layers of the same heads, queries and keys; make one "
            "for each shape."
        )
    if not complaints and layers[0].dim() == 4:
        batch = len(layers[0])
        if row is None and batch > 1:
            complaints.append(f"there are {batch} sequences in the batch; say which is meant: row=0 to {batch - 1}.")
        elif row is not None and not -batch <= row < batch:
            complaints.append(f"row is {row}, and the batch has {batch} sequences: row=0 to {batch - 1}.")
    elif not complaints and row is not None:
        complaints.append(f"row is {row}, and weights of {_shape(layers[0])} for a layer have no batch; leave it out.")
    if complaints:
        raise ConfigError(complaints, subject="attention page")
    return torch.stack([layer[row or 0] if layer.dim() == 4 else layer for layer in layers])


def _tokens(tokens: Sequence[Hashable] | Tensor) -> list[Hashable]:
    """Texts or ids, from a list, an array or a tensor; a batch of one is its only row."""
    values = tokens.tolist() if isinstance(tokens, Tensor | np.ndarray) else list(tokens)
    return list(values[0]) if len(values) == 1 and isinstance(values[0], list | tuple) else values


def _texts(tokens: Sequence[Hashable]) -> tuple[str, ...]:
    return tuple(map(str, tokens))


# --- complaints -------------------------------------------------------------------------------------------------------


def _complaints_about_tokens(
    stacked: Tensor, queries: Sequence[Hashable], keys: Sequence[Hashable] | None
) -> Iterator[str]:
    n_queries, n_keys = stacked.shape[-2:]
    if len(queries) != n_queries:
        yield (
            f"the weights have {n_queries} queries, got {len(queries)} tokens; give a token for each query, in "
            "the model's own tokens (a string counts as its characters)."
        )
    if keys is None and n_keys != n_queries:
        yield (
            f"the weights have {n_queries} queries and {n_keys} keys, so the keys are other tokens; give them as keys=."
        )
    elif keys is not None and len(keys) != n_keys:
        yield f"the weights have {n_keys} keys, got {len(keys)} in keys=; give one for each."


def _complaints_about_values(stacked: Tensor, normalised: bool) -> Iterator[str]:
    strange = ~torch.isfinite(stacked)
    if bool(strange.any()):
        yield (
            f"{int(strange.sum()):,} weights are not finite, the first in {_place(strange)}; these may be scores, "
            "before the softmax."
        )
        return
    if float(stacked.min()) < 0:
        found, place = float(stacked[stacked < 0][0]), _place(stacked < 0)
        yield f"a weight is {found:.4g}, in {place}; weights after the softmax are from 0 up."
        return
    sums = stacked.sum(-1)
    off = (sums - 1).abs() > NEAR_ONE
    if normalised and bool(off.any()):
        first = tuple(off.nonzero()[0].tolist())
        layer, head, query = first
        yield (
            f"{int(off.sum()):,} of {off.numel():,} rows do not sum to 1: query {query} of layer {layer}, head "
            f"{head} has {float(sums[first]):.4g}. Give the weights after the softmax and before dropout, or set "
            "normalised=False to draw them as they are."
        )


def _place(where: Tensor) -> str:
    layer, head, query, key = where.nonzero()[0].tolist()
    return f"layer {layer}, head {head}, query {query}, key {key}"


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} ({tensor.dim()} ax{'i' if tensor.dim() == 1 else 'e'}s)"


def _second(item: tuple[tuple[int, ...], int]) -> int:
    return item[1]

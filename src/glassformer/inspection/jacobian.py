"""The derivative of a block, as the singular values of its Jacobian: by how much it stretches its input.

With a skip, a block is x + f(x), and its derivative is 1 + f′(x). For numbers that is at least 1 where f′ is at least
0. For vectors it is the matrix I + J_f, and its singular values, the factors by which directions are stretched, may be
below 1 as well as above: "1 + f′(x), so at least 1" has to be measured, not assumed. What a skip does do is
to bring them near 1 where f′ is small, so that a product over many layers neither vanishes nor explodes (He et al.
2016, arXiv 1603.05027, eq. 5; Saxe et al. 2014, arXiv 1312.6120, on products of Jacobians).

The same block is measured twice, at the same input and with the same weights: as built, and with its skips taken away.
A LayerNorm at a block's end (post-norm) removes two directions, the mean and the length, so two singular values are
nearly 0. In float32, values below about a millionth of the largest are rounding.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from glassformer.charts.figures import Drawable, Figure
from glassformer.charts.theme import Theme
from glassformer.errors import ConfigError, DataError
from glassformer.inspection.panels import line_panels, point
from glassformer.inspection.residual_points import kept, labels, token_ids
from glassformer.models.family import Side, StackSpec
from glassformer.models.trace import Trace
from glassformer.parts.blocks import Block
from glassformer.parts.cache import LayerCache
from glassformer.parts.context import Context
from glassformer.parts.cross_attention import LayerMemory, Memory

if TYPE_CHECKING:
    import altair as alt

AS_BUILT, WITHOUT_SKIPS = "as built", "without its skips"
LARGEST = 4096  # rows of a Jacobian: 64 MB in float32, and some seconds for its singular values
LEAST_DRAWN = 1e-6  # a direction that is shortened more is lost, and would stretch the axis
CHUNK = 1 << 24  # floats of the widest activation that are differentiated at once


@dataclass(frozen=True)
class JacobianSpectrum(Drawable):
    """Singular values of the Jacobians of several blocks, the largest first.

    Attributes:
        layers: the blocks' indices, L of them.
        values: [L, n] for each arm: "as built", and "without its skips" where the blocks have skips. n is d_model, or
            T · d_model of the whole sequence.
        position: of the token; None of the whole sequence.
        token: its text; empty of the whole sequence.
        side: which stack.
    """

    layers: tuple[int, ...]
    values: dict[str, Tensor]
    position: int | None
    token: str
    side: Side

    def largest(self, arm: str = AS_BUILT) -> Tensor:
        """[L]."""
        return self.values[arm][:, 0]

    def smallest(self, arm: str = AS_BUILT) -> Tensor:
        """[L]."""
        return self.values[arm][:, -1]

    def condition(self, arm: str = AS_BUILT) -> Tensor:
        """The largest over the smallest, [L]; infinite where a direction is lost."""
        return self.largest(arm) / self.smallest(arm)

    def below_one(self, arm: str = AS_BUILT) -> Tensor:
        """How many are below 1, int64 [L]."""
        return (self.values[arm] < 1).sum(1)

    def table(self) -> str:
        """A line for each layer and arm."""
        n = next(iter(self.values.values())).shape[1]
        lines = [f"layer  {'block':<17}  {'smallest':>10}  {'largest':>10}  {'condition':>10}  below 1, of {n}"]
        for index, layer in enumerate(self.layers):
            for arm in self.values:
                small, large, condition = (
                    float(measure(arm)[index]) for measure in (self.smallest, self.largest, self.condition)
                )
                below = int(self.below_one(arm)[index])
                lines.append(f"{layer:>5}  {arm:<17}  {small:10.3g}  {large:10.3g}  {condition:10.3g}  {below}")
        return "\n".join(lines)

    @classmethod
    def figures_of(cls, results: Sequence[Self]) -> list[Figure]:
        """The sorted singular values of each layer, with a line at 1."""
        from glassformer.charts.drawing import Drawing

        first = results[0]
        where = "the whole sequence" if first.position is None else f"token {first.position}, {first.token!r}"
        return [
            Drawing(
                lambda theme: _lines(results, theme),
                title="Singular values of each block's Jacobian",
                n_frames=len(results),
                description=f"At {where}. Below the line at 1 a direction is made shorter, above it longer; values "
                "under a millionth are not drawn.",
            )
        ]


def jacobian_spectrum(
    trace: Trace,
    *,
    position: int | None = -1,
    layers: Sequence[int] | None = None,
    compare: bool = True,
    side: Side | None = None,
    tokens: Sequence[str] | None = None,
    source: Sequence[str] | None = None,
    row: int = 0,
) -> JacobianSpectrum:
    """Singular values of ∂(block output)/∂(block input), at the inputs of a trace.

    Args:
        position: a token: its output by its own input, the other tokens held fixed, [d_model, d_model]; None: all
            outputs by all inputs, [T d_model, T d_model], for short sequences.
        layers: which blocks; all unless given.
        compare: whether to measure the blocks without their skips too.
        side: which stack; the one that the head reads unless given.
        tokens, source: a text for each token.
        row: which sequence of the batch.

    Raises:
        ConfigError: layers or a position that do not exist; a trace without the blocks' inputs; a sequence that
            is too long.
        DataError: another number of texts than of tokens; a row that does not exist; a Jacobian that is not finite.
    """
    spec = trace.model.family.stack(side)
    stack = spec.module(trace.model)
    names = labels(trace, tokens, source, side=side, row=row)
    chosen = tuple(range(stack.n_layers)) if layers is None else tuple(layers)
    width = stack.config.d_model
    complaints = []
    if not chosen:
        complaints.append("no layer to measure.")
    if strange := [layer for layer in chosen if not 0 <= layer < stack.n_layers]:
        complaints.append(f"layer {strange[0]} does not exist; the layers are 0 to {stack.n_layers - 1}.")
    if position is not None and not -len(names) <= position < len(names):
        complaints.append(f"position {position} does not exist; the trace has {len(names)} tokens, counted from 0.")
    if position is None and len(names) * width > LARGEST:
        complaints.append(
            f"the Jacobian of the whole sequence has {len(names)} × {width} = {len(names) * width:,} rows, more than "
            f"{LARGEST:,}; give a shorter text, or a position."
        )
    if complaints:
        raise ConfigError(complaints, subject="Jacobian")
    position = position if position is None else range(len(names))[position]
    context, memory = _block_inputs(trace, spec, row)
    values: dict[str, list[Tensor]] = {}
    for layer in chosen:
        block = stack.blocks[layer]
        assert isinstance(block, Block)
        x = kept(trace, f"{spec.prefix}blocks.{layer}.input")[row]
        arms = {AS_BUILT: block}
        if compare and (block.attention_skip or block.feedforward_skip):
            arms[WITHOUT_SKIPS] = without_skips(block)
        for arm, measured in arms.items():
            attended = None if memory is None else memory.layer(layer)
            jacobian = block_jacobian(measured, x, context, attended, position=position)
            if not bool(torch.isfinite(jacobian).all()):
                raise DataError(
                    f"The Jacobian of block {layer} ({arm}) is not finite, so it has no singular values: the model's "
                    "weights have diverged or are damaged, or too large for their precision."
                )
            values.setdefault(arm, []).append(torch.linalg.svdvals(jacobian).float().cpu())
    return JacobianSpectrum(
        layers=chosen,
        values={arm: torch.stack(found) for arm, found in values.items()},
        position=position,
        token="" if position is None else names[position],
        side=spec.side,
    )


def block_jacobian(
    block: Block, x: Tensor, context: Context, memory: LayerMemory | None = None, *, position: int | None = None
) -> Tensor:
    """The Jacobian of a block in evaluation. The block itself is left as it is.

    Args:
        x: the block's input, [T, d_model].
        context, memory: what else it is given, of one sequence.
        position: of a token, or None for the whole sequence.

    Returns:
        [d_model, d_model], or [T d_model, T d_model] for the whole sequence: row by output, column by input.
    """
    own = copy.deepcopy(block).eval().requires_grad_(requires_grad=False)
    for module in own.modules():
        if hasattr(module, "path"):
            module.path = "explicit"  # type: ignore[assignment] # it can be differentiated for many outputs at once
    f, at = (_of_sequence if position is None else partial(_of_token, position=position))(own, x, context, memory)
    rows = max((parameter.shape[0] for parameter in block.parameters() if parameter.dim()), default=1)  # not a scalar
    widest = at.numel() // x.shape[1] * rows
    jacobian: Tensor = torch.func.jacrev(f, chunk_size=max(1, CHUNK // widest))(at)
    return jacobian.detach()


Function = tuple[Callable[[Tensor], Tensor], Tensor]
"""What is differentiated, and where."""


def _of_sequence(block: Block, x: Tensor, context: Context, memory: LayerMemory | None) -> Function:
    return lambda flat: block(flat.view_as(x)[None], context, None, memory)[0].flatten(), x.flatten()


def _of_token(block: Block, x: Tensor, context: Context, memory: LayerMemory | None, *, position: int) -> Function:
    """The block at one token alone: of the others only keys and values count, and they are computed once."""
    index = torch.arange(len(x), device=x.device)
    whole = replace(context, slots=index, visible=len(x))
    others = _OtherTokens(position)
    with torch.no_grad():
        block(x[None], whole, others, memory)
    alone = replace(
        whole,
        positions=context.positions[..., position : position + 1],
        bias=None if context.bias is None else context.bias[..., position : position + 1, :],
        queries=index[position : position + 1],
        keys=index,
        key_positions=context.places,
        slots=index[position : position + 1],
        whole=False,
    )
    return lambda vector: block(vector[None, None], alone, others, memory)[0, 0], x[position]


class _OtherTokens(LayerCache):
    """Keys and values of a whole sequence, kept when they are first written; then one token's stand in their midst."""

    def __init__(self, position: int) -> None:
        super().__init__(torch.empty(0), torch.empty(0))
        self.position = position

    def write(self, key: Tensor, value: Tensor, slots: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        if key.shape[2] == visible and not self.keys.numel():
            self.keys, self.values = key, value
            return key, value
        return self._among(self.keys, key), self._among(self.values, value)

    def _among(self, every: Tensor, one: Tensor) -> Tensor:
        return torch.cat((every[:, :, : self.position], one, every[:, :, self.position + 1 :]), dim=2)


def without_skips(block: Block) -> Block:
    """The same block, its weights shared, without skip connections."""
    bare = copy.copy(block)
    bare.attention_skip = bare.feedforward_skip = False
    return bare


def _block_inputs(trace: Trace, stack: StackSpec, row: int) -> tuple[Context, Memory | None]:
    """What the blocks of a stack are given besides their input, of one sequence."""
    ids, pads = token_ids(trace, stack.side, row)[None], trace.padding_of(stack)
    context = stack.module(trace.model).context(ids, None if pads is None else pads[row : row + 1])
    if not stack.cross:
        return context, None
    encoder = trace.model.family.stacks[0]
    hidden, pads = kept(trace, f"{encoder.prefix}final")[row : row + 1], trace.padding_of(encoder)
    return context, Memory.of(hidden, None if pads is None else pads[row : row + 1])


def _lines(results: Sequence[JacobianSpectrum], theme: Theme) -> alt.TopLevelMixin:
    """A panel for each arm, the singular values in order across, a line for each layer."""
    first = results[0]
    kept_values = 100  # points of a line: more cannot be seen
    n = next(iter(first.values.values())).shape[1]
    order = sorted({round(index * (n - 1) / (kept_values - 1)) for index in range(kept_values)})
    rows = [
        point(frame, arm, f"layer {layer}", index + 1, values[index])
        for frame, result in enumerate(results)
        for arm, spectra in result.values.items()
        for layer, values in zip(result.layers, spectra, strict=True)
        for index in order
        if float(values[index]) > LEAST_DRAWN
    ]
    return line_panels(
        rows,
        theme,
        panels=list(first.values),
        series=[f"layer {layer}" for layer in first.layers],
        ordered=True,
        x_title="singular value, largest first",
        log=True,
        mark=1.0,
        n_frames=len(results),
        size=(320, 220),
    )

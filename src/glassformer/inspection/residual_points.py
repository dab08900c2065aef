"""Where the residual stream can be read: the vector that goes from the embedding through every sublayer to the head.

A *residual point* is a place where the stream has a value, [B, T, d_model]: after the embedding, after each sublayer
(with its skip and, in a post-norm model, its norm), and after the final norm. The points are the same for pre-, post-
and no-norm models, with or without skips; a sublayer that a model lacks has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from glassformer.errors import ConfigError, DataError
from glassformer.models.family import Side
from glassformer.models.trace import Trace
from glassformer.parts.blocks import Block, Placement

EMBEDDING, FINAL_NORM = "embedding", "final norm"


@dataclass(frozen=True)
class ResidualPoint:
    """A place where the stream can be read.

    Attributes:
        name: as shown: "embedding", "3 attention", "final norm".
        probe: the name of the activation.
    """

    name: str
    probe: str


@dataclass(frozen=True)
class Sublayer:
    """Attention, cross-attention or feed-forward of one block, and its skip connection.

    Attributes:
        layer: the block's index.
        kind: "attention", "cross-attention" or "feed-forward".
        module, norm: the sublayer and its norm (the identity, where there is none).
        placement: where the norm stands, "pre", "post" or "none".
        skip: whether its input is added to its output.
        before, after: the points on either side.
        probe: the sublayer's own name, with a dot at its end: "blocks.3.attention.".
    """

    layer: int
    kind: str
    module: nn.Module
    norm: nn.Module
    placement: Placement
    skip: bool
    before: ResidualPoint
    after: ResidualPoint
    probe: str

    @property
    def name(self) -> str:
        """As shown: "3 attention"."""
        return f"{self.layer} {self.kind}"

    def output(self, trace: Trace) -> Tensor:
        """What the sublayer makes, before skip and norm: [B, T, d_model].

        Raises:
            ConfigError: the trace does not hold it, and it cannot be derived from the points either.
        """
        name = f"{self.probe}output"
        if name in trace or self.placement == "post":
            return kept(trace, name)
        after = kept(trace, self.after.probe)
        return after - kept(trace, self.before.probe) if self.skip else after


def sublayers(trace: Trace, side: Side | None = None) -> list[Sublayer]:
    """Every sublayer of a stack, in the order of the forward pass."""
    stack = trace.model.family.stack(side)
    prefix = stack.prefix
    found: list[Sublayer] = []
    before = ResidualPoint(EMBEDDING, f"{prefix}embedding.output")
    for layer, block in enumerate(stack.module(trace.model).blocks):
        assert isinstance(block, Block)
        for kind, name, skip in _present(block):
            after = ResidualPoint(f"{layer} {kind}", f"{prefix}blocks.{layer}.after_{name}")
            module, norm = block.get_submodule(name), block.get_submodule(f"{name}_norm")
            probe = f"{prefix}blocks.{layer}.{name}."
            found.append(Sublayer(layer, kind, module, norm, block.placement, skip, before, after, probe))
            before = after
    return found


def residual_points(
    trace: Trace, side: Side | None = None, *, each: Literal["sublayer", "block"] = "sublayer"
) -> list[ResidualPoint]:
    """The points of a stack's stream, in the order of the forward pass.

    Args:
        each: "block" leaves out those inside a block and the final norm: the embedding and each block's output,
            under the names "layer 0", "layer 1", ...
    """
    stack = trace.model.family.stack(side)
    inside = sublayers(trace, side)
    embedding = ResidualPoint(EMBEDDING, f"{stack.prefix}embedding.output")
    if each == "block":
        last = {sublayer.layer: ResidualPoint(f"layer {sublayer.layer}", sublayer.after.probe) for sublayer in inside}
        return [embedding, *last.values()]
    has_norm = not isinstance(stack.module(trace.model).final_norm, nn.Identity)
    final = [ResidualPoint(FINAL_NORM, f"{stack.prefix}final")] if has_norm else []
    return [embedding, *(sublayer.after for sublayer in inside), *final]


def kept(trace: Trace, name: str) -> Tensor:
    """The activation of this name.

    Raises:
        ConfigError: the trace does not hold it.
    """
    if name not in trace:
        raise ConfigError(
            f"The trace does not hold '{name}'. Keep it, with only=('{name}', ...), or keep all by leaving only out.",
            subject="inspection",
        )
    return trace[name]


def token_ids(trace: Trace, side: Side | None = None, row: int = 0) -> Tensor:
    """What a stack read: int64 [T].

    Raises:
        DataError: the batch has no such row.
    """
    ids = trace.arguments[trace.model.family.stack(side).reads]
    assert ids is not None
    if not -len(ids) <= row < len(ids):
        raise DataError(f"The trace has {len(ids)} sequences, numbered from 0; there is no row {row}.")
    return ids[row]


def labels(
    trace: Trace,
    tokens: Sequence[str] | None,
    source: Sequence[str] | None = None,
    *,
    side: Side | None = None,
    row: int = 0,
) -> tuple[str, ...]:
    """A text for each token that a stack read: those given, or the ids.

    Args:
        tokens: of the stack that the head reads.
        source: of the other, where there are two.

    Raises:
        DataError: another number of texts than of tokens.
    """
    ids = token_ids(trace, side, row)
    given = tokens if trace.model.family.stack(side) is trace.model.family.stack() else source
    if given is None:
        return tuple(str(int(token)) for token in ids)
    if len(given) != len(ids):
        raise DataError(f"The trace has {len(ids)} tokens, got {len(given)} texts; give one for each.")
    return tuple(given)


def _present(block: Block) -> Iterator[tuple[str, str, bool]]:
    """Kind, attribute and skip of the sublayers that a block has."""
    if block.has_attention:
        yield "attention", "attention", block.attention_skip
    if block.has_cross_attention:
        yield "cross-attention", "cross_attention", block.attention_skip
    if block.has_feedforward:
        yield "feed-forward", "feedforward", block.feedforward_skip

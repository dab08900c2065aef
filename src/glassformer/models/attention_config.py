"""The settings of attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from glassformer.config import Config
from glassformer.models.setting_types import Options, Probability, Size
from glassformer.wording import counted

OF_PATTERN = {
    "window": ("window", "windows"),
    "bigbird": ("block_size", "window_blocks", "global_blocks", "random_blocks"),
}
"""The settings that one pattern has and the others have not."""


class AttentionConfig(Config):
    """The attention sublayer."""

    kind: str = "multi-head"
    """Registered attention class."""
    n_heads: Size = 8
    """Number of query heads, h."""
    n_kv_heads: Size | None = None
    """Number of key-value heads; fewer than n_heads is grouped-query attention; none means n_heads."""
    d_head: Size | None = None
    """Width of one head, d_k; none means d_model / n_heads."""
    projection: Literal["fused", "separate", "shared"] = "fused"
    """One matrix for Q, K and V; three; or one projection used as all three (its output is Q and K and V)."""
    scale: bool = True
    """Divide the scores by the square root of d_head."""
    qk_norm: str = "none"
    """Registered norm applied to each head's queries and keys."""
    bias: bool = True
    """Biases in the query, key and value projections."""
    output_bias: bool | None = None
    """A bias in the output projection; none means as ``bias``."""
    dropout: Probability = 0.0
    """Dropout on the attention weights."""
    pattern: Literal["full", "window", "bigbird"] = "full"
    """Which tokens a token attends to, of those that its stack lets it: all, the nearest, or BigBird's blocks."""
    window: Size | None = None
    """Of pattern=window: tokens attended to, the query included; without causality as many on the other side."""
    windows: tuple[Size | None, ...] = ()
    """Of pattern=window, in place of window: the layers' own in turn, from the first; none is a layer without one."""
    block_size: Size = 64
    """Of pattern=bigbird: tokens in a block."""
    window_blocks: Annotated[int, Field(ge=1, le=10**6)] = 3
    """Of pattern=bigbird: blocks in the window, an odd number; a causal stack sees those up to the query's own."""
    global_blocks: Annotated[int, Field(ge=0, le=10**6)] = 2
    """Of pattern=bigbird: blocks that every query attends to, and whose queries attend to all: the first and the last
    ones, half each; in a causal stack the first."""
    random_blocks: Annotated[int, Field(ge=0, le=64)] = 3
    """Of pattern=bigbird: blocks at random, for each head and each block of queries; drawn once, and saved."""
    cross: str = "multi-head"
    """Registered cross-attention class, from the decoder to the encoder; the settings above are also its own."""
    options: Options = {}
    """Further arguments of a registered attention class of your own."""

    @model_serializer(mode="wrap")
    def _leave_out_what_is_of_other_patterns(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """As files had it before there were patterns, so that what is compared or hashed stays as it was."""
        tree: dict[str, Any] = handler(self)
        others = [name for pattern, names in OF_PATTERN.items() if pattern != self.pattern for name in names]
        others += ["pattern"] if self.pattern == "full" else []
        return {name: value for name, value in tree.items() if name not in others}

    def complaints(self) -> Iterator[str]:
        for pattern, names in OF_PATTERN.items():
            changed = [name for name in names if getattr(self, name) != type(self).model_fields[name].default]
            if pattern != self.pattern and changed:
                yield (
                    f"{' and '.join(changed)} {'are settings' if len(changed) > 1 else 'is a setting'} of "
                    f"pattern={pattern}, and pattern is {self.pattern}."
                )
        if self.pattern == "window" and (self.window is None) == (not self.windows):
            given = "neither is" if self.window is None else "both are"
            yield f"pattern=window takes window, of all layers, or windows, the layers' own in turn; {given} given."
        if self.windows and set(self.windows) == {None}:
            yield "windows has no window in any layer; set pattern=full."
        if self.window_blocks % 2 == 0:
            yield (
                f"window_blocks is {self.window_blocks}; expected an odd number, the query's own block and as many "
                "on either side."
            )

    def complaints_in(self, max_seq_len: int, n_layers: int) -> Iterator[str]:
        """What is wrong with the pattern in a model of this context, whose deepest stack has so many layers."""
        if self.widest is not None and self.widest >= max_seq_len:
            smaller = "window" if self.pattern == "window" else "block_size"
            yield (
                f"attention.pattern={self.pattern} hides nothing in sequences of up to {self.widest} tokens, and "
                f"max_seq_len is {max_seq_len}; choose a smaller attention.{smaller}, or attention.pattern=full."
            )
        if len(self.windows) > n_layers:
            yield (
                f"attention.windows has {len(self.windows)} windows, and there {'are' if n_layers != 1 else 'is'} "
                f"{counted(n_layers, 'layer')}; the others would have no effect."
            )

    def window_of(self, layer: int) -> int | None:
        """The window of the layer of this index; None: it has none."""
        return self.windows[layer % len(self.windows)] if self.windows else self.window

    def describe_pattern(self) -> str:
        """The pattern in words: "windows of 512, 512, all tokens in turn" and the like."""
        if self.pattern == "window":
            if not self.windows:
                return f"a window of {counted(self.window or 0, 'token')}"
            return (
                f"windows of {', '.join('all' if each is None else str(each) for each in self.windows)} tokens in turn"
            )
        if self.pattern == "bigbird":
            return (
                f"blocks of {self.block_size} tokens: {self.window_blocks} of the window, {self.global_blocks} global, "
                f"{self.random_blocks} random"
            )
        return "every token"

    @property
    def period(self) -> int:
        """After how many layers their patterns repeat."""
        return len(self.windows) or 1

    @property
    def widest(self) -> int | None:
        """Tokens of the longest sequence in which the pattern hides nothing; None: it never hides anything."""
        if self.pattern == "bigbird":
            return self.block_size * (self.window_blocks // 2 + self.global_blocks + 1)
        windows = [window for window in (self.window, *self.windows) if window is not None]
        return min(windows, default=None)

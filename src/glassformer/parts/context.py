"""What all layers of one forward pass share."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from glassformer.parts.patterns import Causal, Everything, Pattern, additive
from glassformer.parts.positions import PositionEncoding


@dataclass(frozen=True)
class Context:
    """Positions, and which keys a query may attend to.

    Attributes:
        encoding: rotates queries and keys by their positions.
        positions: of the new tokens, [T] or [B, T].
        pattern: which keys a query may attend to; an attention of its own pattern asks for both, ``pattern & own``.
        bias: a position encoding's, added to the scores: [H, T, S] or [B, H, T, S]; None without one.
        queries, keys: the tokens' indices in the sequence, [T] and [S]; None where both are the whole sequence.
        slots: where the new keys and values go in the cache, [T]; None without one.
        visible: how many of the cache's slots are attended to.
        dtype: of a mask, that of the weights.
    """

    encoding: PositionEncoding
    positions: Tensor
    pattern: Pattern = field(default_factory=Causal)
    bias: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    slots: Tensor | None = None
    visible: int = 0
    dtype: torch.dtype = torch.float32
    _masks: dict[Pattern, Tensor] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Those made so far, which all layers share."""

    def is_causal(self, pattern: Pattern) -> bool:
        """Whether ``pattern`` is causality of the whole sequence alone, for which fused attention needs no mask."""
        return isinstance(pattern, Causal) and self.queries is None and self.bias is None

    def mask(self, pattern: Pattern) -> Tensor | None:
        """What is added to the scores, broadcastable to [B, H, T, S]: the bias, and −∞ where ``pattern`` hides a key.

        None where nothing is added.
        """
        if isinstance(pattern, Everything) and self.bias is None:
            return None
        if pattern not in self._masks:
            self._masks[pattern] = self._made(pattern)
        return self._masks[pattern]

    def _made(self, pattern: Pattern) -> Tensor:
        whole = torch.arange(self.positions.shape[-1], device=self.positions.device)
        visible = pattern.dense(
            whole if self.queries is None else self.queries, whole if self.keys is None else self.keys
        )
        mask = additive(visible[:, None] if visible.dim() == 3 else visible, self.dtype)  # [B, 1, T, S] or [T, S]
        if self.bias is not None:
            mask = mask + self.bias.to(self.dtype)
        return mask if mask.dim() != 3 else mask[None]  # [1, H, T, S]: SDPA's fast CPU path takes no three axes

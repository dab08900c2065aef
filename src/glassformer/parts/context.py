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
        positions: of the new tokens, [T] or [B, T], counted without pads.
        pattern: which keys a query may attend to, by the tokens' indices. An attention's own pattern, which is by their
            positions, is asked for beside it (:meth:`mask`).
        bias: a position encoding's, added to the scores: [H, T, S] or [B, H, T, S]; None without one.
        queries, keys: the tokens' indices in the sequence, [T] and [S]; None where both are all there are.
        key_positions: as ``positions``, [S] or [B, S]; None where they are those of the new tokens, or the indices in
            the cache.
        slots: where the new keys and values go in the cache, [T]; None without one.
        visible: how many of the cache's slots are attended to.
        dtype: of a mask, that of the weights.
        counted: bool [B, T], which of the new tokens count where a part takes statistics over them; None for all.
    """

    encoding: PositionEncoding
    positions: Tensor
    pattern: Pattern = field(default_factory=Causal)
    bias: Tensor | None = None
    queries: Tensor | None = None
    keys: Tensor | None = None
    key_positions: Tensor | None = None
    slots: Tensor | None = None
    visible: int = 0
    dtype: torch.dtype = torch.float32
    counted: Tensor | None = None
    _masks: dict[Pattern | None, Tensor] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Those made so far, which all layers share."""

    def is_causal(self, own: Pattern | None = None) -> bool:
        """Whether a key is hidden by causality of the whole sequence alone: fused attention needs no mask for that."""
        return own is None and isinstance(self.pattern, Causal) and self.queries is None and self.bias is None

    def mask(self, own: Pattern | None = None) -> Tensor | None:
        """What is added to the scores, broadcastable to [B, H, T, S]: the bias, and −∞ where a key is hidden.

        None where nothing is added.

        Args:
            own: an attention's own pattern, by positions: neither pads nor the order of a cache's slots change it. It
                must let a token attend to itself.
        """
        if own is None and isinstance(self.pattern, Everything) and self.bias is None:
            return None
        if own not in self._masks:
            self._masks[own] = self._made(own)
        return self._masks[own]

    def _made(self, own: Pattern | None) -> Tensor:
        device, n_queries = self.positions.device, self.positions.shape[-1]
        queries = torch.arange(n_queries, device=device) if self.queries is None else self.queries
        keys = torch.arange(self.visible or n_queries, device=device) if self.keys is None else self.keys
        visible = self.pattern.dense(queries, keys)
        if own is not None:
            cached = keys if self.slots is not None else self.positions
            visible = visible & own.dense(self.positions, cached if self.key_positions is None else self.key_positions)
        mask = additive(visible[:, None] if visible.dim() == 3 else visible, self.dtype)  # [B, 1, T, S] or [T, S]
        if self.bias is not None:
            mask = mask + self.bias.to(self.dtype)
        return mask if mask.dim() != 3 else mask[None]  # [1, H, T, S]: SDPA's fast CPU path takes no three axes

"""What all layers of one forward pass share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from glassformer.parts.gathered import Gathered
from glassformer.parts.patterns import Both, Causal, Everything, Pattern, additive
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
        pads: of a whole sequence, bool [B, T], True at pads; None where there are none.
        starts: of a cache, the first slot of each row that is no pad, [B]; None where there are no pads.
        whole: whether the new tokens are all that there is to attend to, though a cache may keep them.
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
    pads: Tensor | None = None
    starts: Tensor | None = None
    whole: bool = False
    counted: Tensor | None = None
    _masks: dict[Pattern | None, Tensor] = field(default_factory=dict, init=False, compare=False, repr=False)
    """Those made so far, which all layers share."""
    _gathered: dict[Pattern, Gathered | None] = field(default_factory=dict, init=False, compare=False, repr=False)
    _rings: dict[int, Context] = field(default_factory=dict, init=False, compare=False, repr=False)

    def is_causal(self, own: Pattern | None = None) -> bool:
        """Whether a key is hidden by causality of the whole sequence alone: fused attention needs no mask for that."""
        return own is None and isinstance(self.pattern, Causal) and self.queries is None and self.bias is None

    def mask(self, own: Pattern | None = None) -> Tensor | None:
        """What is added to the scores, broadcastable to [B, H, T, S]: the bias, and −∞ where a key is hidden.

        None where nothing is added.

        Args:
            own: an attention's own pattern, by positions: neither pads nor the order of a cache's slots change it. It
                must let a token attend to itself. Pads of a whole sequence then attend to themselves alone.
        """
        if own is None and isinstance(self.pattern, Everything) and self.bias is None:
            return None
        if own is not None and own.n_heads is not None:  # one layer's alone
            return self._made(own)
        if own not in self._masks:
            self._masks[own] = self._made(own)
        return self._masks[own]

    def gathered(self, own: Pattern | None) -> Gathered | None:
        """An attention's own pattern in blocks, of a whole sequence; None where a table of all pairs is taken.

        That is so where the pattern has no blocks, where these would save too little, in a cache, and where a position
        encoding adds to the scores.
        """
        if own is None or not self.whole or self.bias is not None:
            return None
        if own.n_heads is not None:  # one layer's alone
            return self._made_of_blocks(own)
        if own not in self._gathered:
            self._gathered[own] = self._made_of_blocks(own)
        return self._gathered[own]

    def ring(self, size: int) -> Context:
        """The same for a cache that keeps the last ``size`` tokens: one token attends to what is there, in the ring's
        order; several attend to what was there, in the order of the tokens, and then to themselves.
        """
        if size not in self._rings:
            assert self.slots is not None
            before = torch.arange(size, device=self.slots.device)
            if len(self.slots) == 1:
                keys = self.slots - (self.slots - before) % size  # the latest token that has this place
            else:
                keys = torch.cat((self.slots[:1] - size + before, self.slots))
            key_positions = keys if self.starts is None else keys - self.starts[:, None]
            self._rings[size] = replace(
                self,
                pattern=self.pattern & Everything(),  # places that are not filled yet are before the first token
                bias=None if self.bias is None else self.encoding.bias(self.positions, key_positions.clamp_min(0)),
                queries=self.slots,
                keys=keys,
                key_positions=key_positions,
                visible=len(keys),
            )
        return self._rings[size]

    @property
    def places(self) -> Tensor:
        """Where each token of a whole sequence would stand if all pads came behind the others: [T], or [B, T]."""
        if self.pads is None:
            return self.positions
        before = (~self.pads).cumsum(1)
        return torch.where(self.pads, before[:, -1:] + self.pads.cumsum(1), before) - 1

    @property
    def _hides_the_future(self) -> bool:
        first = self.pattern.first if isinstance(self.pattern, Both) else self.pattern
        return isinstance(first, Causal)

    def _made_of_blocks(self, own: Pattern) -> Gathered | None:
        n_tokens, pads = self.positions.shape[-1], self.pads
        lengths = None if pads is None else (~pads).sum(1).clamp_min(1)
        blocks = own.key_blocks(n_tokens, lengths, causal=self._hides_the_future, device=self.positions.device)
        if blocks is None:
            return None
        found = Gathered(blocks, n_tokens, pads, lengths, None if pads is None else self.places)
        return found if found.pays else None

    def _made(self, own: Pattern | None) -> Tensor:
        device, n_queries = self.positions.device, self.positions.shape[-1]
        queries = torch.arange(n_queries, device=device) if self.queries is None else self.queries
        keys = torch.arange(self.visible or n_queries, device=device) if self.keys is None else self.keys
        visible = self.pattern.dense(queries, keys)  # [T, S] or [B, T, S]
        if own is not None:
            if self.whole and self.pads is not None:
                visible = visible & (~self.pads[:, :, None] | (queries[:, None] == keys))
            table = self._own_pairs(own, keys)
            visible = (visible[:, None] if visible.dim() < table.dim() == 4 and visible.dim() == 3 else visible) & table
        mask = additive(visible[:, None] if visible.dim() == 3 else visible, self.dtype)  # [B, 1, T, S] or [T, S]
        if self.bias is not None:
            mask = mask + self.bias.to(self.dtype)
        return mask if mask.dim() != 3 else mask[None]  # [1, H, T, S]: SDPA's fast CPU path takes no three axes

    def _own_pairs(self, own: Pattern, keys: Tensor) -> Tensor:
        """What an attention's own pattern allows, [T, S], [B, T, S] or [B, H, T, S]."""
        if self.whole:
            lengths = len(keys) if self.pads is None else (~self.pads).sum(1).clamp_min(1)
            return own.with_lengths(lengths).dense(self.places, self.places)
        cached = keys if self.slots is not None else self.positions
        key_positions = cached if self.key_positions is None else self.key_positions
        return own.with_lengths(len(keys)).dense(self.positions, key_positions)

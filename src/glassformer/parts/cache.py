"""The key-value cache: an object outside the modules, which the caller owns.

A causal model never changes what it computed for earlier tokens, so their keys and values can be kept. Rows of a batch
whose prompts differ in length are padded on the left; every row writes to the same slot at the same time:

    row 0   ·  ·  a  b  c │ d          starts = [2, 0]
    row 1   v  w  x  y  z │ …          length = 5: the next token goes to slot 5

A layer whose attention looks back W tokens keeps W: a ring, in which slot s has the place s mod W (:class:`RingCache`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.parts.context import Context


@dataclass
class LayerCache:
    """One layer's keys and values, [batch, kv_head, capacity, d_head] each."""

    keys: Tensor
    values: Tensor

    def write(self, key: Tensor, value: Tensor, slots: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        """Put the new tokens' keys and values at ``slots`` [sequence]; return those of the first ``visible`` slots."""
        self.keys.index_copy_(2, slots, key.to(self.keys.dtype))
        self.values.index_copy_(2, slots, value.to(self.values.dtype))
        if visible == self.keys.shape[2]:
            return self.keys, self.values
        return self.keys[:, :, :visible], self.values[:, :, :visible]

    def view(self, context: Context) -> Context:
        """What the new tokens attend to once they are written: this layer's keys, in the order they come back in."""
        return context

    def keep_rows(self, rows: Tensor) -> None:
        """Keep these rows only (or again): [n] indices among the present ones."""
        self.keys, self.values = self.keys[rows], self.values[rows]

    def shift(self, by: int, length: int) -> None:
        """Move all rows ``by`` slots to the left, the first ``length`` of what is left being in use."""
        for kept in (self.keys, self.values):
            kept[:, :, :length] = kept[:, :, by : by + length].clone()

    def put(self, rows: Tensor, other: LayerCache, start: int, count: int) -> None:
        """Copy another cache's first ``count`` slots into these rows, from the slot ``start`` on."""
        size, others = self.keys.shape[2], other.keys.shape[2]
        slots = torch.arange(max(0, count - min(size, others)), count, device=rows.device)  # older ones are forgotten
        for mine, its in ((self.keys, other.keys), (self.values, other.values)):
            mine[rows[:, None], :, (start + slots) % size] = its[:, :, slots % others].transpose(1, 2)


class RingCache(LayerCache):
    """The last tokens' keys and values, [batch, kv_head, size, d_head] each: slot s has the place s mod size."""

    def write(self, key: Tensor, value: Tensor, slots: Tensor, visible: int) -> tuple[Tensor, Tensor]:
        """Put the new ones in; return what :meth:`view` describes."""
        size = self.keys.shape[2]
        seen = (self.keys, self.values)
        if len(slots) > 1:
            before = (slots[:1] + torch.arange(size, device=slots.device)) % size  # the oldest first
            seen = tuple(  # type: ignore[assignment] # of two
                torch.cat((kept[:, :, before], new.to(kept.dtype)), 2)
                for kept, new in ((self.keys, key), (self.values, value))
            )
        for kept, new in ((self.keys, key), (self.values, value)):
            kept.index_copy_(2, slots[-size:] % size, new[:, :, -size:].to(kept.dtype))
        return seen

    def view(self, context: Context) -> Context:
        return context.ring(self.keys.shape[2])

    def shift(self, by: int, length: int) -> None:
        for kept in (self.keys, self.values):
            kept.copy_(kept.roll(-by, 2))


class KVCache:
    """All layers' keys and values, and how far they are filled.

    Args:
        windows: of each layer, how many tokens back it looks, itself included; None: all.

    Attributes:
        layers: one :class:`LayerCache` per layer (an empty list for a model without attention).
        length: slots filled so far.
        starts: [batch], the first slot of each row that is not padding; None where there is no padding.
    """

    def __init__(
        self,
        *,
        n_layers: int,
        batch_size: int,
        n_kv_heads: int,
        capacity: int,
        d_head: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        starts: Tensor | None = None,
        windows: Sequence[int | None] = (),
    ) -> None:
        def empty(size: int) -> Tensor:
            return torch.zeros(batch_size, n_kv_heads, size, d_head, dtype=dtype, device=device)

        self.layers: list[LayerCache] = []
        for window in windows or [None] * n_layers:
            if window is None or window >= capacity:
                self.layers.append(LayerCache(empty(capacity), empty(capacity)))
            else:
                self.layers.append(RingCache(empty(window), empty(window)))
        self.capacity = capacity
        self.starts = starts
        self.length = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

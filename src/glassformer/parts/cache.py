"""The key-value cache: an object outside the modules, which the caller owns.

A causal model never changes what it computed for earlier tokens, so their keys and values can be kept. Rows of a batch
whose prompts differ in length are padded on the left; every row writes to the same slot at the same time:

    row 0   ·  ·  a  b  c │ d          starts = [2, 0]
    row 1   v  w  x  y  z │ …          length = 5: the next token goes to slot 5
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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


class KVCache:
    """All layers' keys and values, and how far they are filled.

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
    ) -> None:
        shape = (batch_size, n_kv_heads, capacity, d_head)
        self.layers = [
            LayerCache(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))
            for _ in range(n_layers)
        ]
        self.capacity = capacity
        self.starts = starts
        self.length = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of all keys and values."""
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers)

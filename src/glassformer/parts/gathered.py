"""Attention in a sparse pattern on a CPU: each block of queries with the blocks of keys that it needs, and no others.

For T tokens in a window of w the scores are T · O(w), not T². The pairs, and so the result, are the dense mask's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.patterns import Pattern, additive


@dataclass(frozen=True)
class Gathered:
    """The keys of each block of ``size`` queries.

    Attributes:
        size: tokens in a block; the last block is filled up.
        keys: indices of keys [n_blocks, K]: of every block of queries as many, the most that any needs.
        visible: bool [n_blocks, size, K], or [B, n_blocks, size, K] where sequences differ.
    """

    size: int
    keys: Tensor
    visible: Tensor

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float | None = None) -> Tensor:
        """softmax(scale · Q Kᵀ) V over the pattern's pairs.

        Args:
            q, k, v: [B, H, T, d_head], keys and values [B, H, S, d_head].
            scale: of the scores; 1/√d_head unless given.

        Returns:
            [B, H, T, d_head].
        """
        length, blocks = q.shape[-2], len(self.keys)
        q = F.pad(q, (0, 0, 0, blocks * self.size - length))
        q = q.reshape(*q.shape[:-2], blocks, self.size, q.shape[-1])
        k, v = k[..., self.keys, :], v[..., self.keys, :]  # [B, H, n_blocks, K, d_head]
        mask = additive(self.visible, q.dtype)
        if mask.dim() == 4:
            mask = mask[:, None]  # every head of a sequence
        heads = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
        return heads.flatten(-3, -2)[..., :length, :]


def gather(pattern: Pattern, n_queries: int, n_keys: int, size: int, device: torch.device | str = "cpu") -> Gathered:
    """The pattern over whole sequences, in blocks of ``size`` tokens.

    A filled-up query attends to what it likes, since it is cut off again; no row is left empty.
    """
    blocks, key_blocks = -(-n_queries // size), -(-n_keys // size)
    within = torch.arange(size, device=device)
    queries = torch.arange(blocks * size, device=device).clamp_max(n_queries - 1)
    keys = torch.arange(key_blocks * size, device=device)
    dense = pattern.dense(torch.arange(n_queries, device=device), torch.arange(n_keys, device=device))
    dense = dense[..., queries, :][..., keys.clamp_max(n_keys - 1)] & (keys < n_keys)  # filled up
    rows = dense.reshape(*dense.shape[:-2], blocks, size, len(keys))
    needed = rows.reshape(*rows.shape[:-1], key_blocks, size).any(-1).any(-2)  # [blocks, key_blocks], [B, …]
    if needed.dim() == 3:
        needed = needed.any(0)
    most = int(needed.sum(-1).max())
    chosen = torch.argsort(needed.int(), dim=-1, descending=True, stable=True)[:, :most]
    columns = (chosen[..., None] * size + within).flatten(1)  # [blocks, most · size]
    visible = rows.gather(-1, columns[:, None, :].expand(*rows.shape[:-1], -1))
    return Gathered(size, columns.clamp_max(n_keys - 1), visible)

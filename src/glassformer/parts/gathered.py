"""Attention in a sparse pattern: each block of queries with the blocks of keys that it needs, and no others.

For T tokens that each need K keys, T · K scores are formed, not T². The pairs, and so the result, are those of the
dense mask. A sequence's pads are moved behind its tokens first, so that blocks begin with its first token wherever pads
are; a pad attends to itself alone.

Two ways compute the same. :mod:`glassformer.parts.in_pieces` takes some blocks at a time: on a CPU that is less time
and far less memory. :func:`_at_once` is ordinary differentiable torch: for dropout on the weights, compilers and other
devices.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.in_pieces import AttentionInPieces, BlockTable, in_blocks
from glassformer.parts.patterns import KeyBlocks, additive

WORTH_IT = 2
"""A gathered score costs as much as this many of a dense table (measured at 4,096 tokens; about 1.6)."""


@dataclass(frozen=True)
class Gathered:
    """A pattern's blocks for sequences of one padded length.

    Attributes:
        blocks: which blocks of keys each block of queries needs.
        n_tokens: T, pads included.
        pads: bool [B, T], True at pads; None where there are none.
        lengths: [B], tokens that are not pads; at least 1.
        places: int64 [B, T], where each token goes so that pads come last.
    """

    blocks: KeyBlocks
    n_tokens: int
    pads: Tensor | None = None
    lengths: Tensor | None = None
    places: Tensor | None = None

    @property
    def pays(self) -> bool:
        """Whether it is faster than a dense table of scores."""
        return WORTH_IT * self.blocks.n_scores(self.n_tokens) <= self.n_tokens**2

    def attend(self, q: Tensor, k: Tensor, v: Tensor, *, scale: float, dropout: float = 0.0) -> Tensor:
        """softmax(scale · Q Kᵀ) V over the pattern's pairs.

        Args:
            q: [B, H, T, d_head]; k, v: [B, G, T, d_head], of fewer heads where queries are grouped.
            dropout: the probability with which a weight is dropped.

        Returns:
            [B, H, T, d_head].
        """
        q, k, own = q.to(v.dtype), k.to(v.dtype), v  # autocast may have left them in another
        if self.places is not None:
            order = torch.argsort(self.places, -1)
            q, k, v = (_reordered(x, order) for x in (q, k, v))
        heads = self._attend(q, k, v, scale, dropout)
        if self.places is not None:
            assert self.pads is not None
            own = own.repeat_interleave(q.shape[1] // own.shape[1], dim=1)
            heads = torch.where(self.pads[:, None, :, None], own, _reordered(heads, self.places))
        return heads

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        """The same, pads last."""
        n_tokens, size = self.n_tokens, self.blocks.size
        filling = -n_tokens % size
        filled, keys, values = (F.pad(x, (0, 0, 0, filling)) if filling else x for x in (q, k, v))
        table = BlockTable.of(self.blocks, filled, k.shape[1], self._hidden_keys(q.device))
        rows = self._full_rows(q.device)
        if dropout == 0 and q.device.type in ("cpu", "meta") and not torch.compiler.is_compiling():
            if rows is not None and self.blocks.rows is not None:
                table = table.without(self.blocks.rows, *q.shape[:2])
            given = (filled, keys, values, scale, table.keys, table.ends, table.tile, rows)
            heads = AttentionInPieces.apply(*given)[0]  # type: ignore[no-untyped-call]
        else:
            heads = _at_once(filled, keys, values, scale, table, dropout)
            if rows is not None:
                heads = self._with_full_rows(heads, rows, filled, k, v, scale, dropout)
        return heads[:, :, :n_tokens]

    def _full_rows(self, device: torch.device) -> Tensor | None:
        """The queries that attend to every key, [B, R · size] or of one row; None: there are none."""
        rows, size = self.blocks.rows, self.blocks.size
        if rows is None:
            return None
        return (rows[..., None] * size + torch.arange(size, device=device)).flatten(1)

    def _hidden_keys(self, device: torch.device) -> Tensor:
        """The keys behind a sequence's last token, bool [B, n_blocks, size], or of one row."""
        size, n_blocks = self.blocks.size, self.blocks.blocks.shape[-2]
        keys = torch.arange(n_blocks * size, device=device).view(1, n_blocks, size)
        return keys >= (self.n_tokens if self.lengths is None else self.lengths[:, None, None])

    def _with_full_rows(
        self, heads: Tensor, rows: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float
    ) -> Tensor:
        """Ordinary attention of these queries."""
        mask = None
        if self.lengths is not None:
            keys = torch.arange(self.n_tokens, device=q.device)
            mask = additive(keys < self.lengths[:, None, None, None], q.dtype)
        rows, grouped = rows.expand(len(q), -1), q.shape[1] != k.shape[1]
        own = _reordered(q, rows)
        full = F.scaled_dot_product_attention(own, k, v, mask, dropout, scale=scale, enable_gqa=grouped)
        return heads.scatter(2, rows[:, None, :, None].expand_as(full), full)


def _at_once(q: Tensor, k: Tensor, v: Tensor, scale: float, table: BlockTable, dropout: float) -> Tensor:
    """All blocks together: every key and value is copied as often as it is needed."""
    every = slice(None)
    k, v = (table.gathered(in_blocks(x, table.size), every)[:, None] for x in (k, v))  # [N, 1, K · size, d_head]
    mask = table.mask(every).to(q.dtype).expand(-1, table.size, -1)[:, None]
    queries = q.reshape(-1, 1, table.size, q.shape[-1])
    return F.scaled_dot_product_attention(queries, k, v, attn_mask=mask, dropout_p=dropout, scale=scale).view(q.shape)


def _reordered(x: Tensor, index: Tensor) -> Tensor:
    """[B, H, T, d] with the tokens [B, T] of each sequence."""
    return x.gather(2, index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1]))

"""Attention in a sparse pattern: each block of queries with the blocks of keys that it needs, and no others.

For T tokens that each need K keys, T · K scores are formed, not T². The pairs, and so the result, are those of the
dense mask. A sequence's pads are moved behind its tokens first, so that blocks begin with its first token wherever pads
are; a pad attends to itself alone.

Two ways compute the same. :class:`_InPieces` takes some blocks at a time, so that their scores stay in the processor's
cache, and computes the scores again for the backward pass: on a CPU (2 cores of an x86 server, 16,384 tokens) it takes
0.7 of the time of the other way and keeps 1/20 of its bytes. :func:`_at_once` is ordinary differentiable torch: for
dropout on the weights, compilers and other devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.patterns import KeyBlocks, additive

PIECE = 2**19
"""Scores at a time: 2 MB in float32, about a core's share of the processor's cache."""
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
        table = _Table.of(self.blocks, filled, k.shape[1], self._hidden_keys(q.device))
        if dropout == 0 and q.device.type in ("cpu", "meta") and not torch.compiler.is_compiling():
            given = (filled, keys, values, scale, table.keys, table.ends, table.tile)
            heads = _InPieces.apply(*given)[0]  # type: ignore[no-untyped-call]
        else:
            heads = _at_once(filled, keys, values, scale, table, dropout)
        if self.blocks.rows is not None:
            heads = self._with_full_rows(heads, filled, k, v, scale, dropout)
        return heads[:, :, :n_tokens]

    def _hidden_keys(self, device: torch.device) -> Tensor:
        """The keys behind a sequence's last token, bool [B, n_blocks, size], or of one row."""
        size, n_blocks = self.blocks.size, self.blocks.blocks.shape[-2]
        keys = torch.arange(n_blocks * size, device=device).view(1, n_blocks, size)
        return keys >= (self.n_tokens if self.lengths is None else self.lengths[:, None, None])

    def _with_full_rows(self, heads: Tensor, q: Tensor, k: Tensor, v: Tensor, scale: float, dropout: float) -> Tensor:
        """The queries of global blocks attend to every key: ordinary attention of a few queries."""
        rows, size = self.blocks.rows, self.blocks.size
        assert rows is not None
        index = (rows[..., None] * size + torch.arange(size, device=q.device)).flatten(1)  # [B, R · size]
        mask = None
        if self.lengths is None:
            own = q.index_select(2, index[0])
        else:
            keys = torch.arange(self.n_tokens, device=q.device)
            mask = additive(keys < self.lengths[:, None, None, None], q.dtype)
            own = _reordered(q, index)
        grouped = q.shape[1] != k.shape[1]
        full = F.scaled_dot_product_attention(own, k, v, mask, dropout, scale=scale, enable_gqa=grouped)
        if self.lengths is None:
            return heads.index_copy(2, index[0], full)
        return heads.scatter(2, index[:, None, :, None].expand_as(full), full)


@dataclass(frozen=True)
class _Table:
    """The blocks of all heads of all sequences in one list, N = B · H · n_blocks of queries.

    Attributes:
        keys: int64 [N, K], indices among the B · G · n_blocks blocks of keys and values; −1: none.
        ends: [B · G · n_blocks, size], −∞ at keys behind a sequence's last token, 0 at others.
        tile: [size, K · size], −∞ at pairs that the pattern leaves out, of every block the same; None: all are allowed.
    """

    keys: Tensor
    ends: Tensor
    tile: Tensor | None

    @classmethod
    def of(cls, found: KeyBlocks, q: Tensor, n_kv_heads: int, hidden: Tensor) -> _Table:
        """Of queries [B, H, T, d_head]; ``hidden`` are the keys that are not there, bool [B, n_blocks, size]."""
        n_rows, n_heads = q.shape[:2]
        n_blocks, most = found.blocks.shape[-2:]
        blocks = found.blocks.expand(n_rows, n_heads, -1, -1)
        rows = torch.arange(n_rows, device=q.device)[:, None, None, None]
        kv_heads = torch.arange(n_heads, device=q.device)[:, None, None] // (n_heads // n_kv_heads)
        keys = (rows * n_kv_heads + kv_heads) * n_blocks + blocks.clamp_max(n_blocks - 1)
        return cls(
            torch.where(blocks < 0, -1, keys).reshape(-1, most),
            additive(~hidden, _wide(q.dtype))[:, None].expand(n_rows, n_kv_heads, -1, -1).reshape(-1, found.size),
            None if found.tile is None else additive(found.tile, _wide(q.dtype)),
        )

    def mask(self, some: slice) -> Tensor:
        """What is added to the scores of some blocks of queries, broadcastable to [n, size, K · size]."""
        keys = self.keys[some]
        mask = self.ends[keys.clamp_min(0)].masked_fill((keys < 0)[..., None], float("-inf")).flatten(1)[:, None]
        return mask if self.tile is None else mask + self.tile

    def gathered(self, blocks: Tensor, some: slice) -> Tensor:
        """Of [B · G · n_blocks, size · d], the blocks that some blocks of queries need, [n, K · size, d]."""
        keys = self.keys[some]
        return blocks.index_select(0, keys.flatten().clamp_min(0)).view(len(keys), -1, blocks.shape[1] // self.size)

    def pieces(self) -> list[slice]:
        """All of them, some at a time."""
        at_once = max(1, PIECE // (self.keys.shape[1] * self.size**2))
        return [slice(first, first + at_once) for first in range(0, len(self.keys), at_once)]

    @property
    def size(self) -> int:
        """Tokens of a block."""
        return self.ends.shape[1]


def _at_once(q: Tensor, k: Tensor, v: Tensor, scale: float, table: _Table, dropout: float) -> Tensor:
    """All blocks together: every key and value is copied as often as it is needed."""
    every = slice(None)
    k, v = (table.gathered(_blocks(x, table.size), every)[:, None] for x in (k, v))  # [N, 1, K · size, d_head]
    mask = table.mask(every).to(q.dtype).expand(-1, table.size, -1)[:, None]
    queries = q.reshape(-1, 1, table.size, q.shape[-1])
    return F.scaled_dot_product_attention(queries, k, v, attn_mask=mask, dropout_p=dropout, scale=scale).view(q.shape)


class _InPieces(torch.autograd.Function):
    """The same, some blocks at a time; kept for the backward pass are Q, K, V, the output and one number a query.

    The backward pass computes the weights P again, from the logarithm of their sums (Dao et al. 2022, arXiv 2205.14135,
    algorithm 4): dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)), dQ = scale · dS K, dK = scale · dSᵀ Q.
    """

    @staticmethod
    def forward(
        q: Tensor, k: Tensor, v: Tensor, scale: float, keys: Tensor, ends: Tensor, tile: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The heads [B, H, T, d_head], and the logarithm of each query's sum [N, size, 1]."""
        table = _Table(keys, ends, tile)
        queries, k, v = q.reshape(-1, table.size, q.shape[-1]), _blocks(k, table.size), _blocks(v, table.size)
        heads = torch.empty_like(queries)
        sums = ends.new_empty(len(queries), table.size, 1)
        limits = torch.finfo(sums.dtype)
        with torch.autocast("cpu", enabled=False):
            for some in table.pieces():
                scores = _products(queries[some], table.gathered(k, some), table.mask(some), scale)
                most = scores.amax(-1, keepdim=True).clamp_min_(limits.min)  # of a row of −∞, too
                total = scores.sub_(most).exp_().sum(-1, keepdim=True).clamp_min_(limits.tiny)
                heads[some] = torch.bmm(scores.to(v.dtype), table.gathered(v, some)).div_(total)
                sums[some] = most + total.log_()
        return heads.view(q.shape), sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        q, k, v, ctx.scale, *table = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(q, k, v, *output, *table)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, heads, sums, keys, ends, tile = ctx.saved_tensors
        table, scale, size = _Table(keys, ends, tile), ctx.scale, ends.shape[1]
        queries, heads, upstream = (x.reshape(-1, size, q.shape[-1]) for x in (q, heads, upstream))
        k_blocks, v_blocks = _blocks(k, size), _blocks(v, size)
        dq, dk, dv = torch.empty_like(queries), torch.zeros_like(k_blocks), torch.zeros_like(v_blocks)
        for some in table.pieces():
            own, given = queries[some], upstream[some]
            near, values = table.gathered(k_blocks, some), table.gathered(v_blocks, some)
            weights = _products(own, near, table.mask(some) - sums[some], scale).exp_()
            falling = (given * heads[some]).sum(-1, keepdim=True, dtype=weights.dtype)
            slopes = _products(given, values, -falling, 1.0).mul_(weights).to(q.dtype)
            dq[some] = torch.bmm(slopes, near).mul_(scale)
            index = keys[some].flatten().clamp_min(0)  # a block that is not there has no weight
            dk.index_add_(0, index, torch.bmm(slopes.transpose(1, 2), own * scale).view(len(index), -1))
            dv.index_add_(0, index, torch.bmm(weights.to(q.dtype).transpose(1, 2), given).view(len(index), -1))
        return dq.view(q.shape), dk.view(k.shape), dv.view(v.shape), None, None, None, None


def _products(x: Tensor, y: Tensor, offset: Tensor, scale: float) -> Tensor:
    """The table scale · X Yᵀ + offset of each block, in the type of the offset, at least float32."""
    if x.dtype == offset.dtype:
        return torch.baddbmm(offset, x, y.transpose(1, 2), alpha=scale)
    return torch.bmm(x, y.transpose(1, 2)).to(offset.dtype).mul_(scale).add_(offset)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _blocks(x: Tensor, size: int) -> Tensor:
    """[B, G, T, d] → [B · G · n_blocks, size · d]."""
    return x.reshape(-1, size * x.shape[-1])


def _reordered(x: Tensor, index: Tensor) -> Tensor:
    """[B, H, T, d] with the tokens [B, T] of each sequence."""
    return x.gather(2, index[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[-1]))

"""Softmax attention of blocks of queries to the blocks of keys that a table lists, some at a time.

Their scores stay in the processor's cache, and are computed again for the backward pass, as FlashAttention does (Dao et
al. 2022, arXiv 2205.14135).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from glassformer.parts.patterns import KeyBlocks, additive

PIECE = 2**19
"""Scores at a time for each thread: 2 MB in float32, about a core's share of the processor's cache."""


@dataclass(frozen=True)
class BlockTable:
    """The blocks of all heads of all sequences in one list, N = B · H · n_blocks of queries.

    Attributes:
        keys: int64 [N, K], indices among the B · G · n_blocks blocks of keys and values; −1: none.
        ends: [B · G · n_blocks + 1, size], −∞ at keys behind a sequence's last token, 0 at others; the last row,
            that of no block, is −∞ throughout.
        tile: [size, K · size], −∞ at pairs that the pattern leaves out, of every block the same; None: all are allowed.
    """

    keys: Tensor
    ends: Tensor
    tile: Tensor | None

    @classmethod
    def of(cls, found: KeyBlocks, q: Tensor, n_kv_heads: int, hidden: Tensor) -> BlockTable:
        """Of queries [B, H, T, d_head]; ``hidden`` are the keys that are not there, bool [B, n_blocks, size]."""
        n_rows, n_heads = q.shape[:2]
        n_blocks, most = found.blocks.shape[-2:]
        blocks = found.blocks.expand(n_rows, n_heads, -1, -1)
        rows = torch.arange(n_rows, device=q.device)[:, None, None, None]
        kv_heads = torch.arange(n_heads, device=q.device)[:, None, None] // (n_heads // n_kv_heads)
        keys = (rows * n_kv_heads + kv_heads) * n_blocks + blocks.clamp_max(n_blocks - 1)
        ends = additive(~hidden, wide(q.dtype))[:, None].expand(n_rows, n_kv_heads, -1, -1)
        return cls(
            torch.where(blocks < 0, -1, keys).reshape(-1, most),
            F.pad(ends.reshape(-1, found.size), (0, 0, 0, 1), value=float("-inf")),
            None if found.tile is None else additive(found.tile, wide(q.dtype)),
        )

    def mask(self, some: slice) -> Tensor:
        """What is added to the scores of some blocks of queries, broadcastable to [n, size, K · size]."""
        mask = self.ends[self.keys[some]].flatten(1)[:, None]
        return mask if self.tile is None else mask + self.tile

    def gathered(self, blocks: Tensor, some: slice) -> Tensor:
        """Of [B · G · n_blocks, size · d], the blocks that some blocks of queries need, [n, K · size, d]."""
        keys = self.keys[some]
        return blocks.index_select(0, keys.flatten().clamp_min(0)).view(len(keys), -1, blocks.shape[1] // self.size)

    def pieces(self, length: int) -> list[slice]:
        """All of them, some at a time, where a block of queries has ``length`` tokens."""
        at_once = max(1, PIECE * torch.get_num_threads() // (length * self.keys.shape[1] * self.size))
        return [slice(first, first + at_once) for first in range(0, len(self.keys), at_once)]

    def without(self, rows: Tensor, n_rows: int, n_heads: int) -> BlockTable:
        """The same, no keys for the queries of the blocks ``rows`` [B, R] (or [1, R])."""
        keys = self.keys.view(n_rows, n_heads, -1, self.keys.shape[1])
        index = rows[:, None, :, None].expand(n_rows, n_heads, -1, keys.shape[-1])
        return replace(self, keys=keys.scatter(2, index, -1).flatten(0, 2))

    @property
    def size(self) -> int:
        """Tokens of a block of keys."""
        return self.ends.shape[1]


class AttentionInPieces(torch.autograd.Function):
    """The heads of all queries; kept for the backward pass are Q, K, V, the output and one number a query.

    With ``rows``, these queries attend to every key of their sequence instead. The backward pass computes the weights P
    again, from the logarithm of their sums (algorithm 4): dV = Pᵀ dO, dS = P ∘ (dO Vᵀ − rowsum(dO ∘ O)),
    dQ = scale · dS K, dK = scale · dSᵀ Q.
    """

    @staticmethod
    def forward(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        keys: Tensor,
        ends: Tensor,
        tile: Tensor | None,
        rows: Tensor | None,
    ) -> tuple[Tensor, ...]:
        """Q [B, H, T, d], K and V [B, G, T, d], the fields of a table, tokens [B, R] → heads [B, H, T, d], and for the
        backward pass the logarithms of the sums.
        """
        table = BlockTable(keys, ends, tile)
        with torch.autocast("cpu", enabled=False):
            heads, sums = _forward(q.reshape(-1, table.size, q.shape[-1]), k, v, table, scale)
            heads = heads.view(q.shape)
            if rows is None:
                return heads, sums, sums
            at, every = _at(rows, q), _every_key(table, q, k)
            own, sums_of_rows = _forward(q.reshape(-1, *q.shape[2:])[at], k, v, every, scale)
            heads.flatten(0, 1)[at] = own
        return heads, sums, sums_of_rows

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        q, k, v, ctx.scale, *table = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(q, k, v, *output, *table)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, heads, sums, sums_of_rows, keys, ends, tile, rows = ctx.saved_tensors
        table, scale = BlockTable(keys, ends, tile), ctx.scale
        dk, dv = (
            torch.zeros_like(k, memory_format=torch.contiguous_format),
            torch.zeros_like(v, memory_format=torch.contiguous_format),
        )
        queries, outputs, given = (x.reshape(-1, table.size, q.shape[-1]) for x in (q, heads, upstream))
        dq = _backward(queries, k, v, outputs, given, sums, table, scale, dk, dv).view(q.shape)
        if rows is not None:
            at, every = _at(rows, q), _every_key(table, q, k)
            queries, outputs, given = (x.flatten(0, 1)[at] for x in (q, heads, upstream))
            dq.reshape(-1, *q.shape[2:])[at] = _backward(
                queries, k, v, outputs, given, sums_of_rows, every, scale, dk, dv
            )
        return dq, dk, dv, None, None, None, None, None


def _at(rows: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
    """The index of tokens [B, R] of every head in [B · H, T]."""
    index = rows[:, None].expand(len(q), q.shape[1], -1).flatten(0, 1)
    return torch.arange(len(index), device=q.device)[:, None], index


def _every_key(table: BlockTable, q: Tensor, k: Tensor) -> BlockTable:
    """One block of queries for each head, and one of keys for each key-value head of a sequence."""
    n_rows, n_heads, n_kv_heads = len(q), q.shape[1], k.shape[1]
    kv_heads = torch.arange(n_heads, device=q.device) // (n_heads // n_kv_heads)
    keys = torch.arange(n_rows, device=q.device)[:, None] * n_kv_heads + kv_heads
    return BlockTable(keys.reshape(-1, 1), table.ends[:-1].view(n_rows * n_kv_heads, -1), None)


def _forward(q: Tensor, k: Tensor, v: Tensor, table: BlockTable, scale: float) -> tuple[Tensor, Tensor]:
    """Blocks of queries [N, L, d], keys and values [B, G, T, d] → their heads, and the logarithms of sums [N, L, 1]."""
    k_blocks, v_blocks = in_blocks(k, table.size), in_blocks(v, table.size)
    heads, sums = torch.empty_like(q), table.ends.new_empty(*q.shape[:2], 1)
    limits = torch.finfo(sums.dtype)
    for some in table.pieces(q.shape[1]):
        scores = _products(q[some], table.gathered(k_blocks, some), scale).add_(table.mask(some))
        most = scores.amax(-1, keepdim=True).clamp_min_(limits.min)  # of a row of −∞, too
        total = scores.sub_(most).exp_().sum(-1, keepdim=True).clamp_min_(limits.tiny)
        heads[some] = torch.bmm(scores.to(v.dtype), table.gathered(v_blocks, some)).div_(total)
        sums[some] = most + total.log_()
    return heads, sums


def _backward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    heads: Tensor,
    upstream: Tensor,
    sums: Tensor,
    table: BlockTable,
    scale: float,
    dk: Tensor,
    dv: Tensor,
) -> Tensor:
    """The gradient dQ [N, L, d]; dK and dV are added to ``dk`` and ``dv``."""
    k_blocks, v_blocks, dk_blocks, dv_blocks = (in_blocks(x, table.size) for x in (k, v, dk, dv))
    dq = torch.empty_like(q)
    for some in table.pieces(q.shape[1]):
        own, given = q[some], upstream[some]
        near, values = table.gathered(k_blocks, some), table.gathered(v_blocks, some)
        weights = _products(own, near, scale).add_(table.mask(some)).sub_(sums[some]).exp_()
        falling = (given * heads[some]).sum(-1, keepdim=True, dtype=weights.dtype)
        slopes = _products(given, values, 1.0).sub_(falling).mul_(weights).to(q.dtype)
        dq[some] = torch.bmm(slopes, near).mul_(scale)
        index = table.keys[some].flatten().clamp_min(0)  # a block that is not there has no weight
        dk_blocks.index_add_(0, index, torch.bmm(slopes.transpose(1, 2), own * scale).view(len(index), -1))
        dv_blocks.index_add_(0, index, torch.bmm(weights.to(q.dtype).transpose(1, 2), given).view(len(index), -1))
    return dq


def _products(x: Tensor, y: Tensor, scale: float) -> Tensor:
    """The table scale · X Yᵀ of each block, in at least float32."""
    nothing = x.new_empty(1, 1, 1)
    return torch.baddbmm(nothing, x, y.transpose(1, 2), beta=0, alpha=scale).to(wide(x.dtype))


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which weights are summed: at least float32."""
    return torch.promote_types(dtype, torch.float32)


def in_blocks(x: Tensor, size: int) -> Tensor:
    """[B, G, T, d] → [B · G · n_blocks, size · d]."""
    return x.reshape(-1, size * x.shape[-1])

"""Which keys a query may attend to, as an object that answers for any pair of them.

Causal (4 tokens)      Padding (the last is a pad)     Causal() & Padding(…)
      k0 k1 k2 k3            k0 k1 k2 k3                    k0 k1 k2 k3
  q0   ■  ·  ·  ·        q0   ■  ■  ■  ·                q0   ■  ·  ·  ·
  q1   ■  ■  ·  ·        q1   ■  ■  ■  ·                q1   ■  ■  ·  ·
  q2   ■  ■  ■  ·        q2   ■  ■  ■  ·                q2   ■  ■  ■  ·
  q3   ■  ■  ■  ■        q3   ■  ■  ■  ■                q3   ■  ■  ■  ■

A pad may always attend to itself: nobody reads what it computes, and no row of the softmax is ever empty (an empty row
is 0/0). What is hidden gets −∞, never a large finite number, so its weight is exactly 0.

A pattern is dense (a table of booleans, its picture too), gathered (for each block of queries, the blocks of keys that
it needs: :mod:`glassformer.parts.gathered`), or a block mask of FlexAttention; the three are of the same pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

WIDEST_BLOCK = 64
"""Tokens: matrices of 64 × d_head keep a core of a CPU busy, and wider blocks form more scores than a window has."""


@dataclass(frozen=True)
class KeyBlocks:
    """Which blocks of keys each block of queries attends to, in blocks of ``size`` tokens; no block twice.

    Attributes:
        blocks: int64 [B, H, n_blocks, K], indices of blocks; −1 where there are fewer. B and H are 1 where sequences
            or heads do not differ.
        tile: bool [size, K · size], which pairs of them are allowed, of every block of queries the same; None: all.
        rows: int64 [B, R], blocks of queries that attend to every key instead; None: there are none.
    """

    size: int
    blocks: Tensor
    tile: Tensor | None = None
    rows: Tensor | None = None

    def n_scores(self, n_tokens: int) -> int:
        """Scores that are formed, of one head of one sequence; a table of all pairs has ``n_tokens``²."""
        n_blocks, most = self.blocks.shape[-2:]
        full = 0 if self.rows is None else self.rows.shape[-1]
        return self.size * (n_blocks * most * self.size + full * n_tokens)


@dataclass(frozen=True)
class Pattern:
    """The interface. Patterns combine by ``&`` (both allow it) and ``|`` (either does)."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        """Element by element: whether the token with index ``query`` may attend to the one with index ``key``.

        Args:
            query, key, row, head: integers that broadcast together; ``row`` is the sequence's index in the batch.
        """
        raise NotImplementedError

    @property
    def n_rows(self) -> int | None:
        """Sequences that it is of; None where it is the same for any."""
        return None

    @property
    def n_heads(self) -> int | None:
        """Heads that it is of; None where it is the same for any."""
        return None

    @property
    def lookback(self) -> int | None:
        """The most recent tokens, the query itself included, beyond which it hides all earlier ones; None: no bound."""
        return None

    def with_lengths(self, lengths: Tensor | int) -> Pattern:
        """The pattern in sequences of so many tokens, one number for all or [B]; for most it is the same."""
        return self

    def key_blocks(
        self, n_tokens: int, lengths: Tensor | None, *, causal: bool, device: torch.device
    ) -> KeyBlocks | None:
        """The blocks of keys that each block of queries needs; None for a pattern that is only evaluated densely.

        Args:
            lengths: real tokens of each sequence [B], the others being pads behind them; None where there are no pads.
            causal: leave out later keys.
        """
        return None

    def dense(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Indices [T] and [S], or [B, T] and [B, S] → bool [T, S], or [B, T, S] where sequences differ.

        Where heads differ it is [B, H, T, S], or [1, H, T, S].
        """
        query, key, zero = queries[..., :, None], keys[..., None, :], queries.new_zeros(())
        rows = zero if self.n_rows is None else torch.arange(self.n_rows, device=queries.device)[:, None, None]
        if self.n_heads is None:
            return self.allows(query, key, rows, zero)
        query, key, rows = (each[:, None] if each.dim() == 3 else each for each in (query, key, rows))
        table = self.allows(query, key, rows, torch.arange(self.n_heads, device=queries.device)[:, None, None])
        return table if table.dim() == 4 else table[None]

    def block_mask(self, n_queries: int, n_keys: int, device: torch.device | str = "cpu") -> BlockMask:
        """The same for ``torch.nn.attention.flex_attention``, which leaves out whole blocks on a GPU."""
        from torch.nn.attention.flex_attention import create_block_mask  # imports the compiler

        return create_block_mask(
            lambda row, head, query, key: self.allows(query, key, row, head),
            self.n_rows,
            self.n_heads,
            n_queries,
            n_keys,
            device=str(device),
        )

    def __and__(self, other: Pattern) -> Pattern:
        return Both(self, other)

    def __or__(self, other: Pattern) -> Pattern:
        return Either(self, other)


@dataclass(frozen=True)
class Everything(Pattern):
    """Every key: an encoder's."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return (query >= 0) & (key >= 0)


@dataclass(frozen=True)
class Causal(Pattern):
    """The keys at the query's own index and before."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return key <= query


@dataclass(frozen=True)
class Window(Pattern):
    """The keys fewer than ``size`` tokens away, on either side (Beltagy et al. 2020, arXiv 2004.05150).

    With :class:`Causal` these are ``size`` keys, the query itself included.
    """

    size: int

    @property
    def lookback(self) -> int:
        return self.size

    @property
    def block_size(self) -> int:
        """Of the gathered blocks: a power of two, about half a window or less, and at most 64 tokens."""
        return min(WIDEST_BLOCK, 1 << max(0, self.size.bit_length() - 2))

    def key_blocks(self, n_tokens: int, lengths: Tensor | None, *, causal: bool, device: torch.device) -> KeyBlocks:
        size = self.block_size
        reach, n_blocks = -(-(self.size - 1) // size), -(-n_tokens // size)
        offsets = torch.arange(-reach, 1 if causal else reach + 1, device=device)
        blocks = torch.arange(n_blocks, device=device)[:, None] + offsets
        within = torch.arange(size, device=device)
        keys = (offsets[:, None] * size + within).flatten()  # relative to the block's first query
        near = (within[:, None] - keys).abs() < self.size
        tile = near & (keys <= within[:, None]) if causal else near
        return KeyBlocks(size, blocks.masked_fill(blocks >= n_blocks, -1).clamp_min(-1)[None, None], tile)

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return (query - key).abs() < self.size


@dataclass(frozen=True)
class Blocks(Pattern):
    """The keys of the query's block of ``size`` tokens, and of the ``reach`` blocks on either side."""

    size: int
    reach: int = 0

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return (query // self.size - key // self.size).abs() <= self.reach


@dataclass(frozen=True, eq=False)
class Padding(Pattern):
    """No pads, but for a pad itself.

    Attributes:
        pads: bool [B, S], True where a token is a pad.
    """

    pads: Tensor

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return ~self.pads[row, key] | (query == key)

    @property
    def n_rows(self) -> int:
        return len(self.pads)


@dataclass(frozen=True, eq=False)
class LeftPadding(Pattern):
    """The same for rows that are padded on the left, as a cache's are.

    Attributes:
        starts: int [B], the first token of each row that is no pad.
    """

    starts: Tensor

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return (key >= self.starts[row]) | (query == key)

    @property
    def n_rows(self) -> int:
        return len(self.starts)


@dataclass(frozen=True, eq=False)
class SourcePadding(Pattern):
    """Across, from another sequence: no pads of the source; a source of nothing but pads is seen as it stands.

    source k0 k1 k2 and one pad     k0 k1 k2 k3
                 every query        ■  ■  ■  ·

    Attributes:
        pads: bool [B, S], of the source.
    """

    pads: Tensor

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return ~self.pads[row, key] | self.pads.all(-1)[row]

    @property
    def n_rows(self) -> int:
        return len(self.pads)


@dataclass(frozen=True, eq=False)
class Listed(Pattern):
    """The pairs that a table lists.

    Attributes:
        table: bool [B, T, S].
    """

    table: Tensor

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return self.table[row, query, key]

    def dense(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.table

    @property
    def n_rows(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class _Pair(Pattern):
    """Two patterns that become one."""

    first: Pattern
    second: Pattern

    @property
    def n_rows(self) -> int | None:
        return self.first.n_rows or self.second.n_rows

    @property
    def n_heads(self) -> int | None:
        return self.first.n_heads or self.second.n_heads

    def with_lengths(self, lengths: Tensor | int) -> Pattern:
        return type(self)(self.first.with_lengths(lengths), self.second.with_lengths(lengths))


@dataclass(frozen=True)
class Both(_Pair):
    """What two patterns allow: ``first & second``."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return self.first.allows(query, key, row, head) & self.second.allows(query, key, row, head)

    @property
    def lookback(self) -> int | None:
        bounds = [each.lookback for each in (self.first, self.second) if each.lookback is not None]
        return min(bounds, default=None)


@dataclass(frozen=True)
class Either(_Pair):
    """What either of two patterns allows: ``first | second``."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        return self.first.allows(query, key, row, head) | self.second.allows(query, key, row, head)

    @property
    def lookback(self) -> int | None:
        first, second = self.first.lookback, self.second.lookback
        return None if first is None or second is None else max(first, second)


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be attended to, −∞ where not; added to the scores before the softmax."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, float("-inf"))

"""Which keys a query may attend to, as an object that answers for any pair of them.

Causal (4 tokens)      Padding (the last is a pad)     Causal() & Padding(…)
      k0 k1 k2 k3            k0 k1 k2 k3                    k0 k1 k2 k3
  q0   ■  ·  ·  ·        q0   ■  ■  ■  ·                q0   ■  ·  ·  ·
  q1   ■  ■  ·  ·        q1   ■  ■  ■  ·                q1   ■  ■  ·  ·
  q2   ■  ■  ■  ·        q2   ■  ■  ■  ·                q2   ■  ■  ■  ·
  q3   ■  ■  ■  ■        q3   ■  ■  ■  ■                q3   ■  ■  ■  ■

A pad may always attend to itself: nobody reads what it computes, and no row of the softmax is ever empty (an empty row
is 0/0). What is hidden gets −∞, never a large finite number, so its weight is exactly 0.

A pattern is dense (a table of booleans), gathered (for each block of queries, the blocks of keys that it needs:
:mod:`glassformer.parts.gathered`), or a block mask of FlexAttention; the three are of the same pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask


@dataclass(frozen=True)
class Pattern:
    """The interface. Patterns combine by ``&`` (both allow it) and ``|`` (either does)."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        """Element by element: whether the token with index ``query`` may attend to the one with index ``key``.

        Args:
            query, key, row: integers that broadcast together; ``row`` is the sequence's index in the batch.
        """
        raise NotImplementedError

    @property
    def n_rows(self) -> int | None:
        """Sequences that it is of; None where it is the same for any."""
        return None

    def dense(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Indices [T] and [S], or [B, T] and [B, S] → bool [T, S], or [B, T, S] where sequences differ."""
        query, key = queries[..., :, None], keys[..., None, :]
        if self.n_rows is None:
            return self.allows(query, key, query.new_zeros(()))
        return self.allows(query, key, torch.arange(self.n_rows, device=queries.device)[:, None, None])

    def block_mask(self, n_queries: int, n_keys: int, device: torch.device | str = "cpu") -> BlockMask:
        """The same for ``torch.nn.attention.flex_attention``, which leaves out whole blocks on a GPU."""
        from torch.nn.attention.flex_attention import create_block_mask  # imports the compiler

        return create_block_mask(
            lambda row, _head, query, key: self.allows(query, key, row),
            self.n_rows,
            None,
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

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return (query >= 0) & (key >= 0)


@dataclass(frozen=True)
class Causal(Pattern):
    """The keys at the query's own index and before."""

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return key <= query


@dataclass(frozen=True)
class Window(Pattern):
    """The keys fewer than ``size`` tokens away, on either side (Beltagy et al. 2020, arXiv 2004.05150)."""

    size: int

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return (query - key).abs() < self.size


@dataclass(frozen=True)
class Blocks(Pattern):
    """The keys of the query's block of ``size`` tokens, and of the ``reach`` blocks on either side."""

    size: int
    reach: int = 0

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return (query // self.size - key // self.size).abs() <= self.reach


@dataclass(frozen=True, eq=False)
class Padding(Pattern):
    """No pads, but for a pad itself.

    Attributes:
        pads: bool [B, S], True where a token is a pad.
    """

    pads: Tensor

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
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

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
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

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
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

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return self.table[row, query, key]

    def dense(self, queries: Tensor, keys: Tensor) -> Tensor:
        return self.table

    @property
    def n_rows(self) -> int:
        return len(self.table)


@dataclass(frozen=True)
class Both(Pattern):
    """What two patterns allow: ``first & second``."""

    first: Pattern
    second: Pattern

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return self.first.allows(query, key, row) & self.second.allows(query, key, row)

    @property
    def n_rows(self) -> int | None:
        return self.first.n_rows or self.second.n_rows


@dataclass(frozen=True)
class Either(Pattern):
    """What either of two patterns allows: ``first | second``."""

    first: Pattern
    second: Pattern

    def allows(self, query: Tensor, key: Tensor, row: Tensor) -> Tensor:
        return self.first.allows(query, key, row) | self.second.allows(query, key, row)

    @property
    def n_rows(self) -> int | None:
        return self.first.n_rows or self.second.n_rows


def additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where a key may be attended to, −∞ where not; added to the scores before the softmax."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))

"""BigBird's pattern: a window, global and random blocks of tokens (Zaheer et al. 2020, arXiv 2007.14062, ITC).

Blocks of a sequence of 10, of one head: 3 window blocks, 2 global ones, 1 random one; at the right the causal variant.

    bidirectional            causal
    ■ ■ ■ ■ ■ ■ ■ ■ ■ ■      ■ · · · · · · · · ·
    ■ ■ ■ · · ■ · · · ■      ■ ■ · · · · · · · ·
    ■ ■ ■ ■ · ■ · · · ■      ■ ■ ■ · · · · · · ·
    ■ · ■ ■ ■ · · · ■ ■      ■ ■ ■ ■ · · · · · ·
    ■ · · ■ ■ ■ · ■ · ■      ■ ■ ■ ■ ■ · · · · ·
    ■ ■ · · ■ ■ ■ · · ■      ■ ■ ■ · ■ ■ · · · ·
    ■ ■ · · · ■ ■ ■ · ■      ■ ■ ■ · · ■ ■ · · ·
    ■ · · ■ · · ■ ■ ■ ■      ■ ■ · · ■ · ■ ■ · ·
    ■ · · · ■ · · ■ ■ ■      ■ ■ · · · ■ · ■ ■ ·
    ■ ■ ■ ■ ■ ■ ■ ■ ■ ■      ■ ■ ■ · · · · · ■ ■

The paper's global blocks are the first and the last, and their queries attend to every key. A causal model cannot know
which block will be the last, so all its global blocks are the first ones; and a later block is never seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from glassformer.parts.patterns import KeyBlocks, Pattern


@dataclass(frozen=True, eq=False)
class BigBird(Pattern):
    """The blocks of the window, the global blocks, and random blocks, each once.

    Attributes:
        size: tokens of a block.
        window: blocks of the window, an odd number: the query's own and as many on either side.
        n_global: global blocks; half of them (rounded up) are the sequence's first, the others its last. With
            ``causal`` all are the first.
        draws: int64 [H, n_blocks, R], of which the random blocks are a function (:meth:`random_blocks`); None: none.
        causal: leave out later keys, and choose no later block at random.
        lengths: tokens of the sequences, one number for all or [B]; None where ``causal``, which needs none.
    """

    size: int
    window: int = 3
    n_global: int = 2
    draws: Tensor | None = None
    causal: bool = False
    lengths: Tensor | int | None = None

    def allows(self, query: Tensor, key: Tensor, row: Tensor, head: Tensor) -> Tensor:
        block, other = query // self.size, key // self.size
        inner = self._inner_end() if self.n_rows is None else self._inner_end()[row]
        near = (block - other).abs() <= self.reach
        allowed = near | (other < self.n_first) | (other >= inner)
        if not self.causal:
            allowed = allowed | (block < self.n_first) | (block >= inner)
        if self.draws is not None:
            chosen = self.random_blocks(self.draws.shape[1])  # [B, H, n_blocks, R]
            row, head = (row if len(chosen) > 1 else row * 0) + block * 0, head + block * 0  # no scalars as indices
            for each in chosen[row, head, block].unbind(-1):
                allowed = allowed | (other == each)
        return allowed & (key <= query) if self.causal else allowed

    @property
    def n_rows(self) -> int | None:
        return len(self.lengths) if isinstance(self.lengths, Tensor) and self.lengths.dim() else None

    @property
    def n_heads(self) -> int | None:
        return None if self.draws is None else self.draws.shape[0]

    @property
    def reach(self) -> int:
        """Blocks of the window on either side of the query's own."""
        return self.window // 2

    @property
    def n_first(self) -> int:
        """Global blocks at the beginning."""
        return self.n_global if self.causal else -(-self.n_global // 2)

    @property
    def n_last(self) -> int:
        """Global blocks at the end."""
        return self.n_global - self.n_first

    def with_lengths(self, lengths: Tensor | int) -> BigBird:
        return self if self.causal else replace(self, lengths=lengths)

    def random_blocks(self, n_blocks: int) -> Tensor:
        """The random blocks of the first ``n_blocks`` blocks of queries, int64 [B, H, n_blocks, R]; −1: no more.

        They are drawn without replacement from those that are neither global nor in the window: the j-th is number
        ``draws[…, j] mod (n − j)`` of the n − j that are left, so that every length has as many as it has room for.
        """
        assert self.draws is not None
        index = torch.arange(n_blocks, device=self.draws.device)
        inner = self._inner_end()
        inner = (inner if inner.dim() else inner[None])[:, None, None]  # [B, 1, 1]
        start = (index - self.reach).clamp_min(self.n_first)
        if self.causal:
            stop = there = start  # the later ones begin at no block
            n_free = (start - self.n_first)[None, None]
        else:
            start = torch.minimum(start, inner)
            stop = torch.minimum((index + self.reach + 1).clamp_min(self.n_first), inner)
            there, n_free = stop, start - self.n_first + inner - stop
        chosen: list[Tensor] = []
        for j, draw in enumerate(self.draws[None, :, :n_blocks].unbind(-1)):
            number = draw % (n_free - j).clamp_min(1)
            for each in torch.stack(chosen, -1).sort(-1).values.unbind(-1) if chosen else ():
                number = number + (number >= each)
            chosen.append(number)
        found = torch.stack(chosen, -1)
        block = found + self.n_first
        block = torch.where(block >= start[..., None], block + (there - start)[..., None], block)
        return torch.where(torch.arange(len(chosen), device=block.device) < n_free[..., None], block, -1)

    def key_blocks(self, n_tokens: int, lengths: Tensor | None, *, causal: bool, device: torch.device) -> KeyBlocks:
        assert causal == self.causal
        fitted = self.with_lengths(n_tokens if lengths is None else lengths)
        n_blocks = -(-n_tokens // self.size)
        index = torch.arange(n_blocks, device=device)[:, None]
        inner = fitted._inner_end().reshape(-1, 1, 1, 1).to(device)  # noqa: SLF001 (it is the same class's)
        first = torch.arange(self.n_first, device=device).expand(1, 1, n_blocks, -1)
        if causal:  # those that are later, or in the window, are not needed twice
            first = torch.where(first < index - self.reach, first, -1)
        last = inner + torch.arange(self.n_last, device=device)
        offsets = torch.arange(-self.reach, 1 if causal else self.reach + 1, device=device)
        near = (index + offsets)[None, None]
        if not causal:
            near = torch.where((near >= self.n_first) & (near < inner), near, -1)
        parts = [first, last.expand(-1, 1, n_blocks, -1), near.clamp_min(-1)]
        if self.draws is not None:
            parts.append(fitted.random_blocks(n_blocks))
        shape = [max(part.shape[axis] for part in parts) for axis in (0, 1)]
        blocks = torch.cat([part.expand(*shape, -1, -1) for part in parts], -1)
        if causal:
            return KeyBlocks(self.size, blocks, self._causal_tile(blocks.shape[-1], device))
        rows = torch.cat([first[0, 0, :1].expand(len(last), -1), last[:, 0, 0]], -1)
        return KeyBlocks(self.size, blocks, None, rows if self.n_global else None)

    def _inner_end(self) -> Tensor:
        """The first of the last global blocks, scalar or [B]; behind every block where there are none."""
        device = self.draws.device if self.draws is not None else None
        if self.causal:
            return torch.full((), 2**31, device=device)
        assert self.lengths is not None, "which blocks are the last is a matter of the sequence's length"
        lengths = torch.as_tensor(self.lengths, device=device)
        blocks = (lengths + self.size - 1) // self.size
        return (blocks - self.n_last).clamp_min(self.n_first)

    def _causal_tile(self, n_keys: int, device: torch.device) -> Tensor:
        """Every pair but the later ones of the query's own block, which is the last of the window."""
        tile = torch.ones(self.size, n_keys, self.size, dtype=torch.bool, device=device)
        own = self.n_first + self.reach
        tile[:, own] = tile[:, own].tril()
        return tile.flatten(1)


class RandomBlocks(nn.Module):
    """The draws of one layer's random blocks: a function of the model's seed and of the layer's name, and saved.

    Attributes:
        draws: int64 [n_heads, n_blocks, n_random], a buffer that checkpoints hold.
    """

    def __init__(self, n_heads: int, n_blocks: int, n_random: int) -> None:
        super().__init__()
        self.register_buffer("draws", torch.zeros(n_heads, n_blocks, n_random, dtype=torch.long))
        self.draws: Tensor
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw anew from torch's generator."""
        self.draws.random_(2**31)

    def of(self, pattern: BigBird) -> BigBird:
        """The pattern with this layer's blocks."""
        return replace(pattern, draws=self.draws)

    def extra_repr(self) -> str:
        n_heads, n_blocks, n_random = self.draws.shape
        return f"{n_heads} heads, {n_random} of {n_blocks} blocks"

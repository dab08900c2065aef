"""A stack of blocks over one sequence: embedding, blocks, final norm. A GPT is one with a head, a translator has two.

tokens [B, T] → embedding [B, T, d_model] → n_layers × block → final norm → [B, T, d_model]
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from glassformer.errors import DataError
from glassformer.models.assemble import make_block, make_norm, make_positions
from glassformer.models.config import ModelConfig
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.cache import KVCache
from glassformer.parts.context import Context
from glassformer.parts.cross_attention import Memory
from glassformer.parts.embeddings import Embedding
from glassformer.parts.losses import Losses, add_losses
from glassformer.parts.patterns import Causal, Everything, LeftPadding, Listed, Padding, Pattern
from glassformer.parts.probes import Probe


class Stack(nn.Module):
    """Token ids [B, T] → vectors [B, T, d_model].

    Args:
        rows: of the token table.
        n_layers: number of blocks.
        causal: whether a token attends to itself and the tokens before it only; an encoder's attends to all.
        cross: whether the blocks also attend to a memory, an encoder's output.
    """

    def __init__(
        self, config: ModelConfig, *, rows: int, n_layers: int, causal: bool = True, cross: bool = False
    ) -> None:
        super().__init__()
        self.config, self.n_layers, self.causal = config, n_layers, causal
        self.embedding = Embedding(
            rows,
            config.d_model,
            make_positions(config),
            tokens=config.embedding.tokens,
            scale=config.embedding.scale,
            types=config.embedding.types,
            norm=make_norm(config) if config.embedding.norm else None,
            dropout=config.dropout,
        )
        self.blocks = nn.ModuleList(make_block(config, layer, causal=causal, cross=cross) for layer in range(n_layers))
        self.final_norm = make_norm(config) if config.norm.final else nn.Identity()
        self.final = Probe()

    def run_blocks(
        self, tokens: Tensor, context: Context, cache: KVCache | None = None, memory: Memory | None = None
    ) -> Tensor:
        """The layers themselves, in a context that is ready: no value of a tensor decides anything here."""
        return self.run_blocks_with_losses(tokens, context, cache, memory)[0]

    def run_blocks_with_losses(
        self, tokens: Tensor, context: Context, cache: KVCache | None = None, memory: Memory | None = None
    ) -> tuple[Tensor, Losses]:
        """The same, and the sums of the layers' auxiliary losses."""
        losses: Losses = {}
        x = self.embedding(tokens, context.positions)
        for index, block in enumerate(self.blocks):
            layer_cache = cache.layers[index] if cache is not None and cache.layers else None
            x, own = block(x, context, layer_cache, None if memory is None else memory.layer(index), with_losses=True)
            losses = add_losses(losses, own)
        return self.final(self.final_norm(x)), losses

    def context(self, tokens: Tensor, padding: Tensor | None = None, counted: Tensor | None = None) -> Context:
        """Positions and masks of a whole sequence.

        Args:
            padding: bool [B, T], True where a token is a pad (at either end); positions are counted without pads.
            counted: bool [B, T], the tokens that count where a part takes statistics; all but pads unless given.

        Raises:
            DataError: more tokens than ``max_seq_len``.
        """
        length = tokens.shape[1]
        self.check_length(length)
        positions = torch.arange(length, device=tokens.device)
        pattern: Pattern = Causal() if self.causal else Everything()
        if padding is not None:
            positions = ((~padding).cumsum(1) - 1).clamp_min(0)  # [B, T]
            pattern = pattern & Padding(padding)
            counted = ~padding if counted is None else counted
        encoding = self.embedding.positions
        bias = encoding.bias(positions, positions)
        return Context(encoding, positions, pattern, bias, dtype=self.dtype, pads=padding, whole=True, counted=counted)

    def cached_context(self, tokens: Tensor, cache: KVCache) -> Context:
        """Positions and masks of new tokens behind those in the cache. Raises as :meth:`context` does."""
        start, end = cache.length, cache.length + tokens.shape[1]
        if end > cache.capacity:
            raise DataError(f"The cache has room for {cache.capacity} tokens and would hold {end}; make a larger one.")
        self.check_length(end)
        slots = torch.arange(start, end, device=tokens.device)
        if start == 0:  # all that there is to attend to
            padding = None if cache.starts is None else slots < cache.starts[:, None]
            return replace(self.context(tokens, padding), slots=slots, visible=end)
        if cache.starts is None and end - start == 1 and not self._biases_scores:
            return Context(self.embedding.positions, slots, Everything(), slots=slots, visible=end, dtype=self.dtype)
        return self.slot_context(slots, end, cache.starts)

    def slot_context(self, slots: Tensor, visible: int, starts: Tensor | None) -> Context:
        """A context from tensors alone: tokens at ``slots`` [T], looking at the first ``visible`` slots of a cache."""
        keys = torch.arange(visible, device=slots.device)
        query_positions, key_positions = slots, keys
        pattern: Pattern = Causal()
        if starts is not None:
            pattern = pattern & LeftPadding(starts)
            query_positions = (slots - starts[:, None]).clamp_min(0)  # [B, T]
            key_positions = (keys - starts[:, None]).clamp_min(0)
        context = self._context_of_slots(query_positions, key_positions, pattern, slots, queries=slots, keys=keys)
        return context if starts is None else replace(context, starts=starts)

    def masked_context(self, query_positions: Tensor, key_positions: Tensor, visible: Tensor, slots: Tensor) -> Context:
        """Tokens at ``slots`` [T] of a cache that attend to those of its first S slots that ``visible`` marks.

        Args:
            query_positions, key_positions: [T] or [B, T]; [S] or [B, S].
            visible: bool [B, T, S].
        """
        queries, keys = (torch.arange(size, device=slots.device) for size in visible.shape[-2:])
        pattern = Listed(visible)
        return self._context_of_slots(query_positions, key_positions, pattern, slots, queries=queries, keys=keys)

    def _context_of_slots(
        self,
        query_positions: Tensor,
        key_positions: Tensor,
        pattern: Pattern,
        slots: Tensor,
        *,
        queries: Tensor,
        keys: Tensor,
    ) -> Context:
        encoding = self.embedding.positions
        bias = encoding.bias(query_positions, key_positions)
        return Context(
            encoding,
            query_positions,
            pattern,
            bias,
            queries,
            keys,
            key_positions,
            slots,
            visible=len(keys),
            dtype=self.dtype,
        )

    def make_cache(
        self,
        batch_size: int,
        capacity: int | None = None,
        *,
        starts: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> KVCache:
        """An empty cache for this stack; ``capacity`` is ``max_seq_len`` unless given."""
        return KVCache(
            n_layers=self.n_layers if self.config.has_attention else 0,
            batch_size=batch_size,
            n_kv_heads=self.config.n_kv_heads,
            capacity=capacity or self.config.max_seq_len,
            d_head=self.config.d_head,
            dtype=dtype or self.dtype,
            device=self.device,
            starts=starts,
            windows=[_lookback(block.attention) for block in self.blocks] if self.config.has_attention else (),
        )

    @property
    def dtype(self) -> torch.dtype:
        """Of the weights."""
        return next(self.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Of the weights."""
        return next(self.parameters()).device

    @property
    def _biases_scores(self) -> bool:
        zero = torch.zeros(1, dtype=torch.long, device=self.device)
        return self.embedding.positions.bias(zero, zero) is not None

    def check_length(self, length: int) -> None:
        """Raise :class:`DataError` if a sequence of this length does not fit the model."""
        if length > self.config.max_seq_len:
            raise DataError(
                f"The sequence has {length} tokens, and the context length is {self.config.max_seq_len} (max_seq_len); "
                "shorten it, or let generation slide its window."
            )


def _lookback(attention: Any) -> int | None:
    """How many tokens back an attention looks; None: all, or it reads the cache in a way of its own."""
    if isinstance(attention, MultiHeadAttention) and type(attention).forward is MultiHeadAttention.forward:
        return None if attention.pattern is None else attention.pattern.lookback
    return None

"""The decoder-only Transformer: embedding, blocks, final norm, head.

tokens [B, T] → embedding [B, T, d_model] → n_layers × block → final norm → logits [B, T, vocab_size]
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from glassformer.errors import CheckpointError, ConfigError, DataError
from glassformer.models.config import ModelConfig
from glassformer.models.initialisation import draw_seed, initialise
from glassformer.parts.attention import Context
from glassformer.parts.blocks import Block
from glassformer.parts.cache import KVCache
from glassformer.parts.embeddings import Embedding
from glassformer.parts.feedforward import PointwiseConvolution
from glassformer.parts.masks import additive, causal_mask, padded_mask
from glassformer.parts.positions import PositionEncoding
from glassformer.parts.probes import Probe
from glassformer.registry import find


class Decoder(nn.Module):
    """A GPT, whatever its parts.

    Raises:
        ConfigError: a registered part refuses the options given for it.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        seed = draw_seed()  # before the parts, which draw too: variants of one seed start from the same weights
        self.config = config
        positions = _make(
            "positions",
            config.positions.kind,
            d_model=config.d_model,
            max_seq_len=config.max_seq_len,
            n_heads=config.attention.n_heads,
            d_head=config.d_head,
            theta=config.positions.theta,
            **config.positions.options,
        )
        self.embedding = Embedding(
            config.padded_vocab_size,
            config.d_model,
            cast("PositionEncoding", positions),
            tokens=config.embedding.tokens,
            scale=config.embedding.scale,
            dropout=config.dropout,
        )
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.n_layers))
        self.final_norm = _norm(config) if config.norm.final else nn.Identity()
        self.final = Probe()
        self.head = nn.Linear(config.d_model, config.padded_vocab_size, bias=config.head.bias)
        self.logits = Probe()
        initialise(self, config, seed)
        if config.head.tied:
            assert self.embedding.tokens is not None
            self.head.weight = self.embedding.tokens.weight

    def forward(self, tokens: Tensor, *, padding: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """Token ids [B, T] → logits [B, T, vocab_size] for the token after each.

        Args:
            padding: bool [B, T], True where a token is a pad (at either end); positions are counted without pads.
            cache: keys and values of the tokens before these; the new ones are added to it.

        Raises:
            DataError: more tokens than ``max_seq_len`` (or than the cache has room for).
        """
        return self.unembed(self.hidden(tokens, padding=padding, cache=cache))

    def hidden(self, tokens: Tensor, *, padding: Tensor | None = None, cache: KVCache | None = None) -> Tensor:
        """The same up to the head: [B, T, d_model] after the final norm."""
        if cache is None:
            return self.run(tokens, self.context(tokens, padding))
        hidden = self.run(tokens, self.cached_context(tokens, cache), cache)
        cache.length += tokens.shape[1]
        return hidden

    def run(self, tokens: Tensor, context: Context, cache: KVCache | None = None) -> Tensor:
        """The layers themselves, in a context that is ready: nothing here looks at a value."""
        x = self.embedding(tokens, context.positions)
        for index, block in enumerate(self.blocks):
            x = block(x, context, cache.layers[index] if cache is not None and cache.layers else None)
        final: Tensor = self.final(self.final_norm(x))
        return final

    def unembed(self, hidden: Tensor) -> Tensor:
        """[…, d_model] → logits […, vocab_size]; a padded vocabulary's extra columns are cut off."""
        logits = self.head(hidden)
        if self.config.padded_vocab_size != self.config.vocab_size:
            logits = logits[..., : self.config.vocab_size]
        probed: Tensor = self.logits(logits)
        return probed

    def context(self, tokens: Tensor, padding: Tensor | None = None) -> Context:
        """Positions and masks of a whole sequence."""
        length = tokens.shape[1]
        self._refuse_longer(length)
        index = torch.arange(length, device=tokens.device)
        positions = index
        if padding is not None:
            positions = ((~padding).cumsum(1) - 1).clamp_min(0)  # [B, T]
        bias = self.embedding.positions.bias(positions, positions)  # [H, T, T] or [B, H, T, T]
        if bias is None and padding is None:
            return Context(self.embedding.positions, positions)
        visible = causal_mask(index, index)
        if padding is not None:
            visible = padded_mask(visible, padding, index, index)[:, None]  # [B, 1, T, T]
        return Context(self.embedding.positions, positions, _combine(visible, bias, self.dtype))

    def cached_context(self, tokens: Tensor, cache: KVCache) -> Context:
        """Positions and masks of new tokens behind those in the cache."""
        start, end = cache.length, cache.length + tokens.shape[1]
        if end > cache.capacity:
            raise DataError(f"The cache has room for {cache.capacity} tokens and would hold {end}; make a larger one.")
        self._refuse_longer(end)
        slots = torch.arange(start, end, device=tokens.device)
        if cache.starts is None and end - start == 1 and not self._biases_scores:
            return Context(self.embedding.positions, slots, causal=False, slots=slots, visible=end)
        return self.slot_context(slots, end, cache.starts)

    def slot_context(self, slots: Tensor, visible: int, starts: Tensor | None) -> Context:
        """A context from tensors alone: tokens at ``slots`` [T], looking at the first ``visible`` slots of a cache."""
        keys = torch.arange(visible, device=slots.device)
        mask = causal_mask(slots, keys)  # [T, S]
        query_positions, key_positions = slots, keys
        if starts is not None:
            mask = padded_mask(mask, keys < starts[:, None], slots, keys)[:, None]  # [B, 1, T, S]
            query_positions = (slots - starts[:, None]).clamp_min(0)  # [B, T]
            key_positions = (keys - starts[:, None]).clamp_min(0)
        bias = self.embedding.positions.bias(query_positions, key_positions)
        combined = _combine(mask, bias, self.dtype)
        return Context(self.embedding.positions, query_positions, combined, slots=slots, visible=visible)

    def make_cache(
        self,
        batch_size: int,
        capacity: int | None = None,
        *,
        starts: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> KVCache:
        """An empty cache for this model; ``capacity`` is ``max_seq_len`` unless given."""
        return KVCache(
            n_layers=self.config.n_layers if self.config.has_attention else 0,
            batch_size=batch_size,
            n_kv_heads=self.config.n_kv_heads,
            capacity=capacity or self.config.max_seq_len,
            d_head=self.config.d_head,
            dtype=dtype or self.dtype,
            device=self.device,
            starts=starts,
        )

    def set_attention_path(self, path: str) -> None:
        """Take the "fused" or the "explicit" path in every layer; they compute the same function."""
        for block in self.blocks:
            if isinstance(block, Block) and block.has_attention:
                block.attention.path = path  # type: ignore[assignment] # a plain attribute of the module

    def named_weights(self) -> dict[str, Tensor]:
        """Every parameter and saved buffer once (a tied matrix has one name), as checkpoints hold them."""
        weights: dict[str, Tensor] = dict(self.named_parameters())
        persistent = self.state_dict(keep_vars=True)
        weights |= {name: buffer for name, buffer in self.named_buffers() if name in persistent}
        return weights

    @torch.no_grad()
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Copy in what :meth:`named_weights` gave. Raises :class:`CheckpointError` with all that does not fit."""
        own = self.named_weights()
        complaints = [f"{name} is missing" for name in own if name not in weights]
        complaints += [f"{name} is not of this model" for name in weights if name not in own]
        complaints += [
            f"{name} is {list(weights[name].shape)}, the model's is {list(weight.shape)}"
            for name, weight in own.items()
            if name in weights and weights[name].shape != weight.shape
        ]
        if complaints:
            shown = "; ".join(complaints[:8]) + (f"; and {len(complaints) - 8} more" if len(complaints) > 8 else "")
            raise CheckpointError(f"The weights do not fit the model: {shown}.")
        for name, weight in own.items():
            weight.copy_(weights[name])

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

    def _refuse_longer(self, length: int) -> None:
        if length > self.config.max_seq_len:
            raise DataError(
                f"The model looks at {self.config.max_seq_len} tokens (max_seq_len), and was given {length}; "
                "give it fewer, or let generation slide its window."
            )


def _block(config: ModelConfig) -> Block:
    attention = feedforward = None
    if config.has_attention:
        chosen = config.attention
        attention = _make(
            "attention",
            chosen.kind,
            config.d_model,
            chosen.n_heads,
            n_kv_heads=config.n_kv_heads,
            d_head=config.d_head,
            projection=chosen.projection,
            scale=chosen.scale,
            qk_norm=chosen.qk_norm,
            bias=chosen.bias,
            output_bias=chosen.bias if chosen.output_bias is None else chosen.output_bias,
            dropout=chosen.dropout,
            **chosen.options,
        )
    if config.has_feedforward:
        feedforward = _make(
            "feedforward",
            config.feedforward.kind,
            config.d_model,
            config.d_ff,
            bias=config.feedforward.bias,
            dropout=config.feedforward.dropout,
            linear=PointwiseConvolution if config.feedforward.convolution else nn.Linear,
            **config.feedforward.options,
        )
    return Block(
        attention=attention,
        feedforward=feedforward,
        norm=lambda: _norm(config),
        placement=config.norm.placement,
        attention_skip=config.residual in ("both", "attention"),
        feedforward_skip=config.residual in ("both", "feedforward"),
        dropout=config.dropout,
    )


def _norm(config: ModelConfig) -> nn.Module:
    norm = config.norm
    return _make("norm", norm.kind, config.d_model, eps=norm.eps, bias=norm.bias, **norm.options)


def _make(kind: str, name: str, *args: Any, **options: Any) -> nn.Module:
    """Build a registered part; an argument that its class does not take is the user's mistake, and is named."""
    part_class = find(kind, name)
    try:
        part: nn.Module = part_class(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{kind} '{name}' ({part_class.__qualname__}) refuses its options: {error}") from error
    return part


def _combine(visible: Tensor, bias: Tensor | None, dtype: torch.dtype) -> Tensor:
    mask = additive(visible, dtype)
    if bias is not None:
        mask = mask + bias.to(dtype)
    return mask if mask.dim() != 3 else mask[None]  # [1, H, T, S]: SDPA's fast CPU path takes no three axes

"""From a configuration to its parts: the one place where a name becomes a module."""

from __future__ import annotations

from typing import Any

from torch import nn

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.experts_config import ExpertsConfig
from glassformer.parts.bigbird import BigBird, RandomBlocks
from glassformer.parts.blocks import Block
from glassformer.parts.experts import Experts
from glassformer.parts.feedforward import LinearFactory, PointwiseConvolution
from glassformer.parts.head_transform import HeadTransform
from glassformer.parts.patterns import Window
from glassformer.registry import find


def make_part(kind: str, name: str, *args: Any, **options: Any) -> Any:
    """Build a registered part; an argument that its class does not take is the user's mistake, and is named.

    Raises:
        ConfigError: the part does not take the options given for it.
    """
    part_class = find(kind, name)
    try:
        return part_class(*args, **options)
    except TypeError as error:
        raise ConfigError(f"{kind} '{name}' ({part_class.__qualname__}) does not take its options: {error}") from error


def make_positions(config: ModelConfig) -> Any:
    """The position encoding of one stack."""
    return make_part(
        "positions",
        config.positions.kind,
        d_model=config.d_model,
        max_seq_len=config.max_seq_len,
        n_heads=config.attention.n_heads,
        d_head=config.d_head,
        theta=config.positions.theta,
        **config.positions.options,
    )


def make_norm(config: ModelConfig) -> nn.Module:
    """A norm of the residual stream."""
    norm = config.norm
    part: nn.Module = make_part("norm", norm.kind, config.d_model, eps=norm.eps, bias=norm.bias, **norm.options)
    return part


def make_head_transform(config: ModelConfig) -> nn.Module:
    """What a BERT does before its head."""
    return HeadTransform(config.d_model, lambda: make_norm(config), bias=config.feedforward.bias)


def make_block(config: ModelConfig, layer: int, *, causal: bool = True, cross: bool = False) -> Block:
    """The layer of this index; ``causal`` as its stack is, ``cross`` gives it cross-attention."""
    feedforward = None
    if config.has_feedforward:
        experts = config.feedforward.experts
        if experts is not None and experts.in_layer(layer):
            feedforward = _make_experts(config, experts)
        else:
            linear = PointwiseConvolution if config.feedforward.convolution else nn.Linear
            feedforward = _make_feedforward(config, config.d_ff, linear)
    attention = cross_attention = None
    if config.has_attention:
        pattern = make_pattern(config, layer, causal=causal)
        attention = _make_attention(config, "attention", config.attention.kind, **pattern, **config.attention.options)
        cross_attention = _make_attention(config, "cross-attention", config.attention.cross) if cross else None
    return Block(
        attention=attention,
        cross_attention=cross_attention,
        feedforward=feedforward,
        norm=lambda: make_norm(config),
        placement=config.norm.placement,
        attention_skip=config.residual in ("both", "attention"),
        feedforward_skip=config.residual in ("both", "feedforward"),
        dropout=config.dropout,
    )


def _make_feedforward(config: ModelConfig, d_ff: int, linear: LinearFactory) -> nn.Module:
    chosen = config.feedforward
    part: nn.Module = make_part(
        "feedforward",
        chosen.kind,
        config.d_model,
        d_ff,
        bias=chosen.bias,
        dropout=chosen.dropout,
        linear=linear,
        **chosen.options,
    )
    return part


def _make_experts(config: ModelConfig, experts: ExpertsConfig) -> nn.Module:
    d_ff = experts.d_ff or config.d_ff
    router = make_part(
        "router", experts.router, config.d_model, experts.n_experts, experts.n_active, **experts.router_options()
    )
    return Experts(
        router,
        lambda linear: _make_feedforward(config, d_ff, linear),
        shared=_make_feedforward(config, experts.n_shared * d_ff, nn.Linear) if experts.n_shared else None,
        balance=experts.balance_weight(),
        z_loss=experts.z_loss,
    )


def make_pattern(config: ModelConfig, layer: int, *, causal: bool) -> dict[str, Any]:
    """The arguments of a layer's attention that say who attends to whom; none where everybody does."""
    chosen = config.attention
    if chosen.pattern == "window":
        window = chosen.window_of(layer)
        return {} if window is None else {"pattern": Window(window)}
    if chosen.pattern == "bigbird":
        pattern = BigBird(chosen.block_size, chosen.window_blocks, chosen.global_blocks, causal=causal)
        blocks = -(-config.max_seq_len // chosen.block_size)
        draws = RandomBlocks(chosen.n_heads, blocks, chosen.random_blocks) if chosen.random_blocks else None
        return {"pattern": pattern, "random_blocks": draws}
    return {}


def _make_attention(config: ModelConfig, kind: str, name: str, **further: Any) -> nn.Module:
    chosen = config.attention
    part: nn.Module = make_part(
        kind,
        name,
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
        **further,
    )
    return part

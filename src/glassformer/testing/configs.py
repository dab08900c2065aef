"""The small models that are tested: a part in every use, a preset with its sizes cut, dropout on and off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.registry import load_part_file

DROPOUTS = ("dropout", "attention.dropout", "feedforward.dropout")


TRANSLATOR = {"n_encoder_layers": 1, "source_vocab_size": 19, "embedding.source": "own"}
ENCODER = {"family": "encoder"}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "norm": {
        "pre": {},
        "post": {"norm.placement": "post"},
        "without bias": {"norm.bias": False},
        "in an encoder": ENCODER,
        "in an encoder-decoder": {**TRANSLATOR, "norm.placement": "post"},
    },
    "feedforward": {
        "plain": {},
        "without bias, post-norm": {"feedforward.bias": False, "norm.placement": "post"},
        "as a convolution": {"feedforward.convolution": True},
        "in an encoder": ENCODER,
        "in an encoder-decoder": TRANSLATOR,
    },
    "positions": {
        "multi-head": {},
        "grouped queries": {"attention.n_kv_heads": 2},
        "one layer, untied": {"n_layers": 1, "head.tied": False, "head.bias": True},
        "in an encoder": ENCODER,
        "in an encoder-decoder": TRANSLATOR,
    },
    "attention": {
        "plain": {},
        "separate projections, no bias": {"attention.projection": "separate", "attention.bias": False},
        "one shared projection": {"attention.projection": "shared", "positions.kind": "rotary"},
        "grouped queries, QK-norm, rotary": {
            "attention.n_kv_heads": 2,
            "attention.qk_norm": "rmsnorm",
            "positions.kind": "rotary",
        },
        "one key head, ALiBi": {"attention.n_kv_heads": 1, "positions.kind": "alibi"},
        "wide heads, not scaled": {"attention.d_head": 8, "attention.scale": False},
        "in an encoder": ENCODER,
        "in an encoder-decoder": {**TRANSLATOR, "norm.placement": "post"},
    },
}
EXPERTS = {"feedforward.experts.n_experts": 4}
VARIANTS["router"] = {
    "two of four, SwiGLU": {"feedforward.kind": "swiglu", **EXPERTS},
    "one of four, unchanged weights, post-norm": {
        **EXPERTS,
        "feedforward.experts.n_active": 1,
        "norm.placement": "post",
    },
    "narrow and shared, every second layer, without bias": {
        "feedforward.experts.n_experts": 5,
        "feedforward.experts.n_active": 3,
        "feedforward.experts.d_ff": 7,
        "feedforward.experts.n_shared": 2,
        "feedforward.experts.every": 2,
        "feedforward.experts.z_loss": 0.001,
        "feedforward.bias": False,
    },
    "in an encoder": {**EXPERTS, **ENCODER},
    "in an encoder-decoder": {**EXPERTS, **TRANSLATOR},
}
VARIANTS["cross-attention"] = {
    variant: {**TRANSLATOR, **changes}
    for variant, changes in VARIANTS["attention"].items()
    if variant not in ("in an encoder", "in an encoder-decoder")
}
"""What is particular about each small model that a part is put into."""


def part_configs(
    kind: str, name: str, *, options: Mapping[str, Any] | None = None, part_files: Sequence[str | Path] = ()
) -> dict[str, ModelConfig]:
    """Small models that use the part in every way it can be used, by what is particular about each.

    Args:
        kind: norm, feedforward, positions, attention, cross-attention or router.

    Raises:
        ConfigError: options for a cross-attention, which a configuration has no place for.
    """
    if kind == "cross-attention" and options:
        raise ConfigError(f"Cross-attention '{name}' was given options ({', '.join(options)}), and takes none.")
    for path in part_files:
        load_part_file(path)
    base = ModelConfig.build(
        {
            "vocab_size": 23,
            "max_seq_len": 12,
            "d_model": 16,
            "n_layers": 2,
            "attention": {"n_heads": 4},
            "feedforward": {"d_ff": 24},
            "part_files": [str(path) for path in part_files],
        }
    )
    used = {f"{kind}.kind": name, f"{kind}.options": dict(options or {})}
    if kind == "cross-attention":
        used = {"attention.cross": name}
    elif kind == "router":
        used = {"feedforward.experts.router": name, "feedforward.experts.options": dict(options or {})}
    variants = dict(VARIANTS[kind])
    if kind == "norm" and not options:  # there it is made without any
        variants["of queries and keys"] = {"attention.qk_norm": name, "norm.kind": "layernorm"}
    return {variant: base.override(changes | used) for variant, changes in variants.items()}


def shrunk(config: ModelConfig) -> ModelConfig:
    """The same model, small enough to test often: what is a choice is kept, what is a size is cut.

    At most 2 layers in a stack, 4 query heads (key heads in proportion) 8 wide, context 16, vocabularies of 61, 4
    experts, 2 of them for a token; d_ff in proportion.
    """
    n_heads = min(config.attention.n_heads, 4)
    group = min(config.attention.n_heads // config.n_kv_heads, n_heads)
    while n_heads % group:
        group -= 1
    d_head = min(config.d_head, 8)
    d_model = n_heads * d_head
    experts = {}
    if (chosen := config.feedforward.experts) is not None:
        experts = {
            "feedforward.experts.n_experts": min(chosen.n_experts, 4),
            "feedforward.experts.n_active": min(chosen.n_active, 2),
            "feedforward.experts.d_ff": chosen.d_ff and max(1, chosen.d_ff * d_model // config.d_model),
        }
    return config.override(
        {
            "n_layers": min(config.n_layers, 2),
            "n_encoder_layers": config.n_encoder_layers and min(config.n_encoder_layers, 2),
            "source_vocab_size": config.source_vocab_size and min(config.source_vocab_size, 61),
            "d_model": d_model,
            "vocab_size": min(config.vocab_size, 61),
            "max_seq_len": min(config.max_seq_len, 16),
            "attention.n_heads": n_heads,
            "attention.n_kv_heads": None if config.attention.n_kv_heads is None else n_heads // group,
            "attention.d_head": None if config.attention.d_head is None else d_head,
            "feedforward.d_ff": config.feedforward.d_ff and max(1, config.d_ff * d_model // config.d_model),
            **experts,
        }
    )


def without_dropout(config: ModelConfig) -> ModelConfig:
    """The model with all dropout off."""
    return config.override(dict.fromkeys(DROPOUTS, 0.0))


def with_dropout(config: ModelConfig) -> ModelConfig:
    """The model with dropout everywhere."""
    return config.override(dict.fromkeys(DROPOUTS, 0.25))

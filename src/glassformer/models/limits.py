"""Whether the matrices of a model can be made anywhere, even without memory."""

from __future__ import annotations

from glassformer.errors import ConfigError
from glassformer.models.config import ModelConfig
from glassformer.models.family import family_of

MOST_VALUES = 2**58
"""Of one matrix: more bytes than torch can address."""


def check_shape(config: ModelConfig) -> None:
    """Raise :class:`ConfigError` if the model has a larger matrix than can be made anywhere, even without memory."""
    found = [
        f"{name} is {side:,} and d_model {config.d_model:,}: no matrix can be so large."
        for name, side in sides(config).items()
        if side * config.d_model >= MOST_VALUES
    ]
    if found:
        raise ConfigError(found, subject="model")


def sides(config: ModelConfig) -> dict[str, int]:
    """What d_model is multiplied by in a matrix or a table."""
    return {
        "vocab_size (with pad_vocab_to)": config.padded_vocab_size,
        "source_vocab_size (with pad_vocab_to)": sum(source.rows for source in family_of(config).inputs(config)[:-1]),
        "max_seq_len": config.max_seq_len,
        "d_model": config.d_model,
        "feedforward.d_ff": config.d_ff,
        **_sides_of_experts(config),
        "attention.n_heads × d_head": max(config.attention.n_heads, config.n_kv_heads) * config.d_head,
    }


def _sides_of_experts(config: ModelConfig) -> dict[str, int]:
    experts = config.feedforward.experts
    if experts is None:
        return {}
    d_ff = experts.d_ff or config.d_ff
    return {
        "feedforward.experts.n_experts × d_ff": experts.n_experts * d_ff,
        "feedforward.experts.n_shared × d_ff": experts.n_shared * d_ff,
    }

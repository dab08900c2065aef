"""Models of the literature by name. Each is a function that returns its configuration and cites its source.

A preset may carry the recipe it was trained with, as dotted settings; a vocabulary size is the published one, and
training on another text replaces it with that text's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from glassformer.errors import ConfigError, nearest
from glassformer.models.config import (
    AttentionConfig,
    EmbeddingConfig,
    FeedForwardConfig,
    HeadConfig,
    InitialisationConfig,
    ModelConfig,
    NormConfig,
    PositionConfig,
)

GPT2_VOCABULARY = 50_257
SHAKESPEARE_VOCABULARY = 65  # distinct characters of tiny-shakespeare


@dataclass(frozen=True)
class Preset:
    """A named model.

    Attributes:
        model: the configuration.
        n_parameters: the exact count, every parameter once.
        source: where it is from.
        recipe: settings it was trained with (``{"training.batch_size": 12}``), if it has its own.
    """

    name: str
    model: ModelConfig
    n_parameters: int
    source: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


_builders: dict[str, tuple[Callable[[], ModelConfig], int, Mapping[str, Any]]] = {}


def preset_names() -> list[str]:
    """The names of all presets, in the order they are declared."""
    return list(_builders)


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: there is none of that name; the nearest is suggested.
    """
    if name not in _builders:
        raise ConfigError(f"There is no preset '{name}'. {nearest(name, _builders)}", subject="model")
    build, n_parameters, recipe = _builders[name]
    source = " ".join((build.__doc__ or "").split())
    return Preset(name=name, model=build(), n_parameters=n_parameters, source=source, recipe=recipe)


def _preset(
    name: str, n_parameters: int, recipe: Mapping[str, Any] | None = None
) -> Callable[[Callable[[], ModelConfig]], Callable[[], ModelConfig]]:
    def put(build: Callable[[], ModelConfig]) -> Callable[[], ModelConfig]:
        _builders[name] = (build, n_parameters, recipe or {})
        return build

    return put


@_preset(
    "tiny-transformer",
    45_953,
    {
        "training.batch_size": 32,
        "training.max_steps": 46_500,
        "training.optimizer.learning_rate": 1e-3,
        "training.optimizer.weight_decay": 0.01,
        "training.schedule.kind": "constant",
        "training.grad_clip": None,
    },
)
def tiny_transformer() -> ModelConfig:
    """One post-norm layer for tiny-shakespeare's characters, from the study notes behind this project."""
    return ModelConfig(
        vocab_size=SHAKESPEARE_VOCABULARY,
        max_seq_len=64,
        d_model=64,
        n_layers=1,
        attention=AttentionConfig(n_heads=2, projection="separate"),
        feedforward=FeedForwardConfig(kind="relu", d_ff=128),
        norm=NormConfig(placement="post", final=False),
        head=HeadConfig(tied=False, bias=True),
        initialisation=InitialisationConfig(scheme="torch"),
    )


@_preset(
    "lecture-gpt",
    10_788_929,
    {
        "training.batch_size": 64,
        "training.max_steps": 5_000,
        "training.optimizer.learning_rate": 3e-4,
        "training.optimizer.weight_decay": 0.01,
        "training.schedule.kind": "constant",
        "training.grad_clip": None,
    },
)
def lecture_gpt() -> ModelConfig:
    """The GPT of A. Karpathy's lecture "Let's build GPT" (2023, github karpathy/ng-video-lecture, gpt.py)."""
    return ModelConfig(
        vocab_size=SHAKESPEARE_VOCABULARY,
        max_seq_len=256,
        d_model=384,
        n_layers=6,
        attention=AttentionConfig(n_heads=6, projection="separate", bias=False, output_bias=True, dropout=0.2),
        feedforward=FeedForwardConfig(kind="relu"),
        head=HeadConfig(tied=False, bias=True),
        initialisation=InitialisationConfig(scale_residual=False),
        dropout=0.2,
    )


MINGPT_RECIPE = {
    "data.tokenizer": "gpt2",
    "training.batch_size": 64,
    "training.optimizer.learning_rate": 3e-4,
    "training.optimizer.weight_decay": 0.1,
    "training.optimizer.beta2": 0.95,
    "training.schedule.kind": "constant",
    "training.grad_clip": 1.0,
}


def _mingpt(n_layers: int, n_heads: int, d_model: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=GPT2_VOCABULARY,
        max_seq_len=1024,
        d_model=d_model,
        n_layers=n_layers,
        attention=AttentionConfig(n_heads=n_heads, dropout=0.1),
        feedforward=FeedForwardConfig(kind="gelu-tanh"),
        head=HeadConfig(tied=False),
        dropout=0.1,
    )


@_preset("gpt-nano", 4_958_736, MINGPT_RECIPE)
def gpt_nano() -> ModelConfig:
    """GPT-nano of minGPT (github karpathy/minGPT, mingpt/model.py): 3 layers, 3 heads, width 48, untied head."""
    return _mingpt(3, 3, 48)


@_preset("gpt-micro", 13_790_208, MINGPT_RECIPE)
def gpt_micro() -> ModelConfig:
    """GPT-micro of minGPT (github karpathy/minGPT, mingpt/model.py): 4 layers, 4 heads, width 128, untied head."""
    return _mingpt(4, 4, 128)


@_preset("gpt-mini", 22_164_864, MINGPT_RECIPE)
def gpt_mini() -> ModelConfig:
    """GPT-mini of minGPT (github karpathy/minGPT, mingpt/model.py): 6 layers, 6 heads, width 192, untied head."""
    return _mingpt(6, 6, 192)


@_preset("gopher-44m", 77_207_552, MINGPT_RECIPE)
def gopher_44m() -> ModelConfig:
    """Gopher-44m of minGPT: 8 layers, 16 heads, width 512; Gopher's smallest (Rae et al. 2021, arXiv 2112.11446)."""
    return _mingpt(8, 16, 512)


GPT2_RECIPE = {
    "data.tokenizer": "gpt2",
    "training.batch_size": 8,
    "training.optimizer.learning_rate": 6e-4,
    "training.optimizer.weight_decay": 0.1,
    "training.optimizer.beta2": 0.95,
    "training.schedule.kind": "cosine",
    "training.schedule.warmup_steps": 2_000,
    "training.grad_clip": 1.0,
}


def _gpt2(n_layers: int, n_heads: int, d_model: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=GPT2_VOCABULARY,
        max_seq_len=1024,
        d_model=d_model,
        n_layers=n_layers,
        attention=AttentionConfig(n_heads=n_heads, dropout=0.1),
        feedforward=FeedForwardConfig(kind="gelu-tanh"),
        dropout=0.1,
    )


@_preset("gpt2", 124_439_808, GPT2_RECIPE)
def gpt2() -> ModelConfig:
    """GPT-2 small (Radford et al. 2019): 12 layers, 12 heads, width 768."""
    return _gpt2(12, 12, 768)


@_preset("gpt2-medium", 354_823_168, GPT2_RECIPE)
def gpt2_medium() -> ModelConfig:
    """GPT-2 medium (Radford et al. 2019): 24 layers, 16 heads, width 1,024."""
    return _gpt2(24, 16, 1024)


@_preset("gpt2-large", 774_030_080, GPT2_RECIPE)
def gpt2_large() -> ModelConfig:
    """GPT-2 large (Radford et al. 2019): 36 layers, 20 heads, width 1,280."""
    return _gpt2(36, 20, 1280)


@_preset("gpt2-xl", 1_557_611_200, GPT2_RECIPE)
def gpt2_xl() -> ModelConfig:
    """GPT-2 XL (Radford et al. 2019): 48 layers, 25 heads, width 1,600."""
    return _gpt2(48, 25, 1600)


NANOGPT_RECIPE = {
    "training.optimizer.learning_rate": 1e-3,
    "training.optimizer.weight_decay": 0.1,
    "training.optimizer.beta2": 0.99,
    "training.schedule.kind": "cosine",
    "training.schedule.warmup_steps": 100,
    "training.schedule.final_fraction": 0.1,
    "training.grad_clip": 1.0,
}


def _nanogpt(n_layers: int, n_heads: int, d_model: int, context: int, dropout: float) -> ModelConfig:
    return ModelConfig(
        vocab_size=SHAKESPEARE_VOCABULARY,
        max_seq_len=context,
        d_model=d_model,
        n_layers=n_layers,
        attention=AttentionConfig(n_heads=n_heads, bias=False, dropout=dropout),
        feedforward=FeedForwardConfig(kind="gelu", bias=False),
        norm=NormConfig(bias=False),
        dropout=dropout,
    )


@_preset("nanogpt-shakespeare", 10_745_088, NANOGPT_RECIPE | {"training.batch_size": 64, "training.max_steps": 5_000})
def nanogpt_shakespeare() -> ModelConfig:
    """The character model of nanoGPT (karpathy/nanoGPT, config/train_shakespeare_char.py): 6 layers, width 384."""
    return _nanogpt(6, 6, 384, 256, 0.2)


@_preset("nanogpt-shakespeare-cpu", 804_096, NANOGPT_RECIPE | {"training.batch_size": 12, "training.max_steps": 2_000})
def nanogpt_shakespeare_cpu() -> ModelConfig:
    """The character model of nanoGPT for a laptop (karpathy/nanoGPT, README): 4 layers, width 128, context 64."""
    return _nanogpt(4, 4, 128, 64, 0.0)


@_preset(
    "modern-small",
    9_467_904,
    NANOGPT_RECIPE | {"training.batch_size": 32, "training.max_steps": 5_000, "training.optimizer.beta2": 0.95},
)
def modern_small() -> ModelConfig:
    """A small model of 2024's parts (Llama 3, arXiv 2407.21783; Qwen 3, arXiv 2505.09388).

    RMSNorm, rotary positions, SwiGLU, grouped queries and QK-norm.
    """
    return ModelConfig(
        vocab_size=SHAKESPEARE_VOCABULARY,
        max_seq_len=256,
        d_model=384,
        n_layers=6,
        attention=AttentionConfig(n_heads=6, n_kv_heads=2, qk_norm="rmsnorm", bias=False),
        feedforward=FeedForwardConfig(kind="swiglu", d_ff=1024, bias=False),
        norm=NormConfig(kind="rmsnorm", eps=1e-6),
        positions=PositionConfig(kind="rotary"),
    )


PAPER_VOCABULARY = 37_000  # byte pairs shared by English and German (Vaswani et al. 2017, §5.1)

PAPER_RECIPE = {
    "training.batch_tokens": 25_000,
    "training.label_smoothing": 0.1,
    "training.optimizer.kind": "adam",
    "training.optimizer.learning_rate": 1.0,
    "training.optimizer.beta1": 0.9,
    "training.optimizer.beta2": 0.98,
    "training.optimizer.eps": 1e-9,
    "training.optimizer.weight_decay": 0.0,
    "training.schedule.kind": "noam",
    "training.schedule.warmup_steps": 4_000,
    "training.grad_clip": None,
}
"""Vaswani et al. 2017, §5: Adam and the learning rate d_model^−0.5 · min(step^−0.5, step · warmup^−1.5)."""


def _paper(d_model: int, d_ff: int, n_heads: int, dropout: float) -> ModelConfig:
    return ModelConfig(
        vocab_size=PAPER_VOCABULARY,
        max_seq_len=512,
        d_model=d_model,
        n_layers=6,
        n_encoder_layers=6,
        attention=AttentionConfig(n_heads=n_heads, bias=False),
        feedforward=FeedForwardConfig(kind="relu", d_ff=d_ff),
        norm=NormConfig(placement="post", final=False),
        positions=PositionConfig(kind="sinusoidal"),
        embedding=EmbeddingConfig(scale=True),
        initialisation=InitialisationConfig(scheme="xavier", embedding_std=d_model**-0.5),
        dropout=dropout,
    )


@_preset("transformer-base", 63_045_632, PAPER_RECIPE | {"training.max_steps": 100_000})
def transformer_base() -> ModelConfig:
    """The base model of "Attention Is All You Need" (Vaswani et al. 2017, table 3): 6 + 6 layers, width 512, post-norm.

    Its projections have no biases, as in the paper's formulas; all three embedding matrices are one.
    """
    return _paper(512, 2048, 8, 0.1)


@_preset("transformer-big", 214_171_648, PAPER_RECIPE | {"training.max_steps": 300_000})
def transformer_big() -> ModelConfig:
    """The big model of "Attention Is All You Need" (Vaswani et al. 2017, table 3): 6 + 6 layers, width 1,024."""
    return _paper(1024, 4096, 16, 0.3)


@_preset(
    "annotated-transformer",
    101_009_544,
    PAPER_RECIPE
    | {
        "data.tokenizer": "words",
        "data.joint": False,
        "training.batch_tokens": None,
        "training.batch_size": 32,
        "training.max_steps": 7_250,
        "training.schedule.warmup_steps": 3_000,
    },
)
def annotated_transformer() -> ModelConfig:
    """The Annotated Transformer (S. Rush et al. 2018, revised 2022 by A. Huang et al.): pre-norm, three matrices.

    Its code is pre-norm with final norms, under a text that says post-norm; its LayerNorm is its own.
    """
    return ModelConfig(
        vocab_size=PAPER_VOCABULARY,
        max_seq_len=512,
        d_model=512,
        n_layers=6,
        n_encoder_layers=6,
        attention=AttentionConfig(n_heads=8, projection="separate", dropout=0.1),
        feedforward=FeedForwardConfig(kind="relu", d_ff=2048, dropout=0.1),
        norm=NormConfig(kind="annotated-layernorm", placement="pre", eps=1e-6),
        positions=PositionConfig(kind="sinusoidal"),
        embedding=EmbeddingConfig(scale=True, source="own"),
        head=HeadConfig(tied=False, bias=True),
        initialisation=InitialisationConfig(scheme="xavier"),
        dropout=0.1,
    )


SMALL_RECIPE = {
    "training.batch_tokens": 4_000,
    "training.max_steps": None,
    "training.max_epochs": 10,
    "training.label_smoothing": 0.1,
    "training.optimizer.kind": "adam",
    "training.optimizer.learning_rate": 1.5e-3,
    "training.optimizer.beta2": 0.98,
    "training.optimizer.eps": 1e-9,
    "training.optimizer.weight_decay": 0.0,
    "training.schedule.kind": "cosine",
    "training.schedule.warmup_steps": 200,
    "training.schedule.final_fraction": 0.02,
    "training.grad_clip": 1.0,
}


@_preset("transformer-small", 7_578_624, SMALL_RECIPE)
def transformer_small() -> ModelConfig:
    """A translator for a laptop, of the paper's parts in the pre-norm order: 3 + 3 layers, width 256, 8 heads."""
    return ModelConfig(
        vocab_size=8_000,
        max_seq_len=256,
        d_model=256,
        n_layers=3,
        n_encoder_layers=3,
        attention=AttentionConfig(n_heads=8),
        feedforward=FeedForwardConfig(kind="relu", d_ff=1024),
        norm=NormConfig(placement="pre"),
        positions=PositionConfig(kind="sinusoidal"),
        embedding=EmbeddingConfig(scale=True),
        initialisation=InitialisationConfig(scheme="xavier", embedding_std=256**-0.5),
        dropout=0.1,
    )


@_preset(
    "transformer-tiny",
    2_605_056,
    {name: value for name, value in SMALL_RECIPE.items() if name != "training.schedule.final_fraction"}
    | {
        "data.vocab_size": 10_000,
        "data.lowercase": True,
        "training.batch_tokens": 8_192,
        "training.max_steps": 8_000,
        "training.max_epochs": None,
        "training.optimizer.learning_rate": 5e-3,
        "training.optimizer.eps": 1e-8,
        "training.schedule.kind": "inverse-sqrt",
        "training.schedule.warmup_steps": 2_000,
        "training.grad_clip": None,
        "training.checkpoints.every": 200,
        "training.checkpoints.keep_last": 10,
    },
)
def transformer_tiny() -> ModelConfig:
    """The "Tiny" Transformer for Multi30k of Wu et al. 2021 (github LividWo/Revisit-MMT): 4 + 4 layers, width 128."""
    return ModelConfig(
        vocab_size=10_000,
        max_seq_len=256,
        d_model=128,
        n_layers=4,
        n_encoder_layers=4,
        attention=AttentionConfig(n_heads=4),
        feedforward=FeedForwardConfig(kind="relu", d_ff=256),
        norm=NormConfig(placement="post", final=False),
        positions=PositionConfig(kind="sinusoidal"),
        embedding=EmbeddingConfig(scale=True),
        initialisation=InitialisationConfig(scheme="xavier", embedding_std=128**-0.5),
        dropout=0.3,
    )


@_preset("opus-mt", 73_944_309, PAPER_RECIPE | {"training.max_steps": 100_000})
def opus_mt() -> ModelConfig:
    """The shape of the OPUS-MT translators (Tiedemann & Thottingal 2020), trained with Marian (Junczys-Dowmunt 2018).

    Post-norm, SiLU, sines before cosines, a bias per token of the vocabulary.
    """
    return ModelConfig(
        vocab_size=58_101,
        max_seq_len=512,
        d_model=512,
        n_layers=6,
        n_encoder_layers=6,
        attention=AttentionConfig(n_heads=8),
        feedforward=FeedForwardConfig(kind="silu", d_ff=2048),
        norm=NormConfig(placement="post", final=False),
        positions=PositionConfig(kind="sinusoidal", options={"layout": "halves"}),
        embedding=EmbeddingConfig(scale=True),
        head=HeadConfig(tied=True, bias=True),
        initialisation=InitialisationConfig(scheme="xavier", embedding_std=512**-0.5),
        dropout=0.1,
    )

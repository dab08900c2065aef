"""Decoder-only models of the literature."""

from __future__ import annotations

from glassformer.models.config import (
    AttentionConfig,
    FeedForwardConfig,
    HeadConfig,
    InitialisationConfig,
    ModelConfig,
    NormConfig,
    PositionConfig,
)
from glassformer.models.preset import declare

GPT2_VOCABULARY = 50_257
SHAKESPEARE_VOCABULARY = 65  # distinct characters of tiny-shakespeare


@declare(
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


@declare(
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


@declare("gpt-nano", 4_958_736, MINGPT_RECIPE)
def gpt_nano() -> ModelConfig:
    """GPT-nano of minGPT (github karpathy/minGPT, mingpt/model.py): 3 layers, 3 heads, width 48, untied head."""
    return _mingpt(3, 3, 48)


@declare("gpt-micro", 13_790_208, MINGPT_RECIPE)
def gpt_micro() -> ModelConfig:
    """GPT-micro of minGPT (github karpathy/minGPT, mingpt/model.py): 4 layers, 4 heads, width 128, untied head."""
    return _mingpt(4, 4, 128)


@declare("gpt-mini", 22_164_864, MINGPT_RECIPE)
def gpt_mini() -> ModelConfig:
    """GPT-mini of minGPT (github karpathy/minGPT, mingpt/model.py): 6 layers, 6 heads, width 192, untied head."""
    return _mingpt(6, 6, 192)


@declare("gopher-44m", 77_207_552, MINGPT_RECIPE)
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


@declare("gpt2", 124_439_808, GPT2_RECIPE)
def gpt2() -> ModelConfig:
    """GPT-2 small (Radford et al. 2019): 12 layers, 12 heads, width 768."""
    return _gpt2(12, 12, 768)


@declare("gpt2-medium", 354_823_168, GPT2_RECIPE)
def gpt2_medium() -> ModelConfig:
    """GPT-2 medium (Radford et al. 2019): 24 layers, 16 heads, width 1,024."""
    return _gpt2(24, 16, 1024)


@declare("gpt2-large", 774_030_080, GPT2_RECIPE)
def gpt2_large() -> ModelConfig:
    """GPT-2 large (Radford et al. 2019): 36 layers, 20 heads, width 1,280."""
    return _gpt2(36, 20, 1280)


@declare("gpt2-xl", 1_557_611_200, GPT2_RECIPE)
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


@declare("nanogpt-shakespeare", 10_745_088, NANOGPT_RECIPE | {"training.batch_size": 64, "training.max_steps": 5_000})
def nanogpt_shakespeare() -> ModelConfig:
    """The character model of nanoGPT (karpathy/nanoGPT, config/train_shakespeare_char.py): 6 layers, width 384."""
    return _nanogpt(6, 6, 384, 256, 0.2)


@declare("nanogpt-shakespeare-cpu", 804_096, NANOGPT_RECIPE | {"training.batch_size": 12, "training.max_steps": 2_000})
def nanogpt_shakespeare_cpu() -> ModelConfig:
    """The character model of nanoGPT for a laptop (karpathy/nanoGPT, README): 4 layers, width 128, context 64."""
    return _nanogpt(4, 4, 128, 64, 0.0)


@declare(
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

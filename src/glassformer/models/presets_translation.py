"""Encoder-decoder models of the literature."""

from __future__ import annotations

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
from glassformer.models.preset import declare

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


@declare("transformer-base", 63_045_632, PAPER_RECIPE | {"training.max_steps": 100_000})
def transformer_base() -> ModelConfig:
    """The base model of "Attention Is All You Need" (Vaswani et al. 2017, table 3): 6 + 6 layers, width 512, post-norm.

    Its projections have no biases, as in the paper's formulas; all three embedding matrices are one.
    """
    return _paper(512, 2048, 8, 0.1)


@declare("transformer-big", 214_171_648, PAPER_RECIPE | {"training.max_steps": 300_000})
def transformer_big() -> ModelConfig:
    """The big model of "Attention Is All You Need" (Vaswani et al. 2017, table 3): 6 + 6 layers, width 1,024."""
    return _paper(1024, 4096, 16, 0.3)


@declare(
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


@declare("transformer-small", 7_578_624, SMALL_RECIPE)
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


@declare(
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


@declare("opus-mt", 73_944_309, PAPER_RECIPE | {"training.max_steps": 100_000})
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

"""Encoder-only models of the literature, which fill in masked tokens."""

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

BERT_VOCABULARY = 30_522  # word pieces of lower-case English (github google-research/bert)

BERT_RECIPE = {
    "data.tokenizer": "bpe",
    "data.bpe_vocab_size": BERT_VOCABULARY - 1,  # and [MASK]
    "training.batch_size": 256,
    "training.max_steps": 1_000_000,
    "training.optimizer.learning_rate": 1e-4,
    "training.optimizer.weight_decay": 0.01,
    "training.optimizer.beta2": 0.999,
    "training.schedule.kind": "wsd",
    "training.schedule.decay_fraction": 1.0,
    "training.schedule.warmup_steps": 10_000,
    "training.schedule.final_fraction": 0.0,
    "training.grad_clip": 1.0,
}
"""Devlin et al. 2019, appendix A.2; BERT's word pieces are replaced by byte pairs of the text that is trained on."""


def _bert(n_layers: int, n_heads: int, d_model: int) -> ModelConfig:
    return ModelConfig(
        family="encoder",
        vocab_size=BERT_VOCABULARY,
        max_seq_len=512,
        d_model=d_model,
        n_layers=n_layers,
        attention=AttentionConfig(n_heads=n_heads, projection="separate", dropout=0.1),
        feedforward=FeedForwardConfig(kind="gelu"),
        norm=NormConfig(placement="post", final=False, eps=1e-12),
        positions=PositionConfig(kind="learned"),
        embedding=EmbeddingConfig(norm=True, types=2),
        head=HeadConfig(tied=True, bias=True, transform=True),
        initialisation=InitialisationConfig(scheme="gpt2", scale_residual=False),
        dropout=0.1,
    )


@declare("bert-base", 109_514_298, BERT_RECIPE)
def bert_base() -> ModelConfig:
    """BERT-base, uncased (Devlin et al. 2019): 12 layers, 12 heads, width 768, without the next-sentence head."""
    return _bert(12, 12, 768)


@declare("bert-mini", 11_201_594, BERT_RECIPE)
def bert_mini() -> ModelConfig:
    """BERT-mini (Turc et al. 2019, arXiv 1908.08962): 4 layers, 4 heads, width 256."""
    return _bert(4, 4, 256)


@declare("bert-tiny", 4_416_698, BERT_RECIPE)
def bert_tiny() -> ModelConfig:
    """BERT-tiny (Turc et al. 2019, arXiv 1908.08962): 2 layers, 2 heads, width 128."""
    return _bert(2, 2, 128)


@declare(
    "masked-small",
    3_672_576,
    {
        "data.tokenizer": "bpe",
        "data.bpe_vocab_size": 2_048,
        "training.batch_size": 32,
        "training.max_steps": 3_000,
        "training.optimizer.learning_rate": 2e-3,
        "training.optimizer.weight_decay": 0.1,
        "training.optimizer.beta2": 0.98,
        "training.schedule.kind": "cosine",
        "training.schedule.warmup_steps": 200,
        "training.schedule.final_fraction": 0.1,
        "training.grad_clip": 1.0,
    },
)
def masked_small() -> ModelConfig:
    """A masked language model for a laptop: 4 pre-norm layers of width 256, rotary positions, context 128."""
    return ModelConfig(
        family="encoder",
        vocab_size=2_049,
        max_seq_len=128,
        d_model=256,
        n_layers=4,
        attention=AttentionConfig(n_heads=4, bias=False),
        feedforward=FeedForwardConfig(kind="gelu", bias=False),
        norm=NormConfig(bias=False),
        positions=PositionConfig(kind="rotary"),
    )

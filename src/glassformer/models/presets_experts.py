"""Decoder-only models with experts: one for a laptop, and the shapes of three that are known."""

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
from glassformer.models.experts_config import ExpertsConfig
from glassformer.models.preset import declare
from glassformer.models.presets_gpt import NANOGPT_RECIPE, nanogpt_shakespeare_cpu


@declare("experts-small", 2_381_056, NANOGPT_RECIPE | {"training.batch_size": 12, "training.max_steps": 2_000})
def experts_small() -> ModelConfig:
    """nanogpt-shakespeare-cpu with 8 experts for each feed-forward layer, half as wide, 2 a token (as Mixtral, arXiv
    2401.04088): as many FLOPs in them for a token.
    """
    return nanogpt_shakespeare_cpu().override(
        {
            "feedforward.experts.n_experts": 8,
            "feedforward.experts.n_active": 2,
            "feedforward.experts.d_ff": 256,
            "feedforward.experts.z_loss": 0.001,
        }
    )


def _experts(
    *,
    n_layers: int,
    d_model: int,
    attention: AttentionConfig,
    d_ff: int,
    experts: ExpertsConfig,
    vocab_size: int,
    max_seq_len: int,
    theta: float,
    eps: float,
) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab_size,
        max_seq_len=max_seq_len,
        d_model=d_model,
        n_layers=n_layers,
        attention=attention,
        feedforward=FeedForwardConfig(kind="swiglu", d_ff=d_ff, bias=False, experts=experts),
        norm=NormConfig(kind="rmsnorm", eps=eps),
        positions=PositionConfig(kind="rotary", theta=theta),
        head=HeadConfig(tied=False),
        initialisation=InitialisationConfig(scale_residual=False),
    )


@declare("mixtral-8x7b", 46_702_792_704)
def mixtral_8x7b() -> ModelConfig:
    """Mixtral 8x7B (Jiang et al. 2024, arXiv 2401.04088): 32 layers of 8 experts, 2 for a token; 47 B parameters, 13 B
    active.
    """
    return _experts(
        n_layers=32,
        d_model=4096,
        attention=AttentionConfig(n_heads=32, n_kv_heads=8, bias=False),
        d_ff=14_336,
        experts=ExpertsConfig(n_experts=8, n_active=2),
        vocab_size=32_000,
        max_seq_len=32_768,
        theta=1e6,
        eps=1e-5,
    )


@declare("olmoe-1b-7b", 6_919_100_416)
def olmoe_1b_7b() -> ModelConfig:
    """The shape of OLMoE-1B-7B (Muennighoff et al. 2024, arXiv 2409.02060): 16 layers of 64 experts, 8 for a token; 6.9
    B parameters, 1.3 B active. Its QK-norm is over the whole width, ours over a head: 61,440 parameters fewer.
    """
    return _experts(
        n_layers=16,
        d_model=2048,
        attention=AttentionConfig(n_heads=16, bias=False, qk_norm="rmsnorm"),
        d_ff=1024,
        experts=ExpertsConfig(n_experts=64, n_active=8, renormalise=False, z_loss=0.001),
        vocab_size=50_304,
        max_seq_len=4096,
        theta=1e4,
        eps=1e-5,
    )


@declare("qwen3-30b-a3b", 30_532_122_624)
def qwen3_30b_a3b() -> ModelConfig:
    """Qwen3-30B-A3B (Yang et al. 2025, arXiv 2505.09388): 48 layers of 128 experts, 8 for a token; 30.5 B parameters,
    3.3 B active.
    """
    return _experts(
        n_layers=48,
        d_model=2048,
        attention=AttentionConfig(n_heads=32, n_kv_heads=4, d_head=128, bias=False, qk_norm="rmsnorm"),
        d_ff=768,
        experts=ExpertsConfig(n_experts=128, n_active=8, balance=0.001),
        vocab_size=151_936,
        max_seq_len=40_960,
        theta=1e6,
        eps=1e-6,
    )

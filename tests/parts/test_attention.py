from __future__ import annotations

import math

import pytest
import torch

from glassformer.models.config import ModelConfig
from glassformer.models.decoder import Decoder
from glassformer.parts.attention import MultiHeadAttention
from glassformer.parts.context import Context
from glassformer.parts.patterns import Causal, Everything
from glassformer.parts.positions import NoPositions

NOWHERE = NoPositions(d_model=16, max_seq_len=8, n_heads=4, d_head=4)


def context(length=6, *, causal=True):
    return Context(NOWHERE, torch.arange(length), Causal() if causal else Everything())


def on(path, layer):
    layer.path = path
    return layer


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_attention_is_the_papers_formula(path):
    """Concat(softmax(Q_i K_iᵀ / √d_k) V_i) W^O, head by head."""
    layer, x = on(path, MultiHeadAttention(16, 4, projection="separate").eval()), torch.randn(2, 6, 16)
    q, k, v = layer.w_q(x), layer.w_k(x), layer.w_v(x)
    heads = []
    for i in range(4):
        own = slice(4 * i, 4 * i + 4)
        scores = q[..., own] @ k[..., own].transpose(1, 2) / math.sqrt(4)
        heads.append(torch.softmax(scores, -1) @ v[..., own])
    torch.testing.assert_close(layer(x, context(causal=False)), layer.w_o(torch.cat(heads, -1)), atol=1e-6, rtol=1e-5)


def test_three_projections_are_one_fused_one():
    fused, separate = (
        MultiHeadAttention(16, 4, n_kv_heads=2),
        MultiHeadAttention(16, 4, n_kv_heads=2, projection="separate"),
    )
    for name in ("weight", "bias"):
        rows = getattr(fused.w_qkv, name).split((16, 8, 8))
        for part, row in zip(("w_q", "w_k", "w_v"), rows, strict=True):
            setattr(getattr(separate, part), name, torch.nn.Parameter(row.clone()))
    separate.w_o.load_state_dict(fused.w_o.state_dict())
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(fused(x, context()), separate(x, context()))


def test_one_shared_projection_has_a_third_of_the_parameters_and_is_all_three():
    shared, fused = MultiHeadAttention(16, 4, projection="shared"), MultiHeadAttention(16, 4)
    count = [sum(p.numel() for name, p in layer.named_parameters() if "w_o" not in name) for layer in (shared, fused)]
    assert 3 * count[0] == count[1]
    fused.w_qkv.weight = torch.nn.Parameter(shared.w_shared.weight.repeat(3, 1))
    fused.w_qkv.bias = torch.nn.Parameter(shared.w_shared.bias.repeat(3))
    fused.w_o.load_state_dict(shared.w_o.state_dict())
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(shared(x, context()), fused(x, context()))


def test_grouped_queries_are_keys_and_values_repeated():
    grouped, full = MultiHeadAttention(16, 4, n_kv_heads=2), MultiHeadAttention(16, 4)
    for name in ("weight", "bias"):
        q, k, v = getattr(grouped.w_qkv, name).detach().split((16, 8, 8))
        k, v = (part.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v))
        setattr(full.w_qkv, name, torch.nn.Parameter(torch.cat((q, k, v))))
    full.w_o.load_state_dict(grouped.w_o.state_dict())
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(grouped(x, context()), full(x, context()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_scaling_can_be_off(path):
    scaled, bare = (on(path, MultiHeadAttention(16, 4, scale=scale)) for scale in (True, False))
    bare.load_state_dict(scaled.state_dict())
    with torch.no_grad():
        bare.w_qkv.weight[:16] /= 2  # √d_head
        bare.w_qkv.bias[:16] /= 2
    x = torch.randn(2, 6, 16)
    torch.testing.assert_close(scaled(x, context()), bare(x, context()))


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_dropout_reaches_the_weights_in_training_and_is_off_in_evaluation(path):
    layer, x = on(path, MultiHeadAttention(16, 4, dropout=0.5)), torch.randn(2, 6, 16)
    sure = on(path, MultiHeadAttention(16, 4))
    sure.load_state_dict(layer.state_dict())
    layer.train()
    assert not torch.equal(layer(x, context()), layer(x, context()))
    layer.eval()
    assert torch.equal(layer(x, context()), sure(x, context()))


@pytest.mark.parametrize("path", ["fused", "explicit"])
def test_dropout_keeps_the_expected_output(path):
    layer, x = on(path, MultiHeadAttention(16, 4, dropout=0.3)).train(), torch.randn(1, 6, 16).expand(20_000, 6, 16)
    torch.manual_seed(0)
    with torch.no_grad():
        mean = layer(x, context()).mean(0)
        expected = layer.eval()(x[:1], context())[0]
    torch.testing.assert_close(mean, expected, atol=0.02, rtol=0)


def test_the_models_dropout_reaches_every_place_that_takes_one():
    config = ModelConfig.build(
        {
            "vocab_size": 11,
            "max_seq_len": 8,
            "d_model": 16,
            "n_layers": 2,
            "dropout": 0.1,
            "attention": {"n_heads": 4, "dropout": 0.2},
            "feedforward": {"dropout": 0.3},
        }
    )
    model = Decoder(config)
    assert model.embedding.dropout.p == 0.1
    for block in model.blocks:
        assert (block.dropout.p, block.attention.dropout.p, block.feedforward.dropout.p) == (0.1, 0.2, 0.3)


def test_queries_and_keys_are_normalised_and_values_are_not():
    layer = MultiHeadAttention(16, 4, qk_norm="rmsnorm")
    seen = {}
    for name in ("query", "key", "value"):
        getattr(layer, name).register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    layer(torch.randn(2, 6, 16) * 10, context())
    for name in ("query", "key"):
        torch.testing.assert_close(seen[name].square().mean(-1), torch.ones(2, 4, 6), atol=1e-3, rtol=0)
    assert (seen["value"].square().mean(-1) - 1).abs().max() > 1

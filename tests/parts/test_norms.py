from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.parts.norms import AnnotatedLayerNorm, LayerNorm, NoNorm, RMSNorm, SequenceBatchNorm


def activations(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3 + 1


def test_layernorm_is_the_formula():
    x = activations(2, 5, 16)
    norm = LayerNorm(16, eps=1e-3).double()
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    torch.testing.assert_close(norm(x), (x - mean) / (variance + 1e-3).sqrt())


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 128))
def test_the_annotated_layernorm_differs_by_the_unbiased_deviation_and_by_nothing_else(d_model):
    """Without ε the two differ by exactly √(n / (n − 1))."""
    x = activations(3, d_model)
    ours, theirs = AnnotatedLayerNorm(d_model, eps=0.0).double(), LayerNorm(d_model, eps=0.0).double()
    torch.testing.assert_close(ours(x) * math.sqrt(d_model / (d_model - 1)), theirs(x))


def test_the_annotated_layernorm_has_epsilon_outside_the_root():
    x = activations(4, 8)
    centred, deviation = x - x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    torch.testing.assert_close(AnnotatedLayerNorm(8, eps=0.5).double()(x), centred / (deviation + 0.5))
    inside = centred / (deviation.square() + 0.5).sqrt()
    assert (AnnotatedLayerNorm(8, eps=0.5).double()(x) - inside).abs().max() > 0.01


def test_the_annotated_layernorm_is_not_layernorm_at_width_64():
    x = activations(4, 64)
    ratio = LayerNorm(64, eps=0.0).double()(x) / AnnotatedLayerNorm(64, eps=0.0).double()(x)
    assert ratio.mean().item() == pytest.approx(1.0079, abs=1e-4)  # 0.8 %


def test_rmsnorm_removes_no_mean():
    x = activations(2, 3, 8)
    torch.testing.assert_close(RMSNorm(8, eps=1e-3).double()(x), x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt())


def test_batchnorm_normalises_each_feature_over_all_tokens_of_the_batch():
    x = activations(4, 6, 8).float()
    y = SequenceBatchNorm(8, eps=1e-8)(x)
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(8), atol=1e-6, rtol=0)
    torch.testing.assert_close(y.var((0, 1), unbiased=False), torch.ones(8))


def test_batchnorm_mixes_tokens_in_training_and_not_in_evaluation():
    norm, x = SequenceBatchNorm(8), activations(2, 4, 8).float()
    other = x.clone()
    other[:, -1] += 5
    assert not torch.allclose(norm(x)[:, 0], norm(other)[:, 0])
    norm.eval()
    assert torch.equal(norm(x)[:, 0], norm(other)[:, 0])
    assert norm.uses_batch_statistics


@pytest.mark.parametrize("norm", [LayerNorm, AnnotatedLayerNorm, SequenceBatchNorm])
def test_a_norm_without_bias_has_none(norm):
    assert [p.shape for p in norm(8, bias=False).parameters()] == [(8,)]
    assert [p.shape for p in norm(8).parameters()] == [(8,), (8,)]


def test_no_norm_is_nothing():
    x = activations(2, 3, 8)
    assert NoNorm(8)(x) is x
    assert not NoNorm(8).state_dict()

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from glassformer.parts.feedforward import (
    GELUFeedForward,
    PointwiseConvolution,
    ReLUFeedForward,
    SquaredReLUFeedForward,
    SwiGLUFeedForward,
    TanhGELUFeedForward,
)
from glassformer.registry import registered

X = torch.linspace(-6, 6, 1001, dtype=torch.float64)
OURS = [  # not what other tests registered
    kind for kind, cls in registered("feedforward").items() if cls.__module__.startswith("glassformer.")
]


def test_activations_are_their_formulas():
    normal_cdf = 0.5 * (1 + torch.erf(X / math.sqrt(2)))
    tanh = 0.5 * X * (1 + torch.tanh(math.sqrt(2 / math.pi) * (X + 0.044715 * X**3)))
    for layer, expected in (
        (ReLUFeedForward, X.clamp(min=0)),
        (GELUFeedForward, X * normal_cdf),
        (TanhGELUFeedForward, tanh),
        (SquaredReLUFeedForward, X.clamp(min=0) ** 2),
    ):
        torch.testing.assert_close(layer(1, 1).activation(X), expected)


def test_gelu_variants_are_torchs_and_differ():
    exact, approximate = GELUFeedForward(1, 1).activation(X), TanhGELUFeedForward(1, 1).activation(X)
    torch.testing.assert_close(exact, F.gelu(X), atol=0, rtol=0)
    torch.testing.assert_close(approximate, F.gelu(X, approximate="tanh"), atol=0, rtol=0)
    assert 1e-4 < (exact - approximate).abs().max() < 1e-3


@pytest.mark.slow(reason="torch traces it")
def test_the_compiled_tanh_gelu_is_the_eager_one():
    layer, x = TanhGELUFeedForward(1, 1), X.float().clone().requires_grad_()
    compiled = torch.compile(layer.activation, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), layer.activation(x), atol=1e-6, rtol=1e-5)
    (eager,) = torch.autograd.grad(layer.activation(x).sum(), x)
    (same,) = torch.autograd.grad(compiled(x).sum(), x)
    torch.testing.assert_close(same, eager, atol=1e-5, rtol=1e-5)


def test_ffn_is_the_papers():
    layer, x = ReLUFeedForward(8, 24), torch.randn(2, 5, 8)
    expected = torch.relu(x @ layer.w_1.weight.T + layer.w_1.bias) @ layer.w_2.weight.T + layer.w_2.bias
    torch.testing.assert_close(layer(x), expected)


def test_swiglu_is_three_matrices():
    layer, x = SwiGLUFeedForward(8, 24, bias=False), torch.randn(2, 5, 8)
    assert sum(p.numel() for p in layer.parameters()) == 3 * 8 * 24
    gate, inner = x @ layer.w_gate.weight.T, x @ layer.w_1.weight.T
    torch.testing.assert_close(layer(x), (gate * torch.sigmoid(gate) * inner) @ layer.w_2.weight.T)


@pytest.mark.parametrize("kind", OURS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_kernel_one_is_the_same_layer_and_learns_the_same(kind, bias):
    cls = registered("feedforward")[kind]
    linear, convolution = cls(8, 24, bias=bias), cls(8, 24, bias=bias, linear=PointwiseConvolution)
    convolution.load_state_dict(
        {name: w.unsqueeze(-1) if w.dim() == 2 else w for name, w in linear.state_dict().items()}
    )
    x = torch.randn(2, 5, 8)
    a, b = linear(x), convolution(x)
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)
    a.square().sum().backward()
    b.square().sum().backward()
    for (name, p), q in zip(linear.named_parameters(), convolution.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad.view_as(p), atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("kind", OURS)
def test_every_token_is_alone(kind):
    layer, x = registered("feedforward")[kind](8, 24), torch.randn(3, 4, 8)
    torch.testing.assert_close(layer(x)[1, 2], layer(x[1:2, 2:3])[0, 0])

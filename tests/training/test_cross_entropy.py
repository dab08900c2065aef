"""Head and loss as one operation: the numbers of the plain formulas, and of their gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.data.batches import IGNORE
from glassformer.training import cross_entropy
from glassformer.training.cross_entropy import head_cross_entropy
from glassformer.training.objectives import summed_losses


def inputs(batch, length, vocabulary, width=8, *, bias=True, ignored=0.3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(batch, length, width, generator=draw, requires_grad=True)
    weight = torch.randn(vocabulary, width, generator=draw, requires_grad=True)
    added = torch.randn(vocabulary, generator=draw, requires_grad=True) if bias else None
    targets = torch.randint(vocabulary, (batch, length), generator=draw)
    targets[torch.rand(batch, length, generator=draw) < ignored] = IGNORE
    return hidden, weight, added, targets


def plainly(hidden, weight, bias, targets, *, smoothing, scale):
    logits = torch.nn.functional.linear(hidden, weight, bias)
    objective, nll = summed_losses(logits, targets, smoothing)
    return objective * scale, nll * scale


def gradients(losses, leaves):
    return torch.autograd.grad(losses[0], [leaf for leaf in leaves if leaf is not None])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.integers(2, 40),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.integers(1, 9),
    st.integers(1, 60),
)
def test_losses_and_gradients_are_those_of_the_plain_formulas(
    batch, length, vocabulary, smoothing, bias, ignored, rows, block
):
    given_ = inputs(batch, length, vocabulary, bias=bias, ignored=ignored)
    scale = torch.tensor(0.37)
    patch = pytest.MonkeyPatch()
    patch.setattr(cross_entropy, "ROWS", rows)  # groups and blocks of every size, the last not full
    patch.setattr(cross_entropy, "BLOCK", block)
    try:
        found = head_cross_entropy(*given_, smoothing=smoothing, scale=scale)
        found_gradients = gradients(found, given_[:3])
    finally:
        patch.undo()
    expected = plainly(*given_, smoothing=smoothing, scale=scale)
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[1], expected[1], rtol=1e-5, atol=1e-5)
    for one, other in zip(found_gradients, gradients(expected, given_[:3]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_logits_of_a_million_and_a_target_without_a_chance_stay_finite():
    hidden, weight, bias, targets = inputs(2, 3, 5, ignored=0.0)
    losses = head_cross_entropy(1e6 * hidden, weight, bias, targets, smoothing=0.1, scale=torch.tensor(1.0))
    expected = plainly(1e6 * hidden, weight, bias, targets, smoothing=0.1, scale=1.0)
    torch.testing.assert_close(losses[0], expected[0])
    assert all(gradient.isfinite().all() for gradient in gradients(losses, (hidden, weight, bias)))


def test_a_gradient_from_above_is_multiplied_in():
    leaves = inputs(2, 3, 5)
    losses = head_cross_entropy(*leaves, smoothing=0.1, scale=torch.tensor(1.0))
    twice = torch.autograd.grad(2 * losses[0], leaves[0])[0]
    losses = head_cross_entropy(*leaves, smoothing=0.1, scale=torch.tensor(1.0))
    torch.testing.assert_close(twice, 2 * torch.autograd.grad(losses[0], leaves[0])[0])


def test_bfloat16_is_near_and_its_sums_are_float32():
    hidden, weight, bias, targets = inputs(20, 50, 300, width=16, ignored=0.1)
    scale = torch.tensor(1 / 900)
    half = head_cross_entropy(hidden.bfloat16(), weight, bias, targets, smoothing=0.1, scale=scale)
    full = plainly(hidden, weight, bias, targets, smoothing=0.1, scale=scale)
    assert half[0].dtype == half[1].dtype == torch.float32
    assert half[0].item() == pytest.approx(full[0].item(), rel=1e-2)
    for one, other in zip(
        gradients(half, (hidden, weight, bias)), gradients(full, (hidden, weight, bias)), strict=True
    ):
        assert one.dtype == torch.float32
        assert (one - other).norm() < 0.02 * other.norm()

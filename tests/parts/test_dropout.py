"""The rate is exact, elements are independent, seeds reproduce; eager and compiled draw by different means."""

from __future__ import annotations

import math

import pytest
import torch

from glassformer.parts import dropout as room
from glassformer.parts.dropout import LEVELS, Dropout

N = 10_000_000


def hashed(x):
    return room._hashed_levels(x)


def drawn(x):
    return room._drawn_levels(x)


DRAWS = [pytest.param(drawn, id="eager"), pytest.param(hashed, id="compiled")]


def kept(draw, p, shape):
    """Which elements survive, by the rule of Dropout.forward."""
    return draw(torch.empty(shape)) >= round(p * LEVELS) - LEVELS // 2


def sigmas(share, expected, n):
    return abs(share - expected) / math.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1 / LEVELS])
def test_the_rate_is_p_rounded_to_a_65536th(draw, p):
    torch.manual_seed(0)
    dropped = 1 - kept(draw, p, (N,)).double().mean().item()
    assert sigmas(dropped, round(p * LEVELS) / LEVELS, N) < 5


@pytest.mark.parametrize("draw", DRAWS)
def test_neighbours_rows_and_every_short_lag_are_independent(draw):
    torch.manual_seed(1)
    keep = kept(draw, 0.3, (2000, 1536)).float()
    keep -= keep.mean()
    flat, variance = keep.flatten(), keep.var()
    n = flat.numel()
    for lag in (1, 2, 3, 4, 5, 7, 8, 16, 64, 1024, 1536, 3072, 4096, 65536):
        correlation = (flat[lag:] * flat[:-lag]).mean() / variance
        assert abs(correlation.item()) * math.sqrt(n) < 5, f"lag {lag}"
    columns, rows = keep.mean(0), keep.mean(1)
    assert columns.abs().max() * math.sqrt(2000 / variance) < 6
    assert rows.abs().max() * math.sqrt(1536 / variance) < 6


@pytest.mark.parametrize("draw", DRAWS)
def test_all_levels_are_equally_likely(draw):
    torch.manual_seed(2)
    levels = draw(torch.empty(N)).long() + LEVELS // 2
    assert levels.min() >= 0
    assert levels.max() < LEVELS
    counts = torch.bincount(levels // 64, minlength=1024).double()
    chi_squared = ((counts - N / 1024) ** 2 / (N / 1024)).sum().item()
    assert abs(chi_squared - 1023) < 5 * math.sqrt(2 * 1023)


@pytest.mark.parametrize("draw", DRAWS)
def test_two_draws_are_independent_of_each_other(draw):
    torch.manual_seed(3)
    first, second = (kept(draw, 0.5, (1_000_000,)).float() - 0.5 for _ in range(2))
    assert abs((first * second).mean().item()) * 4 * math.sqrt(1_000_000) < 5


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_and_a_saved_generator_state_reproduce(draw):
    x = torch.empty(1001)
    torch.manual_seed(4)
    first = draw(x)
    state = torch.get_rng_state()
    second = draw(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(draw(x), second)
    torch.manual_seed(4)
    assert torch.equal(draw(x), first)


def test_the_expectation_is_preserved_exactly_by_the_rounded_rate():
    torch.manual_seed(5)
    layer = Dropout(0.3).train()
    out = layer(torch.ones(N))
    threshold = round(0.3 * LEVELS)
    scale = LEVELS / (LEVELS - threshold)
    assert set(out.unique().tolist()) == {0.0, torch.tensor(scale).item()}
    deviation = math.sqrt((scale - 1) / N)  # of the mean of values scale with probability 1/scale
    assert abs(out.double().mean().item() - 1) < 5 * deviation


def test_gradients_pass_where_the_value_passed():
    torch.manual_seed(6)
    x = torch.randn(1000, requires_grad=True)
    y = Dropout(0.4).train()(x)
    y.sum().backward()
    scale = LEVELS / (LEVELS - round(0.4 * LEVELS))
    torch.testing.assert_close(x.grad, torch.where(y != 0, scale, 0.0))


def test_evaluation_and_rate_zero_change_nothing_and_draw_nothing():
    x = torch.randn(10)
    before = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0).train()(x) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 7), (2, 3, 5)])
def test_any_shape_keeps_its_shape(shape):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        out = Dropout(0.5).train()(torch.ones(shape, dtype=dtype))
        assert out.shape == shape
        assert out.dtype == dtype


@pytest.mark.slow(reason="torch traces it")
def test_the_compiled_layer_keeps_rate_and_seed():
    torch.compiler.reset()
    layer = torch.compile(Dropout(0.2).train(), fullgraph=True, backend="aot_eager")
    x = torch.ones(1_000_000)
    torch.manual_seed(8)
    first, second = layer(x), layer(x)
    torch.manual_seed(8)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert sigmas((first == 0).double().mean().item(), round(0.2 * LEVELS) / LEVELS, x.numel()) < 5

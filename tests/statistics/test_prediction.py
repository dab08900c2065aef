"""Intervals from draws, and how much wider hidden errors ask them to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.prediction import (
    Prediction,
    check_level,
    from_draws,
    from_error,
    from_slopes,
    largest_miss,
    percentiles,
    resampled,
    slope_of_widening,
    standard_errors,
)


def test_the_plain_interval_of_a_normal_mean_becomes_students() -> None:
    """Draws that spread like those of a mean of 10 (by √(9/10) too little): the ends are the t interval's."""
    normal = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    found = from_draws(np.array(0.0), normal * np.sqrt(9 / 10), reach=resampled(10, 1))
    assert (float(found.low), float(found.high)) == pytest.approx(
        (-stats.t.isf(0.025, 9), stats.t.isf(0.025, 9)), rel=1e-3
    )


@given(st.floats(-3, 3), st.floats(0.5, 0.99), st.integers(10, 500), st.integers(0, 100))
def test_an_interval_holds_the_estimate_and_grows_with_the_level(
    estimate: float, level: float, runs: int, seed: int
) -> None:
    draws = np.random.default_rng(seed).standard_t(3, 200)
    found, wider = (
        from_draws(np.array(estimate), draws, each, reach=resampled(runs, 5, each)) for each in (level, (1 + level) / 2)
    )
    assert wider.low <= found.low <= estimate <= found.high <= wider.high


@given(st.floats(0.5, 0.99), st.integers(1, 8), st.integers(9, 1000))
def test_fewer_runs_widen_more(level: float, parameters: int, runs: int) -> None:
    normal = stats.norm.isf((1 - level) / 2)
    assert resampled(runs, parameters, level) > resampled(runs + 1, parameters, level) > normal


def test_an_interval_of_factors_is_that_of_the_logarithms() -> None:
    draws = np.random.default_rng(0).standard_normal(999)
    plain, logged = from_draws(np.array(0.1), draws), from_draws(np.exp(0.1), np.exp(draws), logged=True)
    np.testing.assert_allclose(np.log([logged.value, *logged.interval]), [plain.value, *plain.interval], rtol=1e-12)
    two = from_error(2.0, 0.1, degrees=7, logged=True)
    assert np.log(two.high / 2) == pytest.approx(stats.t.isf(0.025, 7) * 0.1) == pytest.approx(np.log(2 / two.low))


def test_the_delta_method_adds_independent_errors_as_squares() -> None:
    found = from_slopes(5.0, np.array([3.0, -1.0]), np.array([1.0, 4.0]))
    assert found.interval == pytest.approx((5 - 5 * standard_errors(), 5 + 5 * standard_errors()))


def test_outward_percentiles_are_draws_and_may_be_infinite() -> None:
    draws = np.array([*range(1, 98), np.inf, np.inf, np.inf])
    assert percentiles(draws, outward=True) == (3, np.inf)
    assert percentiles(draws[:97]) == pytest.approx((3.4, 94.6))


def test_an_error_is_measured_by_the_side_of_the_interval_that_it_falls_on() -> None:
    predicted = Prediction(*(np.exp([at, at]) for at in (2.0, 1.0, 2.5)))
    np.testing.assert_allclose(predicted.in_half_widths(np.exp([1.5, 2.25])), [0.5, -0.5])


def test_widened_by_the_largest_miss_every_hidden_value_is_held() -> None:
    hidden, predicted = [0.7, 1.1, 2.5], Prediction(1.0, 0.8, 1.3)
    wide = predicted.widened(largest_miss(predicted.in_half_widths(hidden)) * (1 + 1e-12))
    assert [predicted.holds(each) for each in hidden] == [False, True, False]
    assert all(wide.holds(each) for each in hidden)
    assert largest_miss([0.5, -0.9]) == 1


def test_noise_and_the_laws_own_error_add_as_squares_to_each_side() -> None:
    found = Prediction(1.0, np.exp(-0.3), np.exp(0.5)).with_noise(0.4)
    assert np.log(found.interval) == pytest.approx((-0.5, np.hypot(0.5, 0.4)))


def test_the_widening_is_the_least_that_holds_the_promise() -> None:
    rng = np.random.default_rng(0)
    z, distance = rng.standard_t(3, 200), rng.uniform(0.7, 3, 200)
    k = slope_of_widening(z, distance, np.ones(200), 0.9)
    held = (np.abs(z) <= 1 + k * distance + 1e-12).mean()
    assert held >= 0.9
    assert (np.abs(z) <= 1 + 0.99 * k * distance).mean() < held
    assert slope_of_widening(0.5 * np.ones(20), distance[:20], np.ones(20), 0.95) == 0


def test_a_level_is_a_probability() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        check_level(1.5)

"""Intervals from draws, and how much wider hidden errors ask them to be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.prediction import check_level, from_draws, in_half_widths, slope_of_widening, widened


def test_the_plain_interval_of_a_normal_mean_becomes_students() -> None:
    """Draws that spread like those of a mean of 10 (by √(9/10) too little): the ends are the t interval's."""
    normal = stats.norm.ppf((np.arange(20000) + 0.5) / 20000)
    low, high = from_draws(np.array(0.0), normal * np.sqrt(9 / 10), 0.95, samples=10, parameters=1)
    assert (float(low), float(high)) == pytest.approx((-stats.t.isf(0.025, 9), stats.t.isf(0.025, 9)), rel=1e-3)


@given(st.floats(-3, 3), st.floats(0.5, 0.99), st.integers(10, 500), st.integers(0, 100))
def test_an_interval_holds_the_estimate_and_grows_with_the_level(
    estimate: float, level: float, runs: int, seed: int
) -> None:
    draws = np.random.default_rng(seed).standard_t(3, 200)
    low, high = from_draws(np.array(estimate), draws, level, samples=runs, parameters=5)
    wider = from_draws(np.array(estimate), draws, (1 + level) / 2, samples=runs, parameters=5)
    assert wider[0] <= low <= estimate <= high <= wider[1]


@given(st.floats(0.5, 0.99), st.integers(1, 8), st.integers(9, 1000))
def test_fewer_runs_widen_more(level: float, parameters: int, runs: int) -> None:
    normal = stats.norm.isf((1 - level) / 2)
    assert widened(level, runs, parameters) > widened(level, runs + 1, parameters) > normal


def test_an_error_is_measured_by_the_side_of_the_interval_that_it_falls_on() -> None:
    predicted, low, high = np.array([2.0, 2.0]), np.array([1.0, 1.0]), np.array([2.5, 2.5])
    np.testing.assert_allclose(in_half_widths(predicted, low, high, np.array([1.5, 2.25])), [0.5, -0.5])


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

"""Straight lines in logarithms: exact data give exact laws, errors cover what they promise, Porian's fits are ours."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glassformer.errors import DataError
from glassformer.scaling.fits.power_law import fit_power_law

exponents = st.floats(-3, 3)
coefficients = st.floats(1e-6, 1e6)
xs = st.lists(st.floats(1e-3, 1e12), min_size=3, max_size=20)


def spread(x) -> bool:
    return bool(np.ptp(np.log(x)) > 0.1)


@given(xs, coefficients, exponents)
def test_exact_data_give_their_law_back(x, k, a):
    assume(spread(x))
    law = fit_power_law(x, k * np.array(x) ** a)
    assert law.exponent == pytest.approx(a, abs=1e-9)
    assert np.log(law.coefficient) == pytest.approx(np.log(k), abs=1e-7)
    assert law(x) == pytest.approx(k * np.array(x) ** a, rel=1e-9)


@given(xs, st.floats(1e-6, 1e6), st.integers(0, 100))
def test_another_unit_of_x_changes_the_coefficient_only(x, unit, seed):
    assume(spread(x))
    rng = np.random.default_rng(seed)
    y, errors = rng.uniform(1, 3, len(x)), rng.uniform(0.1, 1, len(x))
    one, other = fit_power_law(x, y, errors=errors), fit_power_law(np.array(x) * unit, y, errors=errors)
    assert other.exponent == pytest.approx(one.exponent, rel=1e-6, abs=1e-9)
    assert other.exponent_error == pytest.approx(one.exponent_error, rel=1e-6)
    assert np.log(other.coefficient) == pytest.approx(np.log(one.coefficient) - one.exponent * np.log(unit), abs=1e-6)


@given(st.floats(1e-3, 1e3), st.integers(0, 100))
def test_only_the_ratios_of_the_errors_matter(level, seed):
    rng = np.random.default_rng(seed)
    x, y, errors = np.geomspace(1, 100, 9), rng.uniform(1, 3, 9), rng.uniform(0.1, 1, 9)
    one, other = fit_power_law(x, y, errors=errors), fit_power_law(x, y, errors=level * errors)
    assert (one.exponent, one.exponent_error) == pytest.approx((other.exponent, other.exponent_error))


def test_equal_errors_are_ordinary_least_squares_and_agree_with_scipy():
    from scipy import stats

    rng = np.random.default_rng(0)
    x = np.geomspace(1e16, 1e20, 12)
    y = 3 * x**0.5 * np.exp(0.1 * rng.standard_normal(12))
    plain, weighted = fit_power_law(x, y), fit_power_law(x, y, errors=np.full(12, 0.3))
    scipys = stats.linregress(np.log(x), np.log(y))
    for law in (plain, weighted):
        found = (law.exponent, law.exponent_error, np.log(law.coefficient), law.coefficient_error, law.r2)
        expected = (scipys.slope, scipys.stderr, scipys.intercept, scipys.intercept_stderr, scipys.rvalue**2)
        assert found == pytest.approx(expected, rel=1e-8)


def test_weights_equal_repeated_points():
    """A point of half the variance counts as two."""
    x, y = np.array([1.0, 2, 4, 8]), np.array([1.0, 2.2, 3.7, 8.5])
    twice = fit_power_law([*x, 4], [*y, 3.7])
    weighted = fit_power_law(x, y, errors=[1, 1, 2**-0.5, 1])
    assert (weighted.exponent, weighted.coefficient) == pytest.approx((twice.exponent, twice.coefficient))


def test_intervals_cover_what_they_promise():
    """2,000 samples of 8 points with unequal errors: 95 % intervals hit in 95 %, within four standard errors."""
    rng = np.random.default_rng(0)
    x, errors = np.geomspace(1, 1e4, 8), np.array([0.1, 0.2, 0.1, 0.4, 0.1, 0.2, 0.3, 0.1])
    usual = (errors**-2.0).mean() ** -0.5
    hits = np.zeros(4)
    far = 1e6
    for _ in range(2000):
        law = fit_power_law(x, 2 * x**0.5 * np.exp(errors * rng.standard_normal(8)), errors=errors)
        truth, new = 2 * far**0.5, 2 * far**0.5 * np.exp(usual * rng.standard_normal())
        pairs = [(0.5, law.interval()), (2.0, law.coefficient_interval()), (truth, law.line_interval(far)),
                 (new, law.prediction_interval(far))]  # fmt: skip
        hits += [low <= value <= high for value, (low, high) in pairs]
    assert hits / 2000 == pytest.approx(0.95, abs=4 * (0.95 * 0.05 / 2000) ** 0.5)


def test_what_cannot_be_fitted_is_rejected_with_every_reason():
    with pytest.raises(DataError, match="2 points; a line and its error take 3"):
        fit_power_law([1, 2], [1, 2])
    with pytest.raises(DataError, match="every x is 5"):
        fit_power_law([5, 5, 5], [1, 2, 3])
    with pytest.raises(
        DataError, match=r"(?s)3 reasons.*x of point 2 is -1.*y of point 1 is nan.*errors of point 3 is 0"
    ):
        fit_power_law([1, -1, 3], [float("nan"), 2, 3], errors=[1, 1, 0])
    with pytest.raises(DataError, match=r"x \[3\], y \[2\]"):
        fit_power_law([1, 2, 3], [1, 2])


def test_the_fits_of_all_15_configurations_of_porian_2024_are_reproduced(glassformer_data):
    """Exponents, coefficients and R², plain and weighted by 1/σ² of ln N* or ln D*, as their repository published."""
    folder = glassformer_data / "scaling" / "porian2024"
    published = json.loads((folder / "reference_fits.json").read_text())
    with (folder / "optimal_pairs.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["n_opt"]]
    assert len(published) == 15
    for fit in published:
        mine = [row for row in rows if row["config"] == fit["config"]]
        columns = {name: np.array([float(row[name]) for row in mine]) for name in mine[0] if name != "config"}
        for symbol in "nt":
            optimum, errors = columns[f"{symbol}_opt"], columns[f"{symbol}_star_std"]
            for kind, law in {
                "basic": fit_power_law(columns["flops"], optimum),
                "weighted": fit_power_law(columns["flops"], optimum, errors=errors),
            }.items():
                assert law.exponent == pytest.approx(fit[f"{kind}.{symbol}_exponent"], rel=1e-10), fit["config"]
                assert law.coefficient == pytest.approx(fit[f"{kind}.{symbol}_coef"], rel=1e-8), fit["config"]
                if symbol == "n":
                    assert law.r2 == pytest.approx(fit[f"{kind}.n_r2"], rel=1e-10), fit["config"]

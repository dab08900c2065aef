from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.scoring import bootstrap
from glassformer.scoring.bootstrap import percentile_interval, resampled_sums, two_sided_p, wilson_interval


def test_every_resample_has_as_many_sentences_as_the_test_set():
    rows = np.column_stack([np.ones(37), np.arange(37)])
    sums = resampled_sums(rows, 200, seed=1)
    assert sums.shape == (200, 2)
    assert (sums[:, 0] == 37).all()
    assert len(np.unique(sums[:, 1])) > 50  # and they are not the same ones


def test_a_seed_fixes_the_resamples():
    rows = np.random.default_rng(0).normal(size=(50, 3))
    assert np.array_equal(resampled_sums(rows, 100, seed=7), resampled_sums(rows, 100, seed=7))
    assert not np.array_equal(resampled_sums(rows, 100, seed=7), resampled_sums(rows, 100, seed=8))


@pytest.mark.parametrize("draws_at_once", [1, 50, 149, 50 * 33])
def test_drawing_in_portions_changes_nothing(monkeypatch, draws_at_once):
    rows = np.random.default_rng(0).integers(0, 9, size=(50, 3)).astype(float)
    whole = resampled_sums(rows, 100, seed=7)
    monkeypatch.setattr(bootstrap, "DRAWS_AT_ONCE", draws_at_once)
    assert np.array_equal(resampled_sums(rows, 100, seed=7), whole)


def test_the_interval_of_a_mean_holds_the_true_mean_95_times_in_100():
    rng = np.random.default_rng(0)
    n_sets, n, true_mean = 400, 60, 3.0
    covered = 0
    for trial in range(n_sets):
        rows = rng.normal(true_mean, 2.0, size=(n, 1))
        low, high = percentile_interval(resampled_sums(rows, 400, seed=trial)[:, 0] / n)
        covered += low <= true_mean <= high
    # 0.95 less what a percentile bootstrap loses at n = 60; the binomial's own spread here is 0.011
    assert 0.90 <= covered / n_sets <= 0.98


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    rows = np.random.default_rng(3).normal(size=(500, 1))
    low, high = percentile_interval(resampled_sums(rows, 4000, seed=3)[:, 0] / 500)
    assert high - low == pytest.approx(2 * 1.96 * rows.std() / 500**0.5, rel=0.05)


def test_the_percentile_interval_leaves_a_fortieth_at_either_end():
    assert percentile_interval(np.arange(1000.0)[::-1]) == (25, 974)
    assert percentile_interval(np.array([3.0])) == (3, 3)


def test_p_is_one_for_no_difference_and_small_but_not_zero_for_a_certain_one():
    assert two_sided_p(np.zeros(1000)) == 1
    assert two_sided_p(np.full(1000, 2.5)) == two_sided_p(np.full(1000, -2.5)) == pytest.approx(2 / 1001)
    assert two_sided_p(np.array([-1.0] * 10 + [1.0] * 989)) == pytest.approx(2 * 11 / 1000)


def test_p_is_below_5_percent_for_one_in_twenty_equal_systems():
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(400):
        rows = rng.normal(size=(80, 1))  # what a sentence gains, and truly it gains nothing
        found += two_sided_p(resampled_sums(rows, 400, seed=trial)[:, 0]) < 0.05
    assert 0.02 <= found / 400 <= 0.09


def test_wilsons_interval_of_published_examples():
    # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilsons_interval_holds_the_share_and_is_never_a_point(n, share):
    hits = round(share * n)
    low, high = wilson_interval(hits, n)
    assert 0 <= low <= hits / n <= high <= 1
    assert low < high
    mirrored = wilson_interval(n - hits, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))

"""The Clopper-Pearson interval against the binomial tails that define it, and its coverage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from glassformer.statistics.proportions import clopper_pearson


@given(n=st.integers(1, 60), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_at_its_ends_the_count_is_just_as_extreme_as_is_allowed(n, share, confidence):
    count = round(share * n)
    low, high = clopper_pearson(count, n, confidence)
    tail = (1 - confidence) / 2
    assert 0 <= low <= count / n <= high <= 1
    assert (low == 0) if count == 0 else stats.binom.sf(count - 1, n, low) == pytest.approx(tail)
    assert (high == 1) if count == n else stats.binom.cdf(count, n, high) == pytest.approx(tail)


@given(n=st.integers(1, 40), p=st.floats(0.001, 0.999))
def test_it_covers_every_probability(n, p):
    missed = sum(
        stats.binom.pmf(count, n, p)
        for count in range(n + 1)
        if not clopper_pearson(count, n)[0] <= p <= clopper_pearson(count, n)[1]
    )
    assert missed <= 0.05 + 1e-12


@given(p=st.floats(0.01, 0.999))
def test_its_lower_end_holds_at_every_look_at_runs_that_have_all_diverged(p):
    """Of all the looks at which p is below the end, the first is the likeliest to be reached."""
    first = next(n for n in range(1, 5_000) if clopper_pearson(n, n)[0] > p)
    assert p**first <= 0.025 + 1e-12

"""Envelopes of training curves: planted exponents come back, noise does not make them rise, edges are left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import DataError
from glassformer.scaling.fits.envelope import envelope
from glassformer.scaling.fits.points import Points, read_points

SIZES = np.geomspace(1e6, 1e9, 20)


def planted(noise=0.0, seed=0, *, alpha=0.35, beta=0.37, longest=400.0) -> Points:
    """Curves of L = E + A/N^α + B/D^β for 20 sizes, from half a token to ``longest`` tokens for each parameter."""
    rng = np.random.default_rng(seed)
    d = (np.geomspace(0.5, longest, 80) * SIZES[:, None]).ravel()
    n = np.repeat(SIZES, 80)
    loss = (1.8 + 480 / n**alpha + 2000 / d**beta) * np.exp(noise * rng.standard_normal(len(n)))
    return Points.of(n, d, loss, run=np.repeat(np.arange(20), 80))


@settings(max_examples=15, deadline=None)
@given(st.floats(0.33, 0.37), st.floats(0.35, 0.39))
def test_planted_exponents_come_back(alpha, beta):
    found = envelope(planted(alpha=alpha, beta=beta))
    assert found.parameters_law.exponent == pytest.approx(beta / (alpha + beta), abs=0.005)
    assert found.tokens_law.exponent == pytest.approx(alpha / (alpha + beta), abs=0.005)


@pytest.mark.parametrize(("noise", "off"), [(0.002, 0.02), (0.01, 0.04)])
def test_noise_moves_the_exponent_little_and_never_makes_the_envelope_rise(noise, off):
    for seed in range(5):
        found = envelope(planted(noise, seed))
        assert np.all(np.diff(found.loss) <= 0)
        assert found.parameters_law.exponent == pytest.approx(0.37 / 0.72, abs=off)
        low, high = found.parameters_law.interval(0.99)
        assert low < 0.37 / 0.72 < high


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_no_point_is_below_the_envelope_but_by_its_noise(seed):
    """Without noise the envelope is at most every loss reached with that compute, and touches one of them."""
    rng = np.random.default_rng(seed)
    points = planted()[np.sort(rng.choice(1600, 400, replace=False))]
    found = envelope(points)
    at = np.interp(np.log(points.c), np.log(found.compute), found.loss)
    assert np.all(at <= points.loss * (1 + 1e-9))
    assert np.all(found.loss >= points.loss.min() - 1e-12)


def test_one_lucky_validation_does_not_win():
    points = planted()
    loss = np.array(points.loss)
    lucky = 80 * 15 + 20  # far from the envelope, and suddenly far below it
    loss[lucky] = 2.0
    run = points.run
    found = envelope(Points.of(points.n, points.d, loss, run=run))
    plain = envelope(points)
    assert found.parameters_law.exponent == pytest.approx(plain.parameters_law.exponent, abs=0.06)
    assert found.loss.min() > 2.0


def test_the_sizes_at_the_ends_and_those_cut_off_while_lowest_are_left_out_and_told():
    found = envelope(planted())
    assert [winner.used for winner in found.winners] == [False, *[True] * 18, False]
    assert "first and the last are left out" in found.notes[0]
    assert len(found.notes) == 1

    short = envelope(planted(longest=12.0))  # every curve ends before a larger one has passed it
    assert any("ended training while lowest" in note for note in short.notes)
    assert sum(winner.used for winner in short.winners) < 18


def test_too_few_sizes_give_no_power_law_and_say_so():
    points = planted()
    found = envelope(points[np.isin(points.n, SIZES[:4])])
    assert found.parameters_law is found.tokens_law is None
    assert "a power law takes 3" in found.notes[-1]


def test_runs_of_one_row_each_are_the_chinchilla_points(glassformer_data):
    """Epoch's points are ends of runs; Hoffmann et al. 2022, table 2, say a = 0.50 for approach 1."""
    found = envelope(read_points(glassformer_data / "scaling" / "epoch_chinchilla" / "svg_extracted_data.csv"))
    low, high = found.parameters_law.interval()
    assert low < 0.50 < high
    assert high - low < 0.1


def test_what_is_no_curve_is_refused():
    with pytest.raises(DataError, match="run a has 2 different N"):
        envelope(Points.of([1e6, 2e6, 3e6], [1e8, 1e8, 1e8], [3, 3, 3], run=["a", "a", "b"]))
    with pytest.raises(DataError, match="all points have one N"):
        envelope(Points.of([1e6, 1e6], [1e8, 2e8], [3, 2.9]))

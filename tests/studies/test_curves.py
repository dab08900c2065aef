"""Loss curves: when a level is reached, and how much loss there was on the way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from glassformer.studies.curves import first_reach, mean_loss, shared_steps


@st.composite
def curves(draw):
    steps = sorted(draw(st.lists(st.integers(0, 1000), min_size=2, max_size=12, unique=True)))
    return steps, [draw(st.integers(0, 50)) / 10 for _ in steps]


def test_a_level_is_reached_on_the_straight_line_between_points():
    assert first_reach([0, 100, 200], [4.0, 3.0, 2.0], 2.25) == 175.0
    assert first_reach([0, 100, 200], [4.0, 3.0, 2.0], 3.0) == 100.0


def test_a_level_never_reached_has_no_step():
    assert first_reach([0, 100, 200], [4.0, 3.0, 2.0], 1.9) is None
    assert first_reach([], [], 1.9) is None


def test_a_curve_that_starts_below_the_level_reached_it_at_its_first_point():
    assert first_reach([10, 20], [1.0, 2.0], 1.5) == 10.0


def test_the_first_time_counts_though_the_loss_rises_again():
    assert first_reach([0, 10, 20, 30], [3.0, 1.0, 3.0, 0.5], 2.0) == 5.0


def test_a_diverged_stretch_reaches_nothing_and_bends_no_line():
    assert first_reach([0, 10, 20], [3.0, None, 1.0], 2.0) == 20.0
    assert first_reach([0, 10, 20], [3.0, -math.inf, math.nan], 2.0) is None


def test_seconds_are_as_good_as_steps():
    assert first_reach([0.5, 1.0, 2.5], [4.0, 3.0, 2.0], 2.5) == 1.75


@given(curves(), st.integers(0, 50))
def test_where_a_level_is_reached_the_curve_is_at_it_and_was_above_it_before(curve, tenths):
    (steps, losses), level = curve, tenths / 10
    reached = first_reach(steps, losses, level)
    if reached is None:
        assert min(losses) > level
    else:
        assert np.interp(reached, steps, losses) == pytest.approx(min(level, losses[0]), abs=1e-9)
        assert all(loss > level for step, loss in zip(steps, losses, strict=True) if step < reached)


@given(curves())
def test_the_mean_loss_over_the_whole_curve_is_scipys_trapezoid(curve):
    steps, losses = curve
    expected = integrate.trapezoid(losses, steps) / (steps[-1] - steps[0])
    assert mean_loss(steps, losses, steps[0], steps[-1]) == pytest.approx(expected)


@given(curves(), st.data())
def test_areas_of_two_parts_add_up(curve, data):
    steps, losses = curve
    start, middle, stop = steps[0], data.draw(st.floats(steps[0], steps[-1])), steps[-1]
    if start < middle < stop:
        parts = [mean_loss(steps, losses, a, b) * (b - a) for a, b in ((start, middle), (middle, stop))]
        assert sum(parts) == pytest.approx(mean_loss(steps, losses, start, stop) * (stop - start), abs=1e-6)


def test_points_in_between_that_lie_on_the_line_change_no_mean():
    few, many = ([0, 100, 200], [4.0, 2.0, 1.0]), ([0, 50, 100, 125, 200], [4.0, 3.0, 2.0, 1.75, 1.0])
    assert mean_loss(*few, 20, 180) == pytest.approx(mean_loss(*many, 20, 180))


def test_a_curve_that_does_not_cover_the_steps_or_diverged_on_them_has_no_mean():
    assert mean_loss([10, 20], [3.0, 2.0], 0, 20) is None
    assert mean_loss([10, 20], [3.0, 2.0], 10, 30) is None
    assert mean_loss([], [], 0, 1) is None
    assert mean_loss([0, 10, 20, 30], [3.0, 2.0, math.nan, math.inf], 0, 30) is None
    assert mean_loss([0, 10, 20, 30], [3.0, 2.0, None, None], 0, 15) is None
    assert mean_loss([0, 10, 20, 30], [3.0, 2.0, None, None], 0, 10) == 2.5


def test_curves_are_compared_over_the_steps_they_share():
    assert shared_steps([[0, 50, 100], [10, 200], [5, 150]]) == (10.0, 100.0)
    assert shared_steps([[0, 10], [10, 20]]) is None
    assert shared_steps([[0, 10], []]) is None
    assert shared_steps([]) is None

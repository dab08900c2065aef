"""Sensitivity to the learning rate: the formula by hand, its properties on any losses, intervals and pairs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from glassformer.errors import ConfigError
from glassformer.statistics.sensitivity import sensitivity, sensitivity_difference, sensitivity_of

INITIAL = 4.0
GRIDS = st.lists(st.none() | st.floats(0.5, 8.0), min_size=2, max_size=8)


def learned(losses) -> bool:
    return any(loss is not None and loss < INITIAL for loss in losses)


def test_the_formula_on_numbers_worked_out_by_hand():
    # best 2.0; above it 0.5, 0, 1.0, and the diverged and the exploded run count as the loss at initialisation: 2 each
    assert sensitivity_of([2.5, 2.0, 3.0, None, 90.0], INITIAL) == pytest.approx((0.5 + 0 + 1 + 2 + 2) / 5)


@pytest.mark.parametrize("gone", [None, math.nan, math.inf, 1e30])
def test_a_diverged_run_counts_as_the_loss_at_initialisation(gone):
    assert sensitivity_of([2.0, gone], INITIAL) == sensitivity_of([2.0, INITIAL], INITIAL) == 1.0


@given(GRIDS, st.randoms())
def test_it_is_bounded_and_the_order_of_the_grid_is_of_no_account(losses, draw):
    assume(learned(losses))
    found = sensitivity_of(losses, INITIAL)
    best = min(loss for loss in losses if loss is not None)
    assert -1e-12 <= found <= (INITIAL - best) * (len(losses) - 1) / len(losses) + 1e-12  # the best itself adds 0
    shuffled = draw.sample(losses, len(losses))
    assert sensitivity_of(shuffled, INITIAL) == pytest.approx(found)


@given(GRIDS, st.floats(-3, 3))
def test_adding_a_constant_to_all_losses_changes_nothing_and_scaling_them_scales_it(losses, shift):
    assume(learned(losses))
    found = sensitivity_of(losses, INITIAL)
    moved = [None if loss is None else loss + shift for loss in losses]
    assert sensitivity_of(moved, INITIAL + shift) == pytest.approx(found, abs=1e-9)
    twice = [None if loss is None else 2 * loss for loss in losses]
    assert sensitivity_of(twice, 2 * INITIAL) == pytest.approx(2 * found)


@given(GRIDS, st.data())
def test_a_worse_run_that_is_not_the_best_never_lowers_it(losses, data):
    assume(learned(losses))
    finite = [math.inf if loss is None else loss for loss in losses]
    others = [index for index in range(len(losses)) if index != int(np.argmin(finite))]
    worse = list(losses)
    index = data.draw(st.sampled_from(others))
    worse[index] = None if worse[index] is None else worse[index] + data.draw(st.floats(0, 5))
    assert sensitivity_of(worse, INITIAL) >= sensitivity_of(losses, INITIAL) - 1e-12
    worse[index] = None
    assert sensitivity_of(worse, INITIAL) >= sensitivity_of(losses, INITIAL) - 1e-12


@given(st.floats(0.5, 3.9), st.integers(2, 6))
def test_equal_losses_at_every_value_are_no_sensitivity(loss, n):
    assert sensitivity_of([loss] * n, INITIAL) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("losses", [[None, None], [4.0, 5.0], [None, 4.5]])
def test_an_arm_that_learns_nothing_anywhere_is_not_called_insensitive(losses):
    assert sensitivity_of(losses, INITIAL) is None
    found = sensitivity([{0: losses[0]}, {0: losses[1]}], {0: INITIAL})
    assert (found.n, found.mean, found.interval) == (0, None, None)


def test_its_interval_over_seeds_is_students():
    grid = [{0: 2.5, 1: 2.7, 2: 2.6, 3: 2.4}, {0: 2.0, 1: 2.1, 2: 2.0, 3: 2.2}, {0: None, 1: 3.0, 2: 3.5, 3: 9.0}]
    initial = {0: 4.0, 1: 4.1, 2: 4.2, 3: 4.0}
    found = sensitivity(grid, initial, confidence=0.9)
    values = [sensitivity_of([losses[seed] for losses in grid], initial[seed]) for seed in range(4)]
    assert list(found.by_seed.values()) == values
    expected = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert found.interval == pytest.approx(expected)
    assert sensitivity([{0: 2.0, 1: 2.0}, {0: 3.0, 1: 3.5}], initial).interval is None  # two seeds


def test_a_seed_with_a_missing_run_or_start_is_left_out():
    grid = [{0: 2.5, 1: 2.5, 2: 2.5}, {0: 2.0, 2: 2.0}]
    assert set(sensitivity(grid, {0: 4.0, 1: 4.0, 2: None}).by_seed) == {0}
    assert sensitivity([], {0: 4.0}).n == 0


def test_the_difference_is_paired_by_seed():
    initial = dict.fromkeys(range(4), 4.0)
    base = sensitivity([{0: 2.5, 1: 2.6, 2: 2.7}, dict.fromkeys(range(3), 2.0)], initial)
    other = sensitivity([{0: 3.0, 1: 3.1, 2: 3.3, 3: 3.0}, dict.fromkeys(range(4), 2.0)], initial)
    row = sensitivity_difference("it", base, other)
    assert row.differences == pytest.approx([0.25, 0.25, 0.3])
    assert row.unmatched == (3,)
    assert row.interval is not None
    assert row.interval[0] > 0
    with pytest.raises(ConfigError, match="confidence"):
        sensitivity_difference("it", base, other, confidence=1.0)

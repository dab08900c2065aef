"""Choosing the best values of an arm, and where its grid goes on: rules that hold for any table of losses."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.studies.choosing import (
    SelectionPoint,
    best_point,
    extensions,
    notes,
    step_beyond,
)
from glassformer.studies.tuning import MOST_EXTENSIONS

RATE = "training.optimizer.learning_rate"
DECAY = "training.optimizer.weight_decay"
LOSSES = st.one_of(st.none(), st.floats(0, 10), st.sampled_from([math.nan, math.inf, 1.0, 2.0]))
GRIDS = st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True).map(
    lambda millionths: [each / 1e6 for each in sorted(millionths)]
)


def point(value, *losses, arm="base") -> SelectionPoint:
    return SelectionPoint(arm, {RATE: value}, dict(enumerate(losses, start=1000)))


def tables(grid):
    """A row of three losses for each value."""
    return st.lists(st.tuples(LOSSES, LOSSES, LOSSES), min_size=len(grid), max_size=len(grid))


POINTS = GRIDS.flatmap(
    lambda grid: tables(grid).map(
        lambda rows: [point(value, *losses) for value, losses in zip(grid, rows, strict=True)]
    )
)


def finite(losses):
    return [loss for loss in losses.values() if loss is not None and math.isfinite(loss)]


def test_the_lowest_mean_is_the_best():
    assert best_point([point(1e-3, 2.0, 2.2), point(3e-3, 2.3, 1.8), point(1e-2, 2.5, 2.5)]).values == {RATE: 3e-3}


def test_a_value_with_a_diverged_run_ranks_behind_every_value_without_one():
    assert best_point([point(1e-3, 3.0, 3.0), point(3e-3, 1.0, None)]).values == {RATE: 1e-3}
    assert best_point([point(1e-3, None, None), point(3e-3, 9.0, None)]).values == {RATE: 3e-3}


def test_of_equal_values_the_smaller_is_the_best():
    assert best_point([point(1e-2, 2.0), point(1e-3, 2.0)]).values == {RATE: 1e-3}
    assert best_point([point(1e-2, None), point(1e-3, None)]).values == {RATE: 1e-3}


def test_without_a_run_there_is_no_best():
    assert best_point([point(1e-3), point(1e-2)]) is None
    assert best_point([point(1e-3), point(1e-2, 9.0)]).values == {RATE: 1e-2}


@given(POINTS)
def test_no_point_is_better_than_the_best(points):
    best = best_point(points)
    for other in points:
        of_best, of_other = finite(best.losses), finite(other.losses)
        assert len(of_best) >= len(of_other)
        if of_best and len(of_best) == len(of_other):
            assert math.fsum(of_best) / len(of_best) <= math.fsum(of_other) / len(of_other) + 1e-12


@given(POINTS, st.randoms(use_true_random=False))
def test_the_order_of_the_runs_and_of_the_points_does_not_matter(points, draw):
    shuffled = [
        SelectionPoint(each.arm, each.values, dict(draw.sample(list(each.losses.items()), len(each.losses))))
        for each in draw.sample(points, len(points))
    ]
    assert best_point(shuffled).values == best_point(points).values
    grid = {RATE: [each.values[RATE] for each in points]}
    assert extensions(shuffled, grid, lambda _: True) == extensions(points, grid, lambda _: True)


def climb(grid, loss, allowed=lambda _: True):
    """The points of an arm once nothing is missing to its grid, and the number of rounds."""
    settings = list(grid)
    values = [dict(zip(settings, each, strict=True)) for each in itertools.product(*grid.values())]
    points = [SelectionPoint("base", each, {1000: loss(each)}) for each in values]
    rounds = 0
    while missing := extensions(points, grid, allowed):
        points += [SelectionPoint("base", each, {1000: loss(each)}) for each in missing]
        assert len({tuple(each.values.items()) for each in points}) == len(points)
        rounds += 1
        assert rounds < 50, "it never ends"
    return points, rounds


@given(GRIDS, st.floats(1e-8, 100.0))
def test_a_grid_is_extended_until_the_best_is_inside_or_three_times(grid, optimum):
    points, rounds = climb({RATE: grid}, lambda values: abs(math.log(values[RATE] / optimum)))
    axis = sorted(each.values[RATE] for each in points)
    below, above = [each for each in axis if each < grid[0]], [each for each in axis if each > grid[-1]]
    assert max(len(below), len(above)) == rounds <= MOST_EXTENSIONS
    assert not below or not above
    assert set(grid) <= set(axis)
    best = best_point(points).values[RATE]
    if best in (axis[0], axis[-1]):
        assert rounds == MOST_EXTENSIONS
        assert "still the" in notes(points, best_point(points), {RATE: grid})
    assert ("was extended to" in notes(points, best_point(points), {RATE: grid})) == (rounds > 0)


@given(GRIDS, st.dictionaries(st.integers(0, 11), LOSSES))
def test_any_losses_end_within_three_extensions_of_an_edge(grid, losses):
    points, _ = climb({RATE: grid}, lambda values: losses.get(hash(values[RATE]) % 12))
    axis = [each.values[RATE] for each in points]
    assert sum(each < grid[0] for each in axis) <= MOST_EXTENSIONS
    assert sum(each > grid[-1] for each in axis) <= MOST_EXTENSIONS


@given(GRIDS, GRIDS, st.floats(1e-8, 100.0), st.floats(1e-8, 100.0))
def test_a_product_of_two_settings_stays_one(rates, decays, rate, decay):
    def loss(values):
        return abs(math.log(values[RATE] / rate)) + abs(math.log(values[DECAY] / decay))

    points, rounds = climb({RATE: rates, DECAY: decays}, loss)
    axes = [{each.values[setting] for each in points} for setting in (RATE, DECAY)]
    assert len(points) == len(axes[0]) * len(axes[1])
    assert rounds <= 4 * MOST_EXTENSIONS
    assert len(axes[0]) <= len(rates) + MOST_EXTENSIONS


def test_an_arm_that_diverges_everywhere_is_tried_at_smaller_values_and_is_not_an_error():
    points, rounds = climb({RATE: [1e-3, 1e-2]}, lambda values: None if values[RATE] > 5e-6 else 2.0)
    assert rounds == 3
    assert best_point(points).values == {RATE: 1e-6}
    points, rounds = climb({RATE: [1e-3, 1e-2]}, lambda values: None)
    assert rounds == 3
    assert best_point(points).values == {RATE: 1e-6}


def test_a_grid_ends_where_the_arm_cannot_be_built():
    points, rounds = climb({RATE: [0.1, 0.5]}, lambda values: -values[RATE], lambda values: values[RATE] < 1)
    assert (len(points), rounds) == (2, 0)
    assert "0.5, is still the largest" in notes(points, best_point(points), {RATE: [0.1, 0.5]})


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        (1e-2, 1e-3, 0.1),
        (1e-2, 3e-3, 0.0333),
        (1e-3, 3e-3, 3.33e-4),
        (4, 2, 8),
        (3, 2, 4),  # 4.5, rounded to even
        (1, 2, None),  # 0.5, rounded to 0
        (10, 9, 11),
        (0.0, 0.1, None),
        (0.1, 0.0, None),
        (-1.0, -2.0, None),
        (1.0001, 1.0, 1.0001 * 1.0001),  # 3 digits would be the inner value
        (1e300, 1e100, None),
    ],
)
def test_the_next_value_keeps_the_ratio(outer, inner, expected):
    assert step_beyond(outer, inner) == (expected if expected is None else pytest.approx(expected, rel=1e-12))


NUMBERS = st.one_of(st.floats(-1, 1e6, allow_nan=False), st.integers(-3, 10**6))


@given(NUMBERS, NUMBERS)
def test_the_next_value_lies_beyond_and_is_positive(outer, inner):
    if outer == inner:
        return
    found = step_beyond(outer, inner)
    if found is None:
        return
    assert found > 0
    assert found > outer if outer > inner else found < outer
    assert isinstance(found, int) == (isinstance(outer, int) and isinstance(inner, int))


def test_a_zero_at_the_edge_has_nothing_beyond_and_no_note():
    points, rounds = climb({DECAY: [0.0, 0.1, 1.0]}, lambda values: values[DECAY])
    assert rounds == 0
    assert notes(points, best_point(points), {DECAY: [0.0, 0.1, 1.0]}) == ""

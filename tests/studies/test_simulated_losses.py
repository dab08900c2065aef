"""The choice that simulations make for thousands of tuned studies at once is the product's, study by study."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.studies.choosing import MOST_EXTENSIONS, SelectionPoint, best_point, extensions

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "simulated_losses.py"
SETTING = "training.optimizer.learning_rate"

if not BENCHMARK.is_file():
    pytest.skip(f"{BENCHMARK} is not here", allow_module_level=True)
spec = importlib.util.spec_from_file_location("simulated_losses", BENCHMARK)
simulated = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = simulated
spec.loader.exec_module(simulated)


def chosen_by_the_product(losses):
    """The index of the rate that the product chooses from the losses [R, K] at all rates of the extended grid."""
    grid = {SETTING: tuple(float(f"{10**x:.3g}") for x in simulated.RATES)}
    of = dict(zip(grid[SETTING], range(MOST_EXTENSIONS, MOST_EXTENSIONS + len(simulated.RATES)), strict=True))
    while True:
        points = [
            SelectionPoint("base", {SETTING: value}, dict(enumerate(None if np.isnan(x) else x for x in losses[index])))
            for value, index in of.items()
        ]
        missing = extensions(points, grid, lambda _values: True)
        if not missing:
            return of[best_point(points).values[SETTING]]
        for values in missing:
            below = values[SETTING] < min(of)
            of[values[SETTING]] = min(of.values()) - 1 if below else max(of.values()) + 1


# few distinct losses, so that ties are frequent, and many divergences
SOME_LOSSES = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).choice(
        [1.0, 1.25, 1.5, 2.0, np.nan], (2, 3, len(simulated.extended()), 2), p=[0.15, 0.2, 0.25, 0.2, 0.2]
    )
)


@settings(max_examples=200)
@given(SOME_LOSSES)
def test_every_arm_of_every_study_gets_the_rate_that_the_product_chooses(losses):
    best, _ = simulated.choose(losses)
    assert best.tolist() == [[chosen_by_the_product(arm) for arm in study] for study in losses]


def test_so_it_does_on_smooth_curves_whose_optimum_lies_outside_the_grid():
    rng = np.random.default_rng(0)
    shape = (200, 2)
    curves = simulated.Curves(
        rng.uniform(-5, -0.5, shape), np.full(shape, 0.3), np.full(shape, simulated.NEVER), np.full(shape, 1.7)
    )
    losses = curves.at_grid(rng, simulated.extended(), 3, 200)
    best, on_edge = simulated.choose(losses)
    assert best.tolist() == [[chosen_by_the_product(arm) for arm in study] for study in losses]
    assert set(best.ravel().tolist()) == set(range(len(simulated.extended())))  # grids were extended at both edges
    assert on_edge.any()
    assert not on_edge.all()


def test_extensions_are_as_many_as_the_products():
    assert simulated.EXTENSIONS == MOST_EXTENSIONS

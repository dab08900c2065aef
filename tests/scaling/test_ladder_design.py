"""The choice of rungs: it keeps to the budget, uses it well, and promises what the linearised law says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import ConfigError
from glassformer.scaling.ladders.ladder_design import Candidate, DesignProblem, Prior, choose
from glassformer.scaling.laws.sum_of_powers import SumOfPowers

LAW = SumOfPowers((4e4, 4e5), (0.6, math.log(0.9), 0.35, math.log(0.9), 0.37))
PATH = SumOfPowers((1e11,), (0.6, math.log(1.8), 0.18))
LARGEST = 2e12


def candidates(sizes: int, ratios=(5.0, 10.0, 20.0, 40.0, 80.0)) -> list[Candidate]:
    """Runs of several sizes and lengths, whose cost is 6·N·D."""
    places = [(n, ratio * n) for n in 4e4 * 2 ** (np.arange(sizes) / 2) for ratio in ratios]
    return [Candidate((n, d), 6 * n * d, f"{n:.0f} {d:.0f}") for n, d in places if 6 * n * d <= LARGEST]


def problem(sizes: int = 8, **options) -> DesignProblem:
    """The five-parameter law, and a target of ten times the largest run."""
    n = math.sqrt(10 * LARGEST / 120)
    return DesignProblem(candidates(sizes), (n, 20 * n), Prior(LAW, (0.3, 0.5, 0.1, 0.5, 0.1)), **options)


def path_problem(count: int) -> DesignProblem:
    """The three-parameter law along a path."""
    runs = [Candidate((c,), c, f"{c:.3g}") for c in np.geomspace(1e11, LARGEST, count)]
    return DesignProblem(runs, (10 * LARGEST,), Prior(PATH, (0.3, 0.4, 0.07)), fewest=3)


@pytest.mark.parametrize(("law", "x"), [(LAW, (1e5, 3e6)), (PATH, (7e11,))])
def test_the_jacobian_is_the_derivative_of_the_logarithm_of_the_loss(law, x):
    for k, value in enumerate(law.theta):
        step = 1e-6 * max(1, abs(value))
        moved = [
            SumOfPowers(law.anchor, (*law.theta[:k], value + sign * step, *law.theta[k + 1 :])).loss(x)
            for sign in (-1, 1)
        ]
        assert law.jacobian(x)[k] == pytest.approx((np.log(moved[1]) - np.log(moved[0])) / (2 * step), rel=1e-6)


@given(st.floats(3e12, 4e13), st.sampled_from([1, 2, 3]))
@settings(max_examples=3, deadline=None)
def test_a_design_never_costs_more_than_the_budget(budget, seeds):
    posed = problem(seeds=seeds)
    if posed.cheapest > budget:
        with pytest.raises(ConfigError, match="raise --budget"):
            choose(posed, budget)
        return
    design = choose(posed, budget)
    assert design.spent <= budget
    assert design.spent == pytest.approx(sum(rung.candidate.cost for rung in design.rungs) * seeds)
    assert len({rung.number for rung in design.rungs}) == len(design.rungs) >= posed.least


@given(st.floats(3e12, 3e13), st.floats(1.0, 3.0))
@settings(max_examples=3, deadline=None)
def test_more_budget_never_promises_less(budget, more):
    posed = problem()
    assert choose(posed, budget * more).expected_half_width <= choose(posed, budget).expected_half_width * (1 + 1e-12)


@pytest.mark.parametrize("share", [0.25, 0.4, 0.7])
def test_the_choice_is_near_the_best_of_all_subsets(share):
    posed = path_problem(9)
    budget = share * float(posed.costs.sum())
    subsets = (subset for size in range(3, 10) for subset in itertools.combinations(range(9), size))
    best = min(posed.half_width(subset) for subset in subsets if posed.costs[list(subset)].sum() <= budget)
    found = choose(posed, budget)
    assert best * (1 - 1e-9) <= found.expected_half_width <= 1.05 * best


def test_each_rung_shrinks_the_interval_further():
    design = choose(problem(), 1e13)
    promises = [design.before, *(rung.expected_half_width for rung in design.rungs)]
    assert all(after < before for before, after in itertools.pairwise(promises))
    assert design.expected_half_width < 0.1 * design.before


def test_the_promise_is_the_spread_of_the_estimates_that_such_runs_give():
    """Many ladders with planted errors: θ estimated by least squares and the prior, in the linear model."""
    posed = problem()
    design = choose(posed, 1e13)
    chosen = [rung.number for rung in design.rungs]
    draw = np.random.default_rng(0)
    rows, gain = posed.rows[chosen], posed.covariance(chosen)
    errors = []
    for _ in range(4_000):
        theta = draw.normal(0, posed.prior.sd)  # the truth, about what is believed
        estimate = gain @ rows.T @ (rows @ theta + draw.normal(size=len(rows)))
        errors.append(posed.aim @ (estimate - theta) + draw.normal(0, posed.noise))
    assert math.expm1(1.96 * np.std(errors)) == pytest.approx(design.expected_half_width, rel=0.05)


def test_what_must_be_made_is_made():
    posed = problem(must=(3,))
    assert 3 in {rung.number for rung in choose(posed, 1e13).rungs}


def test_too_few_candidates_are_rejected_with_what_to_do():
    with pytest.raises(ConfigError, match="needs 8 different runs"):
        choose(problem(1), 1e13)

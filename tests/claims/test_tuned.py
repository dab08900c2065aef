"""What a tuned study gives a judge; and budgets that say what it is tuned over."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glassformer.claims.budget import Budget
from glassformer.claims.tuned import TunedArms
from glassformer.studies.design import BASE


@pytest.fixture
def arms(losses):
    """A variant that costs 0.4 at the baseline's rate, 0.1 at its own, and diverges at the highest."""
    low, high = 1e-3, 1e-2
    return TunedArms(
        {BASE: losses(1.7), "v": losses(1.7, 0.1)},
        {BASE: high, "v": low},
        {"v": losses(1.7, 0.4)},
        {BASE: {low: losses(1.9), high: losses(1.7)}, "v": {low: losses(1.9, -0.1), high: losses(1.7, 0.4, 1)}},
    )


def test_a_variant_has_its_own_cost_and_that_at_the_baselines_rate(arms):
    assert arms.cost("v").value == pytest.approx(0.1)
    assert arms.cost_at_baseline_rate("v").value == pytest.approx(0.4)
    assert {rate: round(cost.value, 1) for rate, cost in arms.cost_by_rate("v").items()} == {1e-3: -0.1, 1e-2: 0.4}


def test_a_variant_of_the_baselines_rate_costs_the_same_there(losses):
    arms = TunedArms({BASE: losses(1.7), "v": losses(1.7, 0.1)}, {BASE: 1e-3, "v": 1e-3})
    assert arms.cost_at_baseline_rate("v") == arms.cost("v")


def test_the_numbers_have_every_best_rate_and_both_costs(arms):
    numbers = arms.numbers("1 layer")
    assert numbers["1 layer: baseline, best learning rate"].value == 1e-2
    assert numbers["1 layer: v, best learning rate"].value == 1e-3
    assert numbers["1 layer: v, cost at its own best rate"].value == pytest.approx(0.1)
    assert numbers["1 layer: v, cost at the baseline's rate"].value == pytest.approx(0.4)
    assert "1 layer: v, cost at rate 0.001 (selection runs)" in numbers
    assert not any("selection runs" in name for name in arms.numbers(by_rate=()))
    assert list(TunedArms({BASE: arms.losses[BASE]}).numbers()) == ["baseline, loss"]


def test_without_its_control_a_variant_has_no_cost_at_the_baselines_rate(arms):
    name = "v, cost at the baseline's rate"
    assert name in arms.numbers()
    assert name not in replace(arms, at_baseline_rate={}).numbers()
    assert name in replace(arms, at_baseline_rate={}, rates={BASE: 1e-2, "v": 1e-2}).numbers()


def test_a_budget_says_how_its_studies_are_tuned():
    budget = Budget(seeds=4, steps=100, levels=(1, 16), rates=(1e-3, 3e-3), seeds_at={16: 3})
    assert [budget.seeds_for(level) for level in (None, 1, 16)] == [4, 4, 3]
    assert budget.tuning() == {
        "learning_rates": [1e-3, 3e-3],
        "selection_seeds": 2,
        "selection_steps": None,
        "controls": True,
    }
    assert Budget(seeds=4).tuning() == {}


@pytest.mark.parametrize("rates", [(1e-3,), (3e-3, 1e-3), (1e-3, 1e-3)])
def test_a_grid_of_rates_ascends(rates):
    with pytest.raises(AssertionError):
        Budget(rates=rates)
